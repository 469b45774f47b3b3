"""Log lines that clients can cause: at most so many a minute for each reason, and for all reasons together.

A client that is refused a thousand times a second must neither fill the disk nor hide other lines. A line that is left out is counted, and
the next line of its reason says how many there were.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Any, Protocol

MINUTE = 60.0
"""Seconds in which each reason has its lines."""


class LineLog(Protocol):
    """The part of a twisted.logger.Logger that is used here."""

    def debug(self, format: str, **fields: Any) -> None: ...

    def info(self, format: str, **fields: Any) -> None: ...

    def warn(self, format: str, **fields: Any) -> None: ...

    def error(self, format: str, **fields: Any) -> None: ...

    def failure(self, format: str, failure: Any, **fields: Any) -> None: ...


class LineBudget:
    """How many lines each key may still log within its minute. It keeps at most three times `in_all` keys."""

    __slots__ = ("_begun", "_in_all", "_keys", "_lines", "_now", "_per_key", "left_out")

    def __init__(self, per_key: int = 1, in_all: int = 60, now: Callable[[], float] = time.monotonic) -> None:
        """`per_key`: lines a minute for each key; `in_all`: for all keys together. `now` gives seconds."""
        self._per_key = per_key
        self._in_all = in_all
        self._now = now
        self._begun = -MINUTE
        self._lines = 0
        self._keys: dict[Hashable, _Minute] = {}
        self.left_out = 0
        """Lines of keys that are forgotten, or for which there was no room: no later line of their own tells of them."""

    def __len__(self) -> int:
        """Keys in memory."""
        return len(self._keys)

    def take(self, key: Hashable) -> int | None:
        """Whether a line may be logged now: how many of the key were left out since its last one. None: this one is left out."""
        now = self._now()
        if now - self._begun >= MINUTE:
            self._begin(now)
        minute = self._keys.get(key)
        if minute is not None and now - minute.begun < MINUTE and minute.lines >= self._per_key:
            minute.left_out += 1
            return None
        if self._lines >= self._in_all:
            if minute is None:
                self.left_out += 1
            else:
                minute.left_out += 1
            return None
        self._lines += 1
        if minute is None:
            self._keys[key] = _Minute(now)
            return 0
        if now - minute.begun >= MINUTE:
            minute.begun, minute.lines = now, 0
        minute.lines += 1
        left_out, minute.left_out = minute.left_out, 0
        return left_out

    def leave_out(self, key: Hashable, lines: int) -> None:
        """Count lines of a key that are left out without a question."""
        minute = self._keys.get(key)
        if minute is None:
            self.left_out += lines
        else:
            minute.left_out += lines

    def take_left_out(self) -> int:
        """The `left_out` that no line has told yet; from now on it counts as told."""
        left_out, self.left_out = self.left_out, 0
        return left_out

    def _begin(self, now: float) -> None:
        """A new minute for all keys together. A key is forgotten when its own minute is over; a minute later if it left lines out."""
        for key in [key for key, minute in self._keys.items() if now - minute.begun >= (2 * MINUTE if minute.left_out else MINUTE)]:
            self.left_out += self._keys.pop(key).left_out
        self._begun, self._lines = now, 0


class _Minute:
    """The lines of one key."""

    __slots__ = ("begun", "left_out", "lines")

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.lines = 1
        self.left_out = 0


class RareLines:
    """Logs what clients cause. `reason` is what two lines have in common that need not both be logged."""

    __slots__ = ("_budget", "_log")

    def __init__(self, log: LineLog, per_reason: int = 1, in_all: int = 60, now: Callable[[], float] = time.monotonic) -> None:
        """`per_reason` and `in_all`: lines a minute. `now` gives seconds."""
        self._log = log
        self._budget = LineBudget(per_reason, in_all, now)

    def debug(self, reason: Hashable, format: str, **fields: Any) -> None:
        more = self._more(reason)
        if more is not None:
            self._log.debug(format + "{more}", **fields, more=more)

    def info(self, reason: Hashable, format: str, **fields: Any) -> None:
        more = self._more(reason)
        if more is not None:
            self._log.info(format + "{more}", **fields, more=more)

    def warn(self, reason: Hashable, format: str, **fields: Any) -> None:
        more = self._more(reason)
        if more is not None:
            self._log.warn(format + "{more}", **fields, more=more)

    def error(self, reason: Hashable, format: str, **fields: Any) -> None:
        more = self._more(reason)
        if more is not None:
            self._log.error(format + "{more}", **fields, more=more)

    def failure(self, reason: Hashable, format: str, failure: Any, **fields: Any) -> None:
        """A line with a traceback. Add the exception's type to the `reason`, or other faults are left out beside it."""
        more = self._more(reason)
        if more is not None:
            self._log.failure(format + "{more}", failure, **fields, more=more)

    def leave_out(self, reason: Hashable, lines: int) -> None:
        """Count lines that are not logged; the next line of their reason tells how many they were."""
        self._budget.leave_out(reason, lines)

    def _more(self, reason: Hashable) -> str | None:
        """The end of a line that says how many were left out; empty for none. None: this line is left out."""
        same = self._budget.take(reason)
        if same is None:
            return None
        others = self._budget.take_left_out()
        told = [f"{same} more like this"] * (same > 0) + [f"{others} others"] * (others > 0)
        return f" ({' and '.join(told)} since then were left out)" if told else ""
