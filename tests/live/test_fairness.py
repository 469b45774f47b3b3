"""A client that sends as much work as it can, on real sockets: between two answers to another client it gets only a few slices on."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.daemon import make_certificate
from tests.support.inside import inside, run_inside, until
from wsdaemon.core.connection import Connection
from wsdaemon.daemon.daemon import Daemon
from wsdaemon.wire.reader import FULL_READ_BYTES

pytestmark = pytest.mark.live

SETTINGS = """
[logging]
connections = no
[listener:plain]
address = tcp:0:interface=127.0.0.1
[listener:tls]
address = tcp:0:interface=127.0.0.1
tls_certificate = cert.pem
tls_key = key.pem
[mount:/]
app = ticker
[mount:/echo]
app = echo
"""

OPENING = (
    b"GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n\r\n"
)
MASK = bytes(4)
ANSWERS = 30
"""Of the other client, while it goes on."""


def bomb() -> bytes:
    """A message of a thousand bytes that inflates to nearly a megabyte, the largest that may be sent."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    payload = deflate.compress(bytes((1 << 20) - 1)) + deflate.flush(zlib.Z_SYNC_FLUSH)[:-4]
    return b"\xc2\xfe" + len(payload).to_bytes(2, "big") + MASK + payload


WORK = {
    "bombs": bomb() * 200,
    "tiny messages": (b"\x81\x81" + MASK + b"x") * 40_000,
    "fragments": (b"\x01\x80" + MASK + (b"\x00\x80" + MASK) * 9_998 + b"\x80\x80" + MASK) * 4,
}
MOST_BOMBS = 1000
"""Between two answers, each of which takes a few turns of the loop: a slice has seven or so, one read could have eight thousand."""


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send_for_ever(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                self.writer.write(data)
                await self.writer.drain()

    async def read_all(self) -> None:
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(1 << 16):
                pass

    async def echo(self) -> None:
        self.writer.write(b"\x81\x85" + MASK + b"hello")
        assert await self.reader.readexactly(7) == b"\x81\x05hello"


@contextlib.asynccontextmanager
async def client(daemon: Daemon, listener: int, path: bytes, context: ssl.SSLContext | None) -> AsyncIterator[tuple[Client, Connection]]:
    known = set(daemon.connections)
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.listeners[listener].port, ssl=context)
    try:
        writer.write(OPENING % path)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        await until(lambda: len(daemon.connections) > len(known))
        (connection,) = set(daemon.connections) - known
        yield Client(reader, writer), connection
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])
def test_others_are_answered(tmp_path: Path, work: str, secure: bool) -> None:
    context = make_certificate(tmp_path)
    run_inside(flood(tmp_path, work, context if secure else None))


async def flood(folder: Path, work: str, context: ssl.SSLContext | None) -> None:
    async with (
        inside(folder, SETTINGS) as daemon,
        client(daemon, int(context is not None), b"/", context) as (hog, connection),
        client(daemon, 0, b"/echo", None) as (guest, _),
    ):
        tasks = [asyncio.create_task(hog.send_for_ever(WORK[work])), asyncio.create_task(hog.read_all())]
        wire = connection._wire
        await until(lambda: wire.counts().messages_in > 0)
        for _ in range(ANSWERS):
            messages, received = wire.counts().messages_in, wire.counts().bytes_in
            await guest.echo()
            assert wire.writer.live
            assert wire.counts().bytes_in - received <= 10 * FULL_READ_BYTES
            if work == "bombs":
                assert wire.counts().messages_in - messages <= MOST_BOMBS
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
