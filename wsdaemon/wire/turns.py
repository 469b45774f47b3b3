"""One client's bytes may take only so long at once: then others have their turn.

The loop reads up to 8 MB from one socket before it looks at the next one, and a few of these bytes can be a lot of work: a thousand of
them inflate to a megabyte, and six are a whole frame. So a connection that has used up its time reads on in a later turn.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

SLICE = 0.002
"""Seconds of reading after which other connections have their turn. What is begun, a message, is finished."""

TURN = 0.005
"""Seconds that all connections together may take in one turn of the loop for what is a lot of work: long reads, what is compressed, what
goes to Autobahn's parser. Whatever else comes is always taken."""


class Deferred(Protocol):
    """A connection that has more to read."""

    def wire_read_on(self) -> None: ...


class Turns:
    """Connections that have more to read than they may at once: each has one slice, first come, first served, a few in each turn."""

    __slots__ = ("_call_soon", "_renewing", "_scheduled", "_waiting", "now", "spent")

    def __init__(self, call_soon: Callable[[Callable[[], None]], object], now: Callable[[], float] = time.perf_counter) -> None:
        self._call_soon = call_soon
        self._waiting: deque[Deferred] = deque()
        self._scheduled = self._renewing = False
        self.now = now
        self.spent = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def used_up(self) -> bool:
        """Whether there is no time left in this turn of the loop."""
        return self.spent > TURN

    def spend(self, seconds: float) -> None:
        """So much of this turn went into one connection."""
        self.spent += seconds
        if not self._renewing:
            self._renewing = True
            self._call_soon(self._renew)

    def _renew(self) -> None:
        self.spent, self._renewing = 0.0, False

    def add(self, connection: Deferred) -> None:
        """Call its wire_read_on() in a later turn of the loop, once."""
        self._waiting.append(connection)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        self.spent = 0.0  # or they would starve while others always have something new
        end = self.now() + SLICE
        try:
            for _ in range(len(self._waiting)):  # those that come meanwhile are for a later turn
                self._waiting.popleft().wire_read_on()
                if self.now() > end:
                    break
        finally:
            if self._waiting:
                self._schedule()
