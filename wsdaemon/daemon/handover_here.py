"""A worker's part of an upgrade: its connections go to a worker of the next generation, or come from one of the former. See `handover`.

Whatever happens, a connection is in exactly one of the two workers, and the old one ends: it drains what it still has.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any, Final, NamedTuple

from twisted.logger import Logger

from ..core.sizes import counted
from .daemon import Daemon
from .handover import Departures, HandingOver, Home, TakingOver

HAND_OVER_SECONDS: Final = 60.0
"""Connections that have not gone after so long stay."""

END_SECONDS: Final = 0.5
"""How long connections that are on their way when the hand-over is ended may take to arrive at either side."""

log = Logger(namespace="wsdaemon")


class Given(NamedTuple):
    """The outcome of a hand-over."""

    went: int
    stayed: int


class HandoverHere:
    """Gives the connections of a daemon to another worker, and takes those of others."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._ended = False
        self._giving: HandingOver | None = None
        self._taking: set[TakingOver] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def take_from(self, sock: socket.socket) -> None:
        """Take the connections of a worker of the former generation, which has the other end."""
        if self._ended:
            sock.close()
            return
        taking = TakingOver(sock, self._home())
        self._taking.add(taking)
        self._begin(self._take(taking))

    async def give_to(self, sock: socket.socket | None) -> Given:
        """Give all connections to a worker of the next generation, which has the other end; None: there is none, and all stay.

        It ends within HAND_OVER_SECONDS, or when end() is called.
        """
        departures = Departures()
        if sock is not None and self._ended:
            sock.close()
        elif sock is not None:
            self._giving = HandingOver(sock, self._home())
            departures = self._giving.departures
            task = self._begin(self._give(self._giving))
            await asyncio.wait([task], timeout=HAND_OVER_SECONDS)
            await self._end_giving(self._giving, task)
        given = Given(departures.went, len(self._daemon.connections))
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(departures.stayed.items()))
        log.info(
            "{went} went along to the next generation; {stayed} to drain{reasons}",
            went=counted(given.went, "connection"), stayed=given.stayed, reasons=f" ({reasons})" if reasons else "",
        )  # fmt: skip
        return given

    async def end(self) -> None:
        """The worker stops: connections on their way arrive on one side, and no more are given or taken."""
        self._ended = True
        for taking in list(self._taking):
            taking.close()
        if self._giving is not None:
            self._giving.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=END_SECONDS)

    def _home(self) -> Home:
        daemon = self._daemon
        return Home(daemon.loop, daemon.connections, {each.name: each.gate for each in daemon.assembly.listeners})

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._daemon.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _give(self, giving: HandingOver) -> None:
        try:
            await giving.give_all()
        except Exception:
            log.failure("the hand-over of connections has failed; those that have not gone stay")

    async def _end_giving(self, giving: HandingOver, task: asyncio.Task[None]) -> None:
        """No connection is on its way afterwards: those of which the other worker has not said that it has them come back."""
        giving.close()
        await asyncio.wait([task], timeout=END_SECONDS)
        task.cancel()
        self._giving = None

    async def _take(self, taking: TakingOver) -> None:
        await taking.finished()
        taking.close()
        self._taking.discard(taking)
        log.info("{connections} of the former generation came along", connections=counted(taking.taken, "connection"))
