"""The lifespan of an application (lifespan specification 2.0): its startup before the first client, its shutdown after the last."""

from __future__ import annotations

import asyncio
import traceback
from types import TracebackType
from typing import Any

from ...core.contract import StartFailed
from .inbox import Event
from .scope import LIFESPAN_VERSION, VERSION
from .websocket import Application

END_SECONDS = 5.0
"""The time that an application has to return after `lifespan.shutdown.complete`, and to end when it is cancelled."""

OFF = "lifespan = off in the mount's section leaves the lifespan out, for an application that does not know it"


class LifespanFailed(Exception):
    """The application could not shut down, in its own words."""


class Lifespan:
    """One application's lifespan. Mounts of the same application share it: the first start begins it, the last stop ends it."""

    def __init__(self, application: Application, *, required: bool = False) -> None:
        """`required`: an application without a lifespan cannot start. Otherwise it goes without one, as the specification asks."""
        self.state: dict[str, Any] = {}
        """Filled by the application in its startup; each connection gets a copy."""
        self._application = application
        self._required = required
        self._users = 0
        self._task: asyncio.Task[None] | None = None
        self._received = 0
        self._told: asyncio.Future[Event] | None = None
        self._stopping: asyncio.Future[None] | None = None
        self._supported = False
        self._strange = ""

    async def start(self) -> None:
        """Run the startup. StartFailed in the application's words, or with its traceback."""
        self._users += 1
        if self._users > 1:
            return
        loop = asyncio.get_running_loop()
        self._stopping = loop.create_future()
        self._told = loop.create_future()
        self._task = loop.create_task(self._run(), name="asgi lifespan")
        try:
            await _either(self._task, self._told)
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        if not self._told.done():
            self._ended_early(self._task)
            return
        event = self._told.result()
        if event["type"] == "lifespan.startup.failed":
            self._task.cancel()
            await asyncio.wait([self._task], timeout=END_SECONDS)
            raise StartFailed(str(event.get("message") or "the application sent lifespan.startup.failed without a message"))
        self._supported = True

    def _ended_early(self, task: asyncio.Task[None]) -> None:
        """The application has ended without a word about its startup."""
        error = None if task.cancelled() else task.exception()
        unknown = not self._received or bool(self._strange)
        if unknown and not self._required:
            return
        if error is not None:
            lines = traceback.format_exception(_without_our_frames(error))
            raise StartFailed("".join(lines).rstrip() + (f"\n{OFF}" if self._strange else "")) from error
        reason = f"sent {self._strange}" if self._strange else "ended"
        raise StartFailed(f"the application {reason} in its lifespan before it said that it has started; {OFF}")

    async def stop(self) -> None:
        """Run the shutdown. LifespanFailed, or the application's own exception, if that fails."""
        self._users -= 1
        task = self._task
        if self._users or task is None or self._stopping is None:
            return
        if not self._supported:
            task.cancel()
            return
        self._told = asyncio.get_running_loop().create_future()
        self._stopping.set_result(None)
        await _either(task, self._told)
        await asyncio.wait([task], timeout=END_SECONDS)
        if not task.done():
            task.cancel()
        elif not task.cancelled() and (error := task.exception()) is not None:
            raise _without_our_frames(error)
        if self._told.done() and (event := self._told.result())["type"] == "lifespan.shutdown.failed":
            raise LifespanFailed(str(event.get("message") or "the application sent lifespan.shutdown.failed without a message"))

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": VERSION, "spec_version": LIFESPAN_VERSION}, "state": self.state}
        await self._application(scope, self._receive, self._send)

    async def _receive(self) -> Event:
        self._received += 1
        if self._received == 1:
            return {"type": "lifespan.startup"}
        assert self._stopping is not None
        await asyncio.shield(self._stopping)
        if self._received > 2:
            await asyncio.get_running_loop().create_future()  # there is nothing more to receive
        return {"type": "lifespan.shutdown"}

    async def _send(self, event: Event) -> None:
        kind = event["type"]
        assert self._told is not None
        expected = "lifespan.shutdown" if self._supported else "lifespan.startup"
        if kind not in (f"{expected}.complete", f"{expected}.failed") or self._told.done():
            self._strange = self._strange or str(kind)
            raise RuntimeError(f"unexpected ASGI event {kind!r}; expected {expected}.complete or {expected}.failed")
        self._told.set_result(dict(event))


async def _either(task: asyncio.Task[None], told: asyncio.Future[Event]) -> None:
    both: list[asyncio.Future[Any]] = [task, told]
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)


def _without_our_frames(error: BaseException) -> BaseException:
    """The error with the frames of the application alone."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__ and trace.tb_next is not None:
        trace = trace.tb_next
    return error.with_traceback(trace)
