"""The program's own functions around the life of a server: before it accepts clients, and after it has drained."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from twisted.logger import Logger

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
        self._entered = AsyncExitStack()

    def __bool__(self) -> bool:
        return bool(self.startup or self.shutdown or self.lifespans)

    async def start(self) -> None:
        """Whatever one of them raises ends the start, and the lifespans that were entered are left."""
        self._entered = AsyncExitStack()
        try:
            for lifespan in self.lifespans:
                await self._entered.enter_async_context(lifespan())
            for function in self.startup:
                await _call(function)
        except BaseException:
            await self._entered.aclose()
            raise

    async def stop(self) -> None:
        """A function that fails is logged and hinders no other."""
        for function in reversed(self.shutdown):
            try:
                await _call(function)
            except Exception:
                log.failure("a function of on_shutdown failed")
        await self._entered.aclose()


async def _call(function: Hook) -> None:
    result = function()
    if inspect.isawaitable(result):
        await result
