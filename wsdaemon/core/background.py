"""Work of apps that goes on by itself, such as coroutines, hooks and callbacks. A stopping daemon gives it time, and then cancels it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

from .handshake import Handshake
from .rare_lines import LineLog

CANCEL_SECONDS = 5.0
"""The time that cancelled work has to end."""

MAX_LINES = 20
"""Lines of the log that name cancelled work; one more line counts the rest. The line of the work in threads names as many."""


class Employer(Protocol):
    """A connection, or another part that apps work for."""

    _work: tuple[asyncio.Future[Any], ...]

    @property
    def id(self) -> str: ...

    @property
    def handshake(self) -> Handshake: ...


class ThreadWork(asyncio.Future[None]):
    """Work of a thread: done when the thread is. A stop waits for it, but cannot end it."""


class Background:
    """Work that is under way, each with its connection. Work is forgotten when it is done; its outcome belongs to the code that began it.

    A connection's `_work` may be cancelled once the connection is over.
    """

    __slots__ = ("_emptied", "_hurried", "_work", "apps", "ending")

    def __init__(self, apps: Mapping[str, str] | None = None) -> None:
        """`apps`: the name of the app at each mount's path, for the log."""
        self.apps = apps or {}
        self._work: dict[asyncio.Future[Any], Employer] = {}
        self._emptied: asyncio.Future[None] | None = None
        self._hurried = False
        self.ending = False
        """The daemon stops: all work has until `drain_timeout`, that of connections which are over, too."""

    def __len__(self) -> int:
        return len(self._work)

    def app_at(self, mount: str) -> str:
        """The name of the app at a mount's path."""
        return self.apps.get(mount, "an app")

    def add(self, work: asyncio.Future[Any], connection: Employer, own: bool = True) -> None:
        """Keep `work` until it is done. `own`: it belongs to this connection alone, so it may be cancelled once that is over."""
        self._work[work] = connection
        if own:
            connection._work += (work,)
        work.add_done_callback(partial(self._done, connection))

    async def finish(self, patience: float, log: LineLog) -> None:
        """Wait up to `patience` seconds until all work is done; then cancel the rest, leave threads alone, and log which."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        while self._work and not self._hurried and (left := deadline - loop.time()) > 0:
            self._emptied = loop.create_future()
            await asyncio.wait([self._emptied], timeout=left)
        running = [connection for work, connection in self._work.items() if isinstance(work, ThreadWork)]
        if running:
            named = ", ".join(self._describe(connection) for connection in running[:MAX_LINES])
            more = f" and {len(running) - MAX_LINES} more" if len(running) > MAX_LINES else ""
            log.warn("left running in threads, because drain_timeout is over: {work}{more}", work=named, more=more)
        cancelled = {work: connection for work, connection in self._work.items() if not isinstance(work, ThreadWork)}
        for number, (work, connection) in enumerate(cancelled.items()):
            if number < MAX_LINES:
                log.warn("cancelled, because drain_timeout is over: {work}", work=self._describe(connection))
            work.cancel()
        if len(cancelled) > MAX_LINES:
            log.warn("cancelled, because drain_timeout is over: {count} more", count=len(cancelled) - MAX_LINES)
        if cancelled:
            await asyncio.wait(cancelled, timeout=CANCEL_SECONDS)
        stubborn = [connection for work, connection in cancelled.items() if not work.done()]
        if stubborn:
            log.warn("{count} of them did not end, {work} among them", count=len(stubborn), work=self._describe(stubborn[0]))

    def hurry(self) -> None:
        """Let finish() wait no longer."""
        self._hurried = True
        self._wake()

    def _done(self, connection: Employer, work: asyncio.Future[Any]) -> None:
        self._work.pop(work, None)  # an app may let several connections wait for one future
        if connection._work:
            connection._work = tuple([other for other in connection._work if other is not work])
        if not self._work:
            self._wake()

    def _wake(self) -> None:
        if self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def _describe(self, connection: Employer) -> str:
        mount = connection.handshake.mount
        return f"{self.app_at(mount)} at {mount}, connection {connection.id}"
