"""A thousand attempts at TLS that come to nothing, on real sockets: nothing of them stays, though no garbage is collected."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import gc
import socket
import ssl
import struct
from pathlib import Path

import pytest
from trustme import CA

from tests.support.daemon import make_certificate
from tests.support.inside import RawClient, inside, run_inside, until
from tests.support.tls import hello_for
from wsdaemon.daemon.daemon import Daemon

pytestmark = pytest.mark.live

ATTEMPTS = 1_000
AT_ONCE = 50

KINDS = (
    "SSLObject", "_SSLSocket", "MemoryBIO", "TlsLayer", "TlsHandshake", "Arrival", "SSLError", "Task", "traceback", "frame", "TCPTransport",
)  # fmt: skip
"""The types that may hold a native buffer, and those of a cycle around it."""

TEXT = """
[logging]
connections = no
[listener:web]
address = tcp:0:interface=127.0.0.1
handshake_timeout = {timeout}
{more}
[mount:/echo]
app = echo
[tls:one]
certificate = cert.pem
key = key.pem
[tls:two]
certificate = cert.pem
key = key.pem
hosts = other.example
"""

ONE = "tls_certificate = cert.pem\ntls_key = key.pem"
SEVERAL = "tls = one, two"
PROXY = b"PROXY TCP4 192.0.2.1 192.0.2.2 1024 443\r\n"

WAYS = {
    "silent": (b"", None, ""),
    "garbage": (b"\x00\xff" * 50, "tls_not_tls", ""),
    "cut short": (b"hello", None, ""),
    "reset": (b"hello", None, ""),
    "alert": (b"hello\x15\x03\x03\x00\x02\x02\x30", "tls_alert", ""),
    "server name": (b"name", "tls_server_name", ""),
    "timeout": (b"hello", "handshake_timeout", ""),
    "crowded out": (b"", None, "max_handshakes = 10"),
    "behind a balancer": (PROXY, None, "proxy_protocol_from = 127.0.0.1\nconnections_per_second_per_address = 0"),
    "no PROXY header": (b"hello", "proxy_header", "proxy_protocol_from = 127.0.0.1"),
    "no client certificate": (b"", "tls_client_certificate", "client_ca = clients.pem\nclient_certificate = required"),
}


def census() -> collections.Counter[str]:
    counts = collections.Counter(type(one).__name__ for one in gc.get_objects())
    return collections.Counter({kind: counts[kind] for kind in KINDS})


async def greet(client: RawClient, context: ssl.SSLContext) -> None:
    """The client's handshake, up to the server's refusal. By hand: a loop's own TLS would leave cycles of the client's."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    loop = asyncio.get_running_loop()
    done = False
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        while True:
            try:
                if done:
                    tls.read()
                else:
                    tls.do_handshake()
                    done = True
            except ssl.SSLWantReadError:
                pass
            await client.send(outgoing.read())
            received = await loop.sock_recv(client.sock, 65536)
            if not received:
                return
            incoming.write(received)


async def attempt(daemon: Daemon, way: str, data: bytes, context: ssl.SSLContext) -> None:
    client = await RawClient().connect(daemon.listeners[0])
    if way == "no client certificate":
        await greet(client, context)
    if data:
        await client.send(data)
    if way == "reset":
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif way in ("silent", "cut short", "behind a balancer"):
        client.sock.shutdown(socket.SHUT_WR)
        await client.end()
    elif way not in ("crowded out", "no client certificate"):
        await client.end()
    client.close()


@pytest.mark.parametrize("several", [False, True], ids=["one", "several"])
@pytest.mark.parametrize("way", WAYS)
def test_nothing_of_a_thousand_attempts_stays(tmp_path: Path, way: str, several: bool) -> None:
    data, word, more = WAYS[way]
    context = make_certificate(tmp_path)
    CA().cert_pem.write_to_path(tmp_path / "clients.pem")
    hello = hello_for("localhost")
    data = data.replace(b"hello", hello).replace(b"name", hello.replace(b"localhost", b"caf\xc3\xa9host"))
    timeout = "300ms" if way == "timeout" else "10m"
    text = TEXT.format(timeout=timeout, more=(SEVERAL if several else ONE) + "\n" + more)

    async def attack() -> None:
        async with inside(tmp_path, text) as daemon:
            listener = daemon.listeners[0]

            async def attempts(count: int) -> None:
                accepted = listener.accepted
                for _ in range(count // AT_ONCE):
                    await asyncio.gather(*(attempt(daemon, way, data, context) for _ in range(AT_ONCE)))
                await until(lambda: listener.accepted == accepted + count and not listener.handshakes)
                for _ in range(10):
                    await asyncio.sleep(0)

            await attempts(100)  # modules that are loaded for them are no leak
            gc.collect()
            gc.disable()
            try:
                before = census()
                await attempts(ATTEMPTS)
                after = census()
            finally:
                gc.enable()
            assert {kind: after[kind] - before[kind] for kind in KINDS if after[kind] > before[kind] + 20} == {}
            assert listener.gate.refused == ({} if word is None else {word: ATTEMPTS + 100})

    run_inside(attack())
