"""Calls to the loop from other threads: one bounded queue, first come, first served, that wakes the loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable

from .slices import SLICE_SECONDS

MAX_CALLS = 10_000
"""Calls that may wait, those of all threads together."""

MAX_BYTES = 64 * 1024 * 1024
"""Bytes of messages that may wait. A larger message is taken when it is alone."""

Call = Callable[[], object]
"""Called on the loop. When it returns True, it has more to do and is called again, before any later call."""


class SendQueueFull(RuntimeError):
    """The queue of messages from other threads and of broadcasts is full, and the message was not taken.

    The queue holds 10,000 calls and 64 MiB. A thread that sends more should wait a moment and try again.
    """


class ThreadCalls:
    """The calls that threads and broadcasts have left for one loop.

    The loop takes them in slices of `SLICE_SECONDS`, and looks after everything else between two slices. All methods work in any thread.
    """

    __slots__ = ("_bytes", "_calls", "_lock", "_max_bytes", "_max_calls", "_now", "_scheduled", "loop")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, max_calls: int = MAX_CALLS, max_bytes: int = MAX_BYTES,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:  # fmt: skip
        self.loop = loop
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self._now = now
        self._lock = threading.Lock()
        self._calls: deque[tuple[Call, int]] = deque()
        self._bytes = 0
        self._scheduled = False

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: Call, size: int = 0) -> None:
        """Have `call` called on the loop; `size` is the bytes of its message.

        SendQueueFull at the bound; RuntimeError when the loop is closed, because the daemon has stopped.
        """
        with self._lock:
            if len(self._calls) >= self._max_calls or (self._calls and self._bytes + size > self._max_bytes):
                raise SendQueueFull(f"{len(self._calls)} messages with {self._bytes} bytes wait for the daemon's loop already")
            if not self._scheduled:
                self.loop.call_soon_threadsafe(self._run)
                self._scheduled = True
            self._calls.append((call, size))
            self._bytes += size

    def _run(self) -> None:
        end = self._now() + SLICE_SECONDS
        while self._call_first() and self._now() <= end:
            pass
        with self._lock:
            self._scheduled = bool(self._calls)
        if self._calls:
            self.loop.call_soon(self._run)

    def _call_first(self) -> bool:
        """Do the work of the first call, or a part of it. False when no call waits."""
        if not self._calls:
            return False
        call, size = self._calls[0]
        more: object = False
        try:
            more = call()
        except Exception as error:  # a call that fails must not keep back those of other threads
            self.loop.call_exception_handler({"message": "a call from another thread failed", "exception": error})
        if more is not True:
            with self._lock:
                self._calls.popleft()
                self._bytes -= size
        return True
