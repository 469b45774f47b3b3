"""The program's own functions around the life of a server: before it accepts clients, and after it has drained."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from twisted.logger import Logger
from twisted.python.failure import Failure

from .parts import is_cancelled

Hook = Callable[[], object]
"""A function or a coroutine function without arguments."""

Lifespan = Callable[[], AbstractAsyncContextManager[object]]
"""Makes an async context manager, which is entered at the start and left at the end."""

log = Logger(namespace="wsdaemon")


class Hooks:
    """A part of the daemon: lifespans, then functions of the startup, in the order in which they were given. The end is in reverse."""

    def __init__(self) -> None:
        self.startup: list[Hook] = []
        self.shutdown: list[Hook] = []
        self.lifespans: list[Lifespan] = []
        self._owner: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._over = asyncio.Event()

    def __bool__(self) -> bool:
        return bool(self.startup or self.shutdown or self.lifespans)

    async def start(self) -> None:
        """An exception of one of them ends the start, and the lifespans that were entered are left."""
        self._ready, self._over = asyncio.Event(), asyncio.Event()
        self._owner = owner = asyncio.get_running_loop().create_task(self._live(), name="wsdaemon lifespans")
        ready = asyncio.ensure_future(self._ready.wait())
        try:
            await asyncio.wait([owner, ready], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            owner.cancel()
            await asyncio.gather(owner, return_exceptions=True)
            raise
        finally:
            ready.cancel()
        if not self._ready.is_set():
            owner.result()
            raise RuntimeError("a lifespan suppressed the error that ended the start")
        owner.add_done_callback(self._ended)

    async def _live(self) -> None:
        """Enter and leave the lifespans in one task, because task groups, timeouts and tokens of context variables belong to a task."""
        async with AsyncExitStack() as entered:
            for lifespan in self.lifespans:
                await entered.enter_async_context(lifespan())
            for function in self.startup:
                await _call(function)
            self._ready.set()
            await self._over.wait()

    def _ended(self, owner: asyncio.Task[None]) -> None:
        """Log a lifespan that ends by itself while the server runs, such as a task group with a task that failed."""
        if not self._over.is_set():
            error = asyncio.CancelledError() if owner.cancelled() else owner.exception()
            log.failure("a lifespan ended while the server runs", failure=None if error is None else Failure(error))

    async def stop(self) -> None:
        """A function that fails, or that awaits a task which it has cancelled, is logged and hinders no other."""
        try:
            for function in reversed(self.shutdown):
                try:
                    await _call(function)
                except (Exception, asyncio.CancelledError) as error:
                    if isinstance(error, asyncio.CancelledError) and is_cancelled():
                        raise
                    log.failure("a function of on_shutdown failed")
        finally:
            self._over.set()
            if self._owner is not None and not self._owner.done():
                await self._owner


async def _call(function: Hook) -> None:
    result = function()
    if inspect.isawaitable(result):
        await result
