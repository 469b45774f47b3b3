"""Calls a client's callbacks: functions, and coroutine functions, whose work is held until it is done."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, cast

from ..core.connection import READY

FINISH_SECONDS = 1.0
"""The time that callbacks have to end once their client is closed; then they are cancelled."""

Failed = Callable[[BaseException], object]


class Callbacks:
    """The work of one client's callbacks. `failed` is told of their exceptions."""

    __slots__ = ("_failed", "_tasks")

    def __init__(self, failed: Failed) -> None:
        self._failed = failed
        self._tasks: set[asyncio.Future[Any]] | None = None

    def call(self, callback: Callable[..., object] | None, *arguments: object) -> None:
        """Call a callback, if there is one. A coroutine runs by itself."""
        result = self.result(callback, *arguments)
        if result is not None and result is not READY and inspect.isawaitable(result):
            self.keep(result)

    def result(self, callback: Callable[..., object] | None, *arguments: object) -> object:
        """Call a callback, if there is one; its result, which may be awaitable. None if it raises."""
        try:
            return None if callback is None else callback(*arguments)
        except Exception as error:
            self._failed(error)
            return None

    def keep(self, work: Awaitable[object]) -> asyncio.Future[Any]:
        """Hold work until it is done, and tell of its exception."""
        if inspect.iscoroutine(work):
            task: asyncio.Future[Any] = asyncio.get_running_loop().create_task(cast(Coroutine[Any, Any, object], work))
        else:
            task = asyncio.ensure_future(work)
        if self._tasks is None:
            self._tasks = set()
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, self._tasks))
        return task

    def _done(self, tasks: set[asyncio.Future[Any]], task: asyncio.Future[Any]) -> None:
        tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    async def finish(self) -> None:
        """Give the work that is under way a second; then cancel it."""
        tasks = [task for task in self._tasks or () if task is not asyncio.current_task()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=FINISH_SECONDS)
            for task in late:
                task.cancel()
