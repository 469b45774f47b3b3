"""Callers that wait for the same moment."""

from __future__ import annotations

from asyncio import AbstractEventLoop, Future
from collections.abc import Callable


class Waiters:
    """Futures that are completed together."""

    __slots__ = ("_futures",)

    def __init__(self) -> None:
        self._futures: list[Future[None]] = []

    def __len__(self) -> int:
        return len(self._futures)

    def wait(self, loop: AbstractEventLoop) -> Future[None]:
        """A future that is done with the next call of `wake`."""
        future: Future[None] = loop.create_future()
        self._futures.append(future)
        return future

    def wake(self, error: Callable[[], Exception] | None = None) -> None:
        """Complete the futures, or fail each with an error. Those that were cancelled stay so."""
        futures, self._futures = self._futures, []
        for future in futures:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error())
