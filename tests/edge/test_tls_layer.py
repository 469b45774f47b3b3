"""edge/tls_layer.py: every state, with the standard library's client at the far end."""

from __future__ import annotations

import gc
import socket
import ssl
import weakref
from contextlib import suppress
from typing import Any

import pytest

from tests.support.fake_loop import Loop
from tests.support.tls import World, authority, open_world
from wsdaemon.edge.tls_layer import TlsLayer
from wsdaemon.edge.tls_state import CLIENT_ENDED, CLOSING, GONE, HANDSHAKE, OPEN, SERVER_ENDED, TlsError, TruncatedError
from wsdaemon.wire.frames import load, twin

# -- the handshake


def test_the_protocol_above_hears_of_it_after_the_handshake(loop: Loop) -> None:
    world = World(loop)
    hello = world.flight()
    world.plain.receive(hello)
    assert world.layer.state is HANDSHAKE and world.upper.events == []
    world.plain.receive(world.flight())
    assert world.layer.state is OPEN and world.upper.events == ["made"] and world.upper.transport is world.layer
    assert world.refused == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_data_goes_both_ways(loop: Loop, version: ssl.TLSVersion) -> None:
    world = open_world(loop, client=authority().client(version=version))
    world.send(b"hello")
    assert world.upper.data == b"hello"
    world.layer.write(b"hello too")
    assert world.hear() == b"hello too"


def test_a_request_behind_the_end_of_the_handshake_is_delivered(loop: Loop) -> None:
    """A balancer that passes TLS through joins them: if the layer does not look, the request waits until the handshake times out."""
    world = World(loop)
    world.plain.receive(world.flight())
    finished = world.flight()
    world.plain.receive(finished + world.encrypt(b"GET / HTTP/1.1"))
    assert world.upper.data == b"GET / HTTP/1.1"


def test_a_handshake_byte_by_byte(loop: Loop) -> None:
    world = World(loop)
    while data := world.flight():
        world.plain.receive(*(bytes([byte]) for byte in data))
    world.send(b"x" * 3)
    assert world.upper.data == b"xxx"


def failing(loop: Loop, context: ssl.SSLContext | None = None, client: ssl.SSLContext | None = None) -> World:
    world = World(loop, context=context, client=client)
    try:
        world.greet()
    except ssl.SSLError:
        world.plain.receive(world.from_client.read())
    loop.settle()
    assert world.layer.state is GONE
    assert world.upper.events[-1] == "lost" and world.plain.lost
    return world


def word(world: World) -> str:
    [(reason, detail)] = world.refused
    assert detail
    return reason


def test_no_client_certificate(loop: Loop) -> None:
    assert word(failing(loop, context=authority().asking)) == "tls_client_certificate"


def test_another_authoritys_client_certificate(loop: Loop) -> None:
    mine = authority().ca.issue_cert("eve@example.com")
    assert word(failing(loop, context=authority().asking, client=authority().client(mine))) == "tls_client_certificate"


def test_a_client_that_does_not_trust_us_says_so(loop: Loop) -> None:
    assert word(failing(loop, client=ssl.create_default_context())) == "tls_alert"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_no_version_in_common(loop: Loop) -> None:
    context = ssl.create_default_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    assert word(failing(loop, client=context)) == "tls_version"


def test_no_cipher_in_common(loop: Loop) -> None:
    context = authority().client(version=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("ECDHE-ECDSA-AES128-CCM:AES128-SHA")
    assert word(failing(loop, client=context)) == "tls_version"


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00\xff" * 500, b"SSH-2.0-OpenSSH_9.9\r\n", bytes(5)])
def test_what_is_not_tls(loop: Loop, data: bytes) -> None:
    world = World(loop)
    world.plain.receive(data)
    loop.settle()
    assert word(world) == "tls_not_tls"
    assert world.upper.events == ["lost"]


def test_a_client_that_just_goes_is_not_counted(loop: Loop) -> None:
    for cut in (0, 40, None):
        world = World(loop)
        if hello := world.flight()[:cut]:
            world.plain.receive(hello)
        world.plain.receive_eof()
        loop.settle()
        assert world.refused == [] and world.upper.events == ["lost"] and world.layer.state is GONE


def test_a_handshake_that_is_ended_from_outside_is_gone_at_once(loop: Loop) -> None:
    world = World(loop)
    world.plain.receive(world.flight())
    world.layer.abort()
    assert world.plain.aborted and world.layer.state is CLOSING
    assert world.layer.get_extra_info("ssl_object") is None
    world.plain.receive(b"x")
    loop.settle()
    assert world.layer.state is GONE and world.upper.events == ["lost"] and world.refused == []


def test_one_that_is_ended_before_there_is_a_transport(loop: Loop) -> None:
    world = World(loop)
    layer = TlsLayer(world.upper, authority().server, world.turns, send=twin.send, refused=lambda word, detail: None)
    layer.abort()
    layer.connection_made(world.plain)  # type: ignore[arg-type]
    assert world.plain.aborted


# -- the end


def test_close_says_close_notify_and_takes_no_more(loop: Loop) -> None:
    world = open_world(loop)
    world.layer.write(b"last words")
    world.layer.close()
    assert world.layer.is_closing() and world.plain.closing
    assert world.hear() == b"last words"
    world.client.unwrap()  # without an SSLWantReadError: close_notify came
    world.layer.write(b"dropped")
    world.layer.writelines([b"dropped", b"x" * 100_000])
    world.layer.write_eof()
    world.layer.close()
    loop.settle()
    world.layer.write(b"dropped")
    world.layer.pause_reading()
    world.layer.resume_reading()
    assert world.take() == b"" and world.upper.events == ["made", "lost"] and world.upper.error is None


def test_what_was_written_leaves_before_the_end(loop: Loop) -> None:
    world = open_world(loop)
    world.plain.stuck = True
    world.layer.write(b"x" * 100_000)
    assert world.upper.events == ["made", "full"] and world.layer.get_write_buffer_size() > 100_000
    world.layer.close()
    loop.settle()
    assert not world.plain.lost
    world.plain.drain()
    loop.settle()
    assert world.hear() == b"x" * 100_000 and world.plain.lost


def test_close_notify_of_the_client_ends_it(loop: Loop) -> None:
    world = open_world(loop)
    world.plain.receive(world.encrypt(b"bye") + world.close_notify() + b"what follows is not looked at")
    loop.settle()
    assert world.upper.data == b"bye" and world.upper.events == ["made", "eof", "lost"] and world.upper.error is None
    assert world.refused == []
    world.to_client.write(world.take())
    world.client.unwrap()  # ours came too


def test_a_client_that_ended_its_side_may_be_sent_to(loop: Loop) -> None:
    world = open_world(loop)
    world.upper.keeps_open = True
    world.plain.receive(world.close_notify())
    world.plain.receive_eof()
    assert world.layer.state is CLIENT_ENDED
    world.layer.write(b"an answer")
    loop.settle()
    assert not world.plain.lost
    world.layer.close()
    sent = world.take()
    assert len(sent) > len(b"an answer") + 2 * 22
    loop.settle()
    assert world.upper.events == ["made", "eof", "lost"] and world.upper.error is None


def test_our_side_may_end_first(loop: Loop) -> None:
    world = open_world(loop)
    world.layer.write(b"all there is")
    world.layer.write_eof()
    assert world.layer.state is SERVER_ENDED and world.plain.eof_written
    world.layer.write(b"dropped")
    world.send(b"still here")
    assert world.upper.data == b"still here"
    assert world.hear() == b"all there is"
    world.plain.receive(world.close_notify())
    loop.settle()
    assert world.upper.events == ["made", "lost"] and world.upper.error is None


def test_truncation_is_no_clean_end(loop: Loop) -> None:
    world = open_world(loop)
    world.plain.receive(world.encrypt(b"pay 100"))
    world.plain.receive_eof()
    loop.settle()
    assert isinstance(world.upper.error, TruncatedError) and world.upper.events == ["made", "lost"]


def test_a_reset_is_passed_on(loop: Loop) -> None:
    world = open_world(loop)
    error = ConnectionResetError()
    world.plain.lose(error)
    assert world.upper.error is error and world.layer.state is GONE


def test_the_end_waits_for_what_came_before_it(loop: Loop) -> None:
    for close_notify in (True, False):
        world = open_world(loop)
        world.upper.on_data = world.layer.pause_reading
        data = b"x" * 200_000
        world.plain.receive(world.encrypt(data) + (world.close_notify() if close_notify else b""))
        world.plain.receive_eof()
        while len(world.upper.data) < len(data):
            assert world.upper.events == ["made"]
            world.layer.resume_reading()
            loop.settle()
        world.upper.on_data = lambda: None
        world.layer.resume_reading()
        loop.settle()
        assert world.upper.data == data
        assert world.upper.events == (["made", "eof", "lost"] if close_notify else ["made", "lost"])
        assert (world.upper.error is None) is close_notify


def test_what_cannot_be_decrypted_ends_it(loop: Loop) -> None:
    world = open_world(loop)
    good, bad = world.encrypt(b"good"), bytearray(world.encrypt(b"bad"))
    bad[-1] ^= 1
    world.plain.receive(good + bytes(bad))
    loop.settle()
    assert world.upper.data == b"good"
    assert word(world) == "tls_broken" and isinstance(world.upper.error, TlsError)
    with pytest.raises(ssl.SSLError, match="ALERT_BAD_RECORD_MAC"):
        world.hear()


def test_a_fault_of_a_client_that_reads_nothing_keeps_no_socket(loop: Loop) -> None:
    world = open_world(loop)
    world.plain.stuck = True
    world.layer.write(b"x")
    world.plain.receive(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert world.plain.aborted


def test_a_record_that_is_too_long_is_not_waited_for(loop: Loop) -> None:
    world = open_world(loop)
    world.plain.receive(b"\x17\x03\x03\xff\xff")
    loop.settle()
    assert word(world) == "tls_broken"


# -- the transport


def test_what_it_tells_of_the_connection(loop: Loop) -> None:
    mine = authority().clients.issue_cert("ada@example.com", common_name="ada")
    world = open_world(loop, context=authority().asking, client=authority().client(mine))
    tell: Any = world.layer.get_extra_info
    assert (("commonName", "ada"),) in tell("peercert")["subject"]
    assert tell("ssl_object").getpeercert(True) and tell("sslcontext") is authority().asking
    assert tell("cipher")[1] == "TLSv1.3" and tell("compression") is None
    assert tell("peername") == ("192.0.2.7", 50123) and tell("nothing", 7) == 7
    world.layer.close()
    loop.settle()
    assert tell("peercert") is None and tell("peername", "gone") == "gone"


def test_large_writes_are_cut_and_small_ones_joined(loop: Loop) -> None:
    world = open_world(loop)
    pieces = [b"head", b"x" * 1_000_000, b"", b"tail"]
    world.layer.writelines(pieces)
    assert world.plain.largest < 200_000
    sent = world.plain.sent
    records = 0
    while sent:
        records, sent = records + 1, sent[5 + int.from_bytes(sent[3:5], "big") :]
    assert records == -(-sum(map(len, pieces)) // 16_384)
    assert world.hear() == b"".join(pieces)
    world.layer.write(b"")
    assert world.take() == b""


@pytest.mark.parametrize("reader", ["c", "python"])
def test_writes_try_the_descriptor_first(loop: Loop, reader: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        world = World(loop)
        layer = world.layer = TlsLayer(
            world.upper, authority().server, world.turns, descriptor=ours.fileno(), send=load(reader).send,
            refused=lambda word, detail: None,
        )  # fmt: skip
        world.plain.layer = layer
        layer.connection_made(world.plain)  # type: ignore[arg-type]

        def read() -> None:
            with suppress(BlockingIOError):
                while data := theirs.recv(1 << 20):
                    world.plain.sent += data

        while data := world.flight():
            world.plain.receive(data)
            assert world.plain.sent == b""
            read()
        layer.write(b"direct")
        assert world.plain.sent == b""
        read()
        assert world.hear() == b"direct"
        world.plain.stuck = True
        while not world.plain.waiting:  # until the socket is full
            layer.write(b"y" * 30_000)
        before = world.plain.waiting
        layer.write(b"behind it")
        assert world.plain.waiting.startswith(before) and len(world.plain.waiting) > len(before)
        read()
        world.plain.drain()
        assert world.hear().endswith(b"ybehind it")


# -- memory


@pytest.mark.parametrize("how", ["close", "abort", "lose", "fault", "close_notify", "eof", "garbage", "handshake"])
def test_nothing_of_openssl_stays_with_what_is_kept_of_it(loop: Loop, how: str) -> None:
    """No cycle holds a native buffer: it goes without a garbage collection, though this test still has the layer."""
    gc.disable()
    try:
        world = World(loop)
        engine = weakref.ref(world.layer.get_extra_info("ssl_object"))
        assert engine() is not None
        if how not in ("garbage", "handshake"):
            world.greet()
        if how in ("close", "abort"):
            getattr(world.layer, how)()
        elif how == "lose":
            world.plain.lose()
        elif how == "eof":
            world.plain.receive_eof()
        elif how == "handshake":
            world.plain.receive(world.flight())
            world.plain.lose(ConnectionResetError())
        else:
            world.plain.receive(world.close_notify() if how == "close_notify" else b"\x17\x03\x03\x00\x20" + bytes(32))
        assert engine() is None
        loop.settle()
        assert world.layer.state is GONE and len(world.turns) == 0
    finally:
        gc.enable()
