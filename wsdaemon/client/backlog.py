"""The messages that wait because the client is away, or because the server reads too slowly: a bounded queue."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from .errors import ClientClosed, QueueFull


class Backlog:
    """Messages in order, at most `most` of them and `most_bytes` together. A larger message is taken when it is alone.

    `policy` is `drop_oldest`, `refuse` or `wait`. All methods work in any thread. `dropped` counts messages;
    `messages` is for a look whether any wait.
    """

    __slots__ = ("_bytes", "_closed", "_most", "_most_bytes", "_policy", "_room", "dropped", "messages")

    def __init__(self, policy: str, most: int, most_bytes: int) -> None:
        self._policy = policy
        self._most = most
        self._most_bytes = most_bytes
        self.messages: deque[tuple[bytes, bool]] = deque()
        self._bytes = 0
        self._room = threading.Condition()
        self._closed: Callable[[], BaseException] | None = None
        self.dropped = 0

    def __len__(self) -> int:
        return len(self.messages)

    @property
    def waits(self) -> bool:
        """Whether a sender should wait for room."""
        return self._policy == "wait"

    def _fits(self, size: int) -> bool:
        return not self.messages or (len(self.messages) < self._most and self._bytes + size <= self._most_bytes)

    def put(self, payload: bytes, text: bool) -> bool:
        """Add a message; False when it has to wait for room. QueueFull; ClientClosed."""
        with self._room:
            return self._put(payload, text)

    def _put(self, payload: bytes, text: bool) -> bool:
        if self._closed is not None:
            raise self._closed()
        if not self._fits(len(payload)):
            if self._policy == "wait":
                return False
            if self._policy == "refuse":
                raise QueueFull(f"{len(self.messages)} messages with {self._bytes} bytes wait already")
            while not self._fits(len(payload)):
                self._bytes -= len(self.messages.popleft()[0])
                self.dropped += 1
        self.messages.append((payload, text))
        self._bytes += len(payload)
        return True

    def put_and_wait(self, payload: bytes, text: bool, timeout: float | None = None) -> None:
        """Add a message from another thread than the loop's; block while it has to wait. QueueFull after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        with self._room:
            while not self._put(payload, text):
                left = None if end is None else end - time.monotonic()
                if (left is not None and left <= 0) or not self._room.wait(left):
                    raise QueueFull(f"no room within {timeout} s")

    def take(self) -> tuple[bytes, bool] | None:
        """The oldest message, and whether it is text; None if there is none."""
        with self._room:
            if not self.messages:
                return None
            payload, text = self.messages.popleft()
            self._bytes -= len(payload)
            if self.waits:
                self._room.notify()
            return payload, text


    def open(self) -> None:
        """Take messages again, after close()."""
        with self._room:
            self._closed = None

    def close(self, error: Callable[[], BaseException]) -> int:
        """Take no more: senders get `error()`. How many messages were dropped."""
        with self._room:
            left = len(self.messages)
            self.messages.clear()
            self._bytes = 0
            self._closed = error
            self._room.notify_all()
            return left


def closed_error() -> BaseException:
    """The error of a client that was closed by its program."""
    return ClientClosed("the client is closed")
