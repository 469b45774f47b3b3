"""A drain of many connections over seconds, as a nightly test: WSDAEMON_DRAINED is the number of connections."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.support.daemon import SECONDS, Daemon

pytestmark = pytest.mark.live

COUNT = int(os.environ.get("WSDAEMON_DRAINED", "0"))

OVER_SECONDS = 10

TOGETHER = 40
"""Clients whose opening handshakes are under way at once."""

SETTINGS = f"""
[daemon]
drain_over = {OVER_SECONDS}s
drain_retry = 1s-30s
[listener:web]
address = tcp:0:interface=127.0.0.1
max_connections_per_address = 0
connections_per_second_per_address = 0
[mount:/echo]
app = echo
ping_interval = 0
"""

REQUEST = (
    b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)

CLOSE = bytes((0x88, 0x82, 0, 0, 0, 0)) + (1000).to_bytes(2)


class Client:
    """A connection, whose end it notes down."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    closed_at = 0.0
    reason = ""

    async def open(self, port: int, places: asyncio.Semaphore) -> None:
        async with places:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
            self.writer.write(REQUEST)
            assert (await self.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")

    async def until_closed(self) -> None:
        head = await self.reader.readexactly(2)
        self.closed_at = time.monotonic()
        assert head[0] == 0x88, head
        payload = await self.reader.readexactly(head[1])
        assert int.from_bytes(payload[:2]) == 1012
        self.reason = payload[2:].decode()
        self.writer.write(CLOSE)
        await self.reader.read()
        self.writer.close()


async def drain(daemon: Daemon) -> list[Client]:
    clients, places = [Client() for _ in range(COUNT)], asyncio.Semaphore(TOGETHER)
    await asyncio.gather(*[client.open(daemon.port, places) for client in clients])
    closing = [asyncio.create_task(client.until_closed()) for client in clients]
    daemon.tell(signal.SIGTERM)
    await asyncio.wait_for(asyncio.gather(*closing), OVER_SECONDS + 2 * SECONDS)
    return clients


if COUNT:

    def test_many_connections_are_closed_evenly_and_each_client_has_a_hint(tmp_path: Path) -> None:
        with Daemon(tmp_path, SETTINGS) as daemon:
            clients = asyncio.run(drain(daemon))
            assert daemon.wait() == 0
        hints = [re.fullmatch(r"restart; retry=([1-9]|[12][0-9]|30)", client.reason) for client in clients]
        assert all(hints)
        assert len({hint[1] for hint in hints if hint is not None}) > 20, "each client has a draw of its own"
        # The clients of one process notice the first Close frames late, because they have all begun to wait at once.
        began = max(client.closed_at for client in clients) - OVER_SECONDS * (COUNT - 1) / COUNT
        counts = [0] * OVER_SECONDS
        for client in clients:
            counts[min(max(int(client.closed_at - began), 0), OVER_SECONDS - 1)] += 1
        print(counts)
        even = COUNT / OVER_SECONDS
        assert all(0.8 * even <= count <= 1.2 * even for count in counts), counts
        order = sorted(range(COUNT), key=lambda number: clients[number].closed_at)
        assert order != sorted(order), "in random order"
