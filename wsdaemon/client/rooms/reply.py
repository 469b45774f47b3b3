"""The result of a request: awaitable on any loop, and with a `result()` for threads."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Reply(Future[T]):
    """A result that comes later. In a coroutine, await it; in another thread than the client's, `result(timeout)` waits for it."""

    def __await__(self) -> Generator[Any, None, T]:
        return asyncio.wrap_future(self).__await__()

    def give(self, value: T) -> None:
        """Set the result, unless it is cancelled or has one."""
        if not self.done() and self.set_running_or_notify_cancel():
            self.set_result(value)

    def fail(self, error: BaseException) -> None:
        """Set the exception, unless it is cancelled or has a result."""
        if not self.done() and self.set_running_or_notify_cancel():
            self.set_exception(error)
