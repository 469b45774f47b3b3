"""Slow members of rooms in an upgrade: they go along with all that waits for them, or stay with the old daemon, which serves them on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.test_handover import hand_over
from tests.daemon.test_handover_rooms import INI, generations, member
from tests.support.inside import run_inside, until
from wsdaemon.daemon import handover
from wsdaemon.daemon.daemon import Daemon

SIZE = 256 * 1024
COUNT = 60
"""Together more than the kernel takes for a client that does not read."""


def number_of(message: Any) -> int:
    return int(message.partition(" ")[0])


class Slow:
    """A member that reads nothing until it is told to, and then all."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.numbers: list[int] = []
        self._task: asyncio.Task[None] | None = None

    def read_on(self) -> None:
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self.client:
            self.numbers.append(number_of(message))


def small_socket(daemon: Daemon) -> socket.socket:
    """A connection whose client's end holds little, so that what waits for it waits in the daemon."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    sock.connect(("127.0.0.1", daemon.listeners[0].port))
    return sock


async def publish(publisher: Any, first: int, count: int) -> None:
    for number in range(first, first + count):
        await publisher.send(f"{number} " + "x" * SIZE)


@pytest.mark.parametrize("slow", ["wait", "latest"])
@pytest.mark.parametrize("reads", [True, False], ids=["reads", "does-not-read"])
def test_a_slow_member_misses_nothing_that_it_may_not_miss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: str, reads: bool) -> None:
    """`wait`: each message once and in order. `latest`: in order, none twice, and the newest. A member that does not read stays."""
    monkeypatch.setattr(handover, "PATIENCE_SECONDS", 60.0 if reads else 0.2)
    ini = f"{INI}slow_client = {slow}\nsend_backlog = 1MiB\n"

    async def story() -> None:
        async with generations(tmp_path, ini, ini) as both, contextlib.AsyncExitStack() as stack:
            with small_socket(both.old) as sock:
                lazy = Slow(await stack.enter_async_context(member(both.old, max_queue=1, compression=None, sock=sock.dup())))
            [one] = both.old.connections
            publisher = await stack.enter_async_context(member(both.old, compression=None))
            publishing = asyncio.create_task(publish(publisher, 0, COUNT))
            await until(lambda: len(both.old.connections) == 2)
            [other] = [each for each in both.old.connections if each is not one]
            wire: Any = one._wire
            await until(lambda: wire.writer.queued and (slow == "wait" or other.counts().messages_in == COUNT))
            if reads:
                asyncio.get_running_loop().call_later(0.1, lazy.read_on)
            departures = await hand_over(both.old, both.new)
            if not reads:
                assert departures.stayed and one in both.old.connections, departures
                lazy.read_on()
            else:
                assert not departures.stayed, departures
                assert len(both.old.connections) == 0
            await publishing
            await publish(publisher, COUNT, 3)
            await until(lambda: lazy.numbers[-1:] == [COUNT + 2])
            if slow == "wait":
                assert lazy.numbers == list(range(COUNT + 3))
            else:
                assert lazy.numbers == sorted(set(lazy.numbers)) and len(lazy.numbers) < COUNT + 3
            await lazy.client.close()

    run_inside(story())
