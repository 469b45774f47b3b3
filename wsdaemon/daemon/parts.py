"""starting > ready > draining > stopped: the parts of a daemon are started in their order, and stopped in reverse order."""

from __future__ import annotations

import asyncio
import enum
import traceback
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from twisted.logger import Logger

from ..core.contract import StartFailed, StartingApp, StoppingApp
from ..core.wheel import Wheel
from ..ops.systemd import Notifier

LINE_SECONDS = 10.0
"""Between two lines about a part that is waited for."""

CANCEL_SECONDS = 1.0
"""How long a cancelled start of a part may take to end."""

log = Logger(namespace="wsdaemon")


class State(enum.Enum):
    STARTING = "starting"
    READY = "ready"
    DRAINED = "drained"
    """The operator has taken the daemon out of its balancer: it serves newcomers, and readiness says 503."""
    DRAINING = "draining"
    STOPPED = "stopped"


class StartError(Exception):
    """The daemon cannot start. The text has one clear line for each problem, or the user's own traceback."""

    def __init__(self, *problems: object) -> None:
        self.problems = [str(problem) for problem in problems]
        super().__init__("\n".join(self.problems))


class _TooLate(Exception):
    """A step took longer than it may."""


class StepCancelled(Exception):
    """A step ended as cancelled although nothing cancelled it: it awaited a task that had been cancelled."""


class Step(Protocol):
    """A part of the daemon that is started and stopped."""

    def start(self) -> Coroutine[Any, Any, None]: ...

    def stop(self) -> Coroutine[Any, Any, None]: ...


async def start_in_order(steps: Sequence[Step], patience: float, failed: Callable[[], object] = lambda: None) -> list[Step]:
    """Start each step once the one before it has started. If one fails, those that run are stopped, and its error is raised.

    StartError if all together take longer than `patience` seconds. `failed` is called before an error is raised.
    """
    started: list[Step] = []
    deadline = asyncio.get_running_loop().time() + patience
    for step in steps:
        try:
            await _watched(step.start(), f"{name_of(step)} to start", deadline)
        except _TooLate:
            await stop_in_order(started)
            failed()
            raise StartError(f"{name_of(step)} has not started; the whole start may take {patience:g} s ([daemon] start_timeout)") from None
        except BaseException:
            await stop_in_order(started)
            failed()
            raise
        started.append(step)
    return started


async def stop_in_order(started: Sequence[Step]) -> None:
    """Stop each step once the one after it has stopped. One that fails is logged and hinders no other."""
    for step in reversed(started):
        try:
            await _watched(step.stop(), f"{name_of(step)} to stop", None)
        except Exception:
            log.failure("{step} did not stop cleanly", step=name_of(step))


def name_of(step: Step) -> str:
    """The step, as the log calls it."""
    return str(getattr(step, "name", type(step).__name__))


async def _watched(waiting: Coroutine[Any, Any, None], what: str, deadline: float | None) -> None:
    """Wait for a step, with a line in the log every `LINE_SECONDS`. _TooLate at the deadline; the step is cancelled then.

    StepCancelled if the step lets the cancellation of a task of its own pass: a CancelledError would end the caller's work, too.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    task = loop.create_task(waiting)
    try:
        while True:
            left = None if deadline is None else deadline - loop.time()
            await asyncio.wait([task], timeout=LINE_SECONDS if left is None else min(LINE_SECONDS, max(left, 0.0)))
            if task.done():
                return _result(task, what)
            if deadline is not None and loop.time() >= deadline:
                raise _TooLate
            log.warn("waiting for {what}: {seconds} s so far", what=what, seconds=round(loop.time() - began))
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=CANCEL_SECONDS)


def _result(task: asyncio.Task[None], what: str) -> None:
    try:
        task.result()
    except asyncio.CancelledError as error:
        raise StepCancelled(f"waited for {what}: it awaited a task that was cancelled") from error


def is_cancelled() -> bool:
    """Whether the running task itself has been cancelled; if not, its CancelledError came from a task that it awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


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


class Timers:
    """The wheel as a part of the daemon: while it serves, the wheel knows whether the loop was away."""

    name = "timers"

    def __init__(self, wheel: Wheel) -> None:
        self._wheel = wheel

    async def start(self) -> None:
        self._wheel.absence.start()

    async def stop(self) -> None:
        self._wheel.absence.stop()
        self._wheel.stop()


class AppStep:
    """An app with work of its own to start, to stop, or both. If its start fails, the daemon gives the user's traceback as the reason."""

    def __init__(self, app: Any, where: str, path: str = "") -> None:
        """`where` names it in the log; `path` is the mount's."""
        self.name = where
        self.path = path
        self.app = app

    async def start(self) -> None:
        if not isinstance(self.app, StartingApp):
            return
        try:
            await self.app.start()
        except StartError:
            raise
        except StartFailed as error:
            raise StartError(f"{self.name}: the app did not start\n{str(error).rstrip()}") from error
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and is_cancelled():
                raise
            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
            lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames), *traceback.format_exception_only(error)]
            raise StartError(f"{self.name}: the app did not start\n" + "".join(lines).rstrip()) from error

    async def stop(self) -> None:
        if isinstance(self.app, StoppingApp):
            await self.app.stop()
