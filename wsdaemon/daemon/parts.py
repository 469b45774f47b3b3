"""starting > ready > draining > stopped: what is started in which order, and what signals and systemd are told."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import enum
import gc
import os
import signal
import threading
import traceback
from collections.abc import Awaitable, Callable, Sequence
from types import FrameType
from typing import Any, Protocol

from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

from ..ops.systemd import Notifier

log = Logger(namespace="wsdaemon")


class State(enum.Enum):
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"


class StartError(Exception):
    """The daemon cannot start. The text is one clear line for the operator, or the user's own traceback."""


def settle() -> None:
    """What the imports left stays for good: no collection looks at it again, and the memory of what they dropped goes back."""
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class Step(Protocol):
    """A part of the daemon that is started and stopped."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


async def start_in_order(steps: Sequence[Step]) -> list[Step]:
    """Start each step when the one before it has started. When one fails, those that run are stopped again, and its error is raised."""
    started: list[Step] = []
    for step in steps:
        try:
            await step.start()
        except BaseException:
            await stop_in_order(started)
            raise
        started.append(step)
    return started


async def stop_in_order(started: Sequence[Step]) -> None:
    """Stop each step when the one after it has stopped. One that fails is logged and hinders no other."""
    for step in reversed(started):
        try:
            await step.stop()
        except Exception:
            log.failure("{step} did not stop cleanly", step=getattr(step, "name", type(step).__name__))


def stopper(reactor: Any) -> Callable[[], None]:
    """What stops the reactor, or lets it stop as soon as it runs. Called again it does nothing."""

    def stop() -> None:
        with contextlib.suppress(ReactorNotRunning):  # it is stopping already
            reactor.stop()

    return lambda: reactor.callWhenRunning(stop)


class Signals:
    """SIGTERM and SIGINT stop: the first drains, the second stops at once. SIGHUP opens the log anew and reads certificates again.

    Twisted's own handlers would make twistd die of the signal after a clean stop; with these the exit status is 0.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, stop: Callable[[], object], stop_now: Callable[[], object], reload: Callable[[], object]
    ) -> None:
        self._loop = loop
        self._stop = stop
        self._stop_now = stop_now
        self._reload = reload
        self._asked = 0

    def install(self) -> None:
        """Take over from Twisted's handlers: before the first connection, and again when the reactor runs, for it sets its own.

        Does nothing outside the main thread, for only that can have signal handlers.
        """
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._stop_asked)
            signal.signal(signal.SIGHUP, self._reload_asked)
            signal.signal(signal.SIGUSR1, self._reload_asked)  # what rotates twistd's own log

    def _stop_asked(self, number: int, frame: FrameType | None) -> None:
        self._asked += 1
        if self._asked > 2:
            os._exit(1)  # a loop that does not turn any more
        self._loop.call_soon_threadsafe(self._stop if self._asked == 1 else self._stop_now)

    def _reload_asked(self, number: int, frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._reload)


class Watchdog:
    """Tells systemd again and again that the loop turns, and how many connections there are."""

    def __init__(self, notifier: Notifier, interval: float | None, status: Callable[[], str]) -> None:
        self._notifier = notifier
        self._interval = interval
        self._status = status
        self._handle: asyncio.TimerHandle | None = None
        self._told = ""

    async def start(self) -> None:
        if self._notifier.active:
            self._tell()

    async def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _tell(self) -> None:
        if self._interval is not None:
            self._notifier.watchdog()
        status = self._status()
        if status != self._told:
            self._notifier.status(status)
            self._told = status
        self._handle = asyncio.get_running_loop().call_later(min(self._interval or 10.0, 10.0), self._tell)


class AppStep:
    """An app that has work of its own to start and stop. When it fails, the user's traceback is the reason that the daemon gives."""

    def __init__(self, app: Any, where: str) -> None:
        self.name = where
        self._app = app

    async def start(self) -> None:
        try:
            await self._app.start()
        except StartError:
            raise
        except Exception as error:
            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
            lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames), *traceback.format_exception_only(error)]
            raise StartError(f"{self.name}: the app did not start\n" + "".join(lines).rstrip()) from error

    async def stop(self) -> None:
        await self._app.stop()


class Callbacks:
    """A step made of two functions."""

    def __init__(self, name: str, start: Callable[[], Awaitable[Any] | None], stop: Callable[[], Awaitable[Any] | None]) -> None:
        self.name = name
        self._start = start
        self._stop = stop

    async def start(self) -> None:
        if (waiting := self._start()) is not None:
            await waiting

    async def stop(self) -> None:
        if (waiting := self._stop()) is not None:
            await waiting
