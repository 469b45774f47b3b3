"""The end of connections: the daemon is not ready any more and accepts on, and at the end it closes each connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from twisted.logger import Logger

from ..core.drain import Ending, close_evenly
from ..core.registry import Connections
from ..ops.systemd import Notifier
from ..settings.form import DurationForm
from ..settings.model import Settings
from ..settings.problems import BadValue
from .control import OperationFailed, Operations, Say
from .parts import State

EXTEND_SECONDS: Final = 5.0
"""Between two messages to systemd that the stop takes longer."""

EXTENSION_MARGIN_SECONDS: Final = 15.0
"""How long after the next message systemd still waits for the end of the process."""

log = Logger(namespace="wsdaemon")


def grace_of(settings: Settings) -> float:
    """Seconds between SIGTERM and the end of accepting: `drain_grace`, or none if no readiness page can tell a balancer of them."""
    return settings.daemon.drain_grace if settings.admin is not None else 0.0


class StopExtension:
    """Tells systemd while a drain lasts that the stop may take longer than TimeoutStopSec=, but never longer than the settings allow."""

    def __init__(self, notifier: Notifier, loop: asyncio.AbstractEventLoop) -> None:
        self._notifier = notifier
        self._loop = loop
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, seconds: float) -> None:
        """The drain may take so long from now on."""
        self.end()
        self._until = self._loop.time() + seconds
        if self._notifier.active:
            self._tell()

    def end(self) -> None:
        """The drain is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self) -> None:
        left = self._until - self._loop.time()
        self._notifier.extend_timeout(min(max(left, 0.0), EXTEND_SECONDS) + EXTENSION_MARGIN_SECONDS)
        self._timer = self._loop.call_later(EXTEND_SECONDS, self._tell) if left > EXTEND_SECONDS else None


class Leaving:
    """The daemon leaves its load balancer: readiness says 503, while newcomers are still served."""

    def __init__(
        self, settings: Settings, connections: Connections, ending: Ending, state: Callable[[], State], notifier: Notifier,
        extension: StopExtension,
    ) -> None:  # fmt: skip
        """`state` is the daemon's own."""
        self._over, self._grace = settings.daemon.drain_over, grace_of(settings)
        self._connections = connections
        self._ending = ending
        self._state = state
        self._notifier = notifier
        self._extension = extension
        self._shown = State.READY
        self._closing: asyncio.Task[None] | None = None

    def renew(self, settings: Settings, ending: Ending) -> None:
        """A reload: go on with these settings."""
        self._over, self._grace, self._ending = settings.daemon.drain_over, grace_of(settings), ending

    def state(self) -> State:
        """The state as readiness tells it."""
        state = self._state()
        return self._shown if state is State.READY else state

    def drain(self, over: float | None = None) -> int:
        """Be not ready any more, and close the present connections evenly over so many seconds; None: over `drain_over`.

        Returns their number. Newcomers are served, and stay.
        """
        self.resume()
        if self._shown is not State.DRAINING:
            self._shown = State.DRAINED
        present, seconds = list(self._connections), self._over if over is None else over
        log.info("draining without a stop: {count} connections to close over {seconds:g} s", count=len(present), seconds=seconds)
        self._closing = asyncio.get_running_loop().create_task(close_evenly(present, seconds, self._ending))
        return len(present)

    def resume(self) -> None:
        """Be ready again. A connection that drain() has not closed yet stays. Does nothing once the daemon drains to stop."""
        if self._shown is State.DRAINING:
            return
        if self._shown is not State.READY:
            log.info("the drain is over: ready again")
        self._shown = State.READY
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None

    def show_leaving(self) -> None:
        """The daemon stops soon: be not ready any more, whatever the operator says."""
        self._shown = State.DRAINING

    async def grace(self) -> None:
        """SIGTERM: be not ready any more, and serve on until `drain_grace` is over, so that a balancer sends no more clients."""
        if self._grace:
            self.show_leaving()
            self._notifier.stopping("draining")
            self._extension.begin(self._grace)
            log.info("not ready any more: accepting on for {seconds:g} s", seconds=self._grace)
            await asyncio.sleep(self._grace)


class Drainable(Protocol):
    """Can be taken out of a balancer without a stop."""

    def drain(self, over: float | None = None) -> int:
        """Close the present connections evenly over so many seconds, and serve newcomers. Returns the number of connections."""

    def resume(self) -> None:
        """Be ready again."""


def add_drain(operations: Operations, drained: Callable[[], Drainable]) -> None:
    """The commands `drain`, with `over` in seconds or as a duration, and `resume`."""

    async def begin(arguments: Mapping[str, Any], say: Say) -> dict[str, Any]:
        over = arguments.get("over")
        try:
            seconds = None if over is None else DurationForm().convert(over)
        except BadValue as refused:
            raise OperationFailed(f"over = {over}: {refused}") from refused
        return {"connections": drained().drain(seconds)}

    async def end(arguments: Mapping[str, Any], say: Say) -> dict[str, Any]:
        drained().resume()
        return {}

    operations.add("drain", begin)
    operations.add("resume", end)


WORK_SECONDS = 5.0
"""Of the time for a stop, the part that no closing handshake may take while coroutines of apps run; half of a time below twice this."""


class Drain:
    """The open connections and their work as a part of the daemon: it begins empty, and at the end each connection is closed."""

    name = "connections"

    def __init__(self, connections: Connections, patience: float, over: float, ending: Ending, extension: StopExtension) -> None:
        """The connections are closed over `over` seconds. `patience`: seconds after these for connections to close by themselves, and for
        apps to finish their work; the rest is dropped then."""
        self._connections = connections
        self._patience = patience
        self._over = over
        self._ending = ending
        self._extension = extension

    def renew(self, patience: float, over: float, ending: Ending) -> None:
        """A reload: go on with these settings."""
        self._patience, self._over, self._ending = patience, over, ending

    def hurry(self, patience: float) -> None:
        """Close all connections at once, also in a drain that is under way, and wait no longer than this."""
        self._patience, self._over = min(patience, self._patience), 0.0
        self._connections.hurry(self._patience)

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._over + self._patience
        self._extension.begin(self._over + self._patience)
        background = self._connections.background
        background.ending = True
        # A coroutine learns of the end when its connection is over: a client that answers no Close frame must not take all its time.
        closing = max(self._patience - WORK_SECONDS, self._patience / 2) if len(background) else self._patience
        try:
            aborted = await self._connections.drain(closing, self._ending, self._over)
            if aborted:
                log.warn("{count} connections did not close in time and were dropped", count=aborted)
            await background.finish(min(end - loop.time(), self._patience), log)
        finally:
            self._extension.end()
