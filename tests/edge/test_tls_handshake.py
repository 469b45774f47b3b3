"""edge/tls_handshake.py: what each record does to a handshake."""

from __future__ import annotations

import ssl
from contextlib import suppress

from tests.support.tls import authority, hello_for
from wsdaemon.edge.tls_handshake import HandshakeStep, TlsHandshake


def begin() -> tuple[TlsHandshake, ssl.MemoryBIO]:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    return TlsHandshake(authority().server.wrap_bio(incoming, outgoing, server_side=True), incoming), outgoing


def records(data: bytes) -> list[bytes]:
    found = []
    while data:
        size = 5 + int.from_bytes(data[3:5], "big")
        found.append(data[:size])
        data = data[size:]
    return found


def test_to_its_end() -> None:
    handshake, outgoing = begin()
    to_client, from_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = authority().client().wrap_bio(to_client, from_client, server_hostname="localhost")
    steps = []
    for _ in range(2):
        with suppress(ssl.SSLWantReadError):
            client.do_handshake()
        steps += [handshake.take(record) for record in records(from_client.read())]
        to_client.write(outgoing.read())
    assert steps == [HandshakeStep.MORE, HandshakeStep.MORE, HandshakeStep.DONE]


def test_a_name_that_is_not_ascii_never_reaches_openssl() -> None:
    handshake, outgoing = begin()
    assert handshake.take(hello_for("localhost").replace(b"local", b"l\xf6cal"[:5])) is HandshakeStep.FAILED
    assert (handshake.word, handshake.alert[-2:]) == ("tls_server_name", b"\x02\x70")
    assert outgoing.read() == b""


def test_close_notify_is_no_failure() -> None:
    handshake, _ = begin()
    assert handshake.take(hello_for("localhost")) is HandshakeStep.MORE
    assert handshake.take(b"\x15\x03\x03\x00\x02\x01\x00") is HandshakeStep.LEFT


def test_garbage() -> None:
    handshake, _ = begin()
    assert handshake.take(b"SSH-2.0-OpenSSH_9.9\r\n") is HandshakeStep.FAILED
    assert handshake.word == "tls_not_tls" and handshake.detail and handshake.alert == b""
