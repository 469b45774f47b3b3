"""One client's bytes may take only so long at once: then others have their turn.

The loop reads up to 8 MB from one socket before it looks at the next one, and a few of these bytes can be a lot of work: a thousand of
them inflate to a megabyte, and six are a whole frame. So a connection that has used up its time reads on in a later turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from ..core.slices import Slices
from .deflate.compressor import DeflateBudget

TURN_SECONDS = 0.005
"""Seconds that all connections together may take in one turn of the loop for work that is long: long reads, compressed messages, bytes
that go to Autobahn's parser. Everything else is always taken."""


class Postponed(Protocol):
    """A reader that has more to read."""

    def read_on(self) -> None: ...


class Turns:
    """Readers that have more to read than they may at once: each has one slice, first come, first served, a few in each turn."""

    __slots__ = ("_call_soon", "_postponed", "_renewing", "deflating", "now", "spent")

    def __init__(self, call_soon: Callable[[Callable[[], None]], object], now: Callable[[], float] = time.perf_counter) -> None:
        self._call_soon = call_soon
        self._postponed: Slices[Postponed] = Slices(call_soon, self._give, now=now)
        self._renewing = False
        self.now = now
        self.spent = 0.0
        self.deflating = DeflateBudget(now)

    def __len__(self) -> int:
        return len(self._postponed)

    @property
    def used_up(self) -> bool:
        """Whether there is no time left in this turn of the loop."""
        return self.spent > TURN_SECONDS

    def spend(self, seconds: float) -> None:
        """So much of this turn went into one connection."""
        self.spent += seconds
        if not self._renewing:
            self._renewing = True
            self._call_soon(self._renew)

    def _renew(self) -> None:
        self.spent, self._renewing = 0.0, False

    def add(self, reader: Postponed) -> None:
        """Call its read_on() in a later turn of the loop, once."""
        self._postponed.add(reader)

    def _give(self, reader: Postponed) -> None:
        self.spent = 0.0  # or the postponed would starve while others always have something new
        reader.read_on()
