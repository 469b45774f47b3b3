"""Runs a coroutine at once up to its first wait, so that a coroutine that waits for nothing needs no task."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Generator
from typing import Any


def eagerly(work: Coroutine[Any, Any, None]) -> Awaitable[None] | None:
    """Run `work` up to its first wait. None if it is done, else an awaitable of the rest, which the caller must await.

    Errors that `work` raises come through. It may wait only for plain futures or asyncio.sleep(0), because until its first wait there is
    no current task.
    """
    try:
        future = work.send(None)
    except StopIteration:
        return None
    return _Rest(work, future)


class _Rest:
    """The rest of a coroutine that already waits for a future."""

    __slots__ = ("_future", "_work")

    def __init__(self, work: Coroutine[Any, Any, None], future: Any) -> None:
        self._work = work
        self._future = future

    def __await__(self) -> Generator[Any, Any, None]:
        step, value = self._work.send, None
        awaited = self._future
        while True:
            try:
                value = yield awaited
                step = self._work.send
            except BaseException as error:  # the coroutine gets a cancellation too
                step, value = self._work.throw, error
            try:
                awaited = step(value)
            except StopIteration:
                return
