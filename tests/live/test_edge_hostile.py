"""Clients that mean no good, two hundred at a time, on real sockets: whatever they do, nothing of them stays."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path

import pytest
from trustme import CA

from tests.support.daemon import make_certificate
from tests.support.inside import RawClient, alive, descriptors, gather, inside, run_inside, until
from wsdaemon.daemon.daemon import Daemon

pytestmark = pytest.mark.live

MANY = 200

TEXT = """
[logging]
connections = no
[listener:web]
address = tcp:0:interface=127.0.0.1
handshake_timeout = 500ms
{listener}
[mount:/echo]
app = echo
{more}
"""

PLAIN = TEXT.format(listener="", more="")
TLS = TEXT.format(listener="tls_certificate = cert.pem\ntls_key = key.pem", more="")
PAIR = "certificate = cert.pem\nkey = key.pem\n"
BY_NAME = TEXT.format(listener="tls = one, two", more=f"[tls:one]\n{PAIR}[tls:two]\n{PAIR}hosts = other.example\n")

GET = b"GET /echo HTTP/1.1\r\nHost: localhost\r\n"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
OPENING = GET + b"Upgrade: websocket\r\nConnection: Upgrade\r\n" + KEY + b"\r\n"


def client_hello(context: ssl.SSLContext) -> bytes:
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


OBJECTS = ("Arrival", "HeadReader", "Candidate", "TlsLayer", "TlsHandshake", "SSLObject", "MemoryBIO")


async def nothing_is_left(daemon: Daemon, before: int) -> None:
    """No arrival, no connection, no task, no timer, no descriptor."""
    listener = daemon.listeners[0]
    await until(lambda: not listener.handshakes and not daemon.connections and len(asyncio.all_tasks()) == 2)
    await until(lambda: descriptors() <= before)
    assert len(daemon.wheel) == 0
    for name in OBJECTS:
        await until(lambda name=name: alive(name) == 0)  # type: ignore[misc]


async def attack(folder: Path, text: str, mischief: str, hello: bytes) -> None:
    async with inside(folder, text) as daemon:
        listener = daemon.listeners[0]
        first = await RawClient().connect(listener)  # modules that are loaded for it are no leak
        await first.end()
        first.close()
        await until(lambda: listener.handshakes == 0)
        before = descriptors()
        clients = await gather([RawClient().connect(listener) for _ in range(MANY)])
        if mischief == "half":
            await gather([client.send(hello[: len(hello) // 2]) for client in clients])
        elif mischief == "garbage":
            await gather([client.send(b"\x00\xff" * 500) for client in clients])
        elif mischief != "silent":
            await gather([client.send(hello) for client in clients])
        if mischief == "reset":
            for client in clients:
                client.reset()
        else:
            await gather([client.end() for client in clients])
            for client in clients:
                client.close()
        await nothing_is_left(daemon, before)
        assert listener.accepted == MANY + 1


@pytest.mark.parametrize("mischief", ["silent", "garbage", "half", "whole", "reset"])
@pytest.mark.parametrize("text", [PLAIN, TLS, BY_NAME], ids=["plain", "tls", "by_name"])
def test_nothing_of_them_stays(tmp_path: Path, text: str, mischief: str) -> None:
    """silent: says nothing; half: stops in the midst of its hello; whole: stops after it; reset: goes right after it."""
    hello = client_hello(make_certificate(tmp_path)) if text is not PLAIN else GET
    run_inside(attack(tmp_path, text, mischief, hello))


def test_whoever_is_crowded_out_of_a_tls_handshake_is_gone_at_once(tmp_path: Path) -> None:
    """The library's timer would keep its buffers, 200 KB for four of them, until the handshake times out, after five minutes here."""
    make_certificate(tmp_path)

    async def crowd() -> None:
        text = TLS.replace("500ms", "5m\nmax_handshakes = 10")
        async with inside(tmp_path, text) as daemon:
            listener = daemon.listeners[0]
            clients = await gather([RawClient().connect(listener) for _ in range(MANY)])
            await gather([client.end() for client in clients[:100]])
            await until(lambda: listener.accepted == MANY)
            assert listener.handshakes == 10 and listener.crowded_out == MANY - 10
            await until(lambda: len(asyncio.all_tasks()) <= 12)
            await until(lambda: alive("TlsLayer") == 10)  # not at once: the loop closes a descriptor in a later turn
            for client in clients:
                client.close()
            await until(lambda: listener.handshakes == 0)

    run_inside(crowd())


def test_one_byte_at_a_time_gains_no_time(tmp_path: Path) -> None:
    """Slowloris on the request head: the deadline is one for the whole handshake."""

    async def drip() -> None:
        async with inside(tmp_path, PLAIN) as daemon:
            client = await RawClient().connect(daemon.listeners[0])
            loop = asyncio.get_running_loop()
            begun, ending = loop.time(), asyncio.ensure_future(client.end())
            for byte in OPENING[:-2] * 100:
                await client.send(bytes([byte]))
                await asyncio.wait([ending], timeout=0.02)
                if ending.done():
                    break
            assert (await ending).startswith(b"HTTP/1.1 408 ")
            assert loop.time() - begun >= 0.5
            client.close()
            await until(lambda: not daemon.listeners[0].handshakes)

    run_inside(drip())


def test_one_byte_of_tls_at_a_time_gains_no_time(tmp_path: Path) -> None:
    hello = client_hello(make_certificate(tmp_path))

    async def drip() -> None:
        async with inside(tmp_path, TLS) as daemon:
            client = await RawClient().connect(daemon.listeners[0])
            ending = asyncio.ensure_future(client.end())
            for byte in hello[:-1]:
                await client.send(bytes([byte]))
                await asyncio.wait([ending], timeout=0.02)
                if ending.done():
                    break
            await ending
            await until(lambda: not daemon.listeners[0].handshakes)
            assert daemon.listeners[0].gate.refused == {"handshake_timeout": 1}
            client.close()

    run_inside(drip())


GONE = PLAIN.replace("app = echo", "app = echo\nping_interval = 100ms\nping_timeout = 200ms")


@pytest.mark.parametrize("dribble", [b"", b"\x82"], ids=["silent", "one_byte_of_a_frame"])
def test_a_client_that_vanished_without_a_word(tmp_path: Path, dribble: bytes) -> None:
    """No FIN ever comes, and no answer to a ping: the connection ends by itself."""

    async def vanish() -> None:
        async with inside(tmp_path, GONE) as daemon:
            client = await RawClient().connect(daemon.listeners[0])
            await client.send(OPENING)
            await until(lambda: len(daemon.connections) == 1)
            await client.send(dribble)
            received = await client.end()
            assert received.startswith(b"HTTP/1.1 101 ") and b"\x89\x04ping" in received
            await until(lambda: not daemon.connections)
            client.close()

    run_inside(vanish())


def test_a_refused_client_that_does_not_go_is_dropped(tmp_path: Path) -> None:
    async def stay() -> None:
        async with inside(tmp_path, PLAIN) as daemon:
            client = await RawClient().connect(daemon.listeners[0])
            await client.send(GET + b"\r\n")
            answer = await client.end()  # it is told to go, and stays
            assert answer.startswith(b"HTTP/1.1 426 ")
            await until(lambda: not daemon.listeners[0].handshakes)
            client.close()

    run_inside(stay())


CLIENTS = "\nclient_ca = clients.pem\nclient_certificate = required"


async def shake(daemon: Daemon, mischief: str, context: ssl.SSLContext, hello: bytes) -> None:
    """One TLS handshake that comes to nothing, up to its end."""
    listener = daemon.listeners[0]
    accepted = listener.accepted
    client = await RawClient().connect(listener)
    if mischief in ("no certificate", "another's certificate"):
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(sock=client.sock, ssl=context, server_hostname="localhost")
            assert await reader.read() == b""  # in TLS 1.3 the client learns it with its first read
            writer.transport.abort()
    elif mischief in ("goes", "goes after its hello"):
        await client.send(b"" if mischief == "goes" else hello)
    else:
        await client.send(OPENING if mischief == "plain HTTP" else b"\x00\xff" * 500)
        await client.end()
    client.close()
    await until(lambda: listener.accepted == accepted + 1 and not listener.handshakes)


@pytest.mark.parametrize("by_name", [False, True], ids=["tls", "by_name"])
def test_a_tls_handshake_that_fails_is_counted(tmp_path: Path, by_name: bool) -> None:
    """And not a client that goes before it is over: balancers look whether a port is open, and are not turned away."""
    context, others = make_certificate(tmp_path), ssl.create_default_context()
    CA().cert_pem.write_to_path(tmp_path / "clients.pem")
    others.load_verify_locations(cadata=b"".join(context.get_ca_certs(binary_form=True)))
    CA().issue_cert("eve@example.com").configure_cert(others)
    text = BY_NAME.replace("tls = one, two", "tls = one, two" + CLIENTS) if by_name else TLS.replace("key.pem", "key.pem" + CLIENTS, 1)

    async def fail() -> None:
        async with inside(tmp_path, text.replace("500ms", "30s")) as daemon:
            refused = daemon.listeners[0].gate.refused
            for mischief in ("goes", "goes after its hello"):
                await shake(daemon, mischief, context, client_hello(context))
            assert refused == {}
            expected: dict[str, int] = {}
            for mischief, word in (
                ("no certificate", "tls_client_certificate"), ("another's certificate", "tls_client_certificate"),
                ("plain HTTP", "tls_not_tls"), ("garbage", "tls_not_tls"),
            ):  # fmt: skip
                await shake(daemon, mischief, others if mischief.startswith("another") else context, b"")
                expected[word] = expected.get(word, 0) + 1
                assert refused == expected, mischief

    run_inside(fail())
