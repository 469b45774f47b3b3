"""Work on many connections is done in slices: after a few milliseconds the loop looks after everything else, and then the work goes on."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

SLICE_SECONDS = 0.002
"""Seconds of work after which others have their turn. An item that was begun is finished."""


class Slices(Generic[T]):
    """A queue of items, first come, first served, that is worked through in later turns of the loop, one slice in each turn."""

    __slots__ = ("_at_once", "_call_soon", "_items", "_now", "_scheduled", "_work")

    def __init__(
        self, call_soon: Callable[[Callable[[], None]], object], work: Callable[[T], object], at_once: int = 1,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:  # fmt: skip
        """`work` is called once for each item that was added. `at_once`: items between two looks at the clock."""
        self._call_soon = call_soon
        self._work = work
        self._at_once = at_once
        self._now = now
        self._items: deque[T] = deque()
        self._scheduled = False

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: T) -> None:
        self._items.append(item)
        if not self._scheduled:
            self._scheduled = True
            self._call_soon(self._run)

    def _run(self) -> None:
        items, work, now = self._items, self._work, self._now
        end, left = now() + SLICE_SECONDS, len(items)  # items that come meanwhile wait for a later turn
        try:
            while left:
                for _ in range(min(self._at_once, left)):
                    left -= 1
                    work(items.popleft())
                if left and now() > end:
                    break
        finally:  # an item that fails must not leave the others waiting for ever
            self._scheduled = bool(items)
            if items:
                self._call_soon(self._run)
