"""Output of programs in slices, and their errors in the log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from ...core.rare_lines import LineLog, RareLines
from ...core.slices import SLICE_SECONDS
from .framing import FramingError

T = TypeVar("T")

ERROR_LINES = 60
"""Lines a minute that the programs of one mount may write to the log."""

ERROR_LINE_BYTES = 1000
"""Bytes of a line of errors; the rest is left out."""

AT_ONCE = 16
"""Messages between two looks at the clock."""


class ErrorLog:
    """Takes the standard error of a mount's programs to the log, line by line and within bounds."""

    def __init__(self, log: LineLog, mount: str) -> None:
        self._lines = RareLines(log, per_reason=ERROR_LINES, in_all=ERROR_LINES)
        self._mount = mount

    def add(self, pid: int, line: bytes) -> None:
        text = line[:ERROR_LINE_BYTES].decode("utf-8", "backslashreplace").rstrip()
        if text:
            shown = "".join(character if character.isprintable() or character == "\t" else "?" for character in text)
            self._lines.info("stderr", "{mount}, program {pid}: {line}", mount=self._mount, pid=pid, line=shown)

    def leave_out(self, lines: int) -> None:
        """Count lines that are not logged."""
        self._lines.leave_out("stderr", lines)


class Errors:
    """The standard error of one program, in lines."""

    __slots__ = ("_log", "_rest")

    def __init__(self, log: ErrorLog) -> None:
        self._log = log
        self._rest = b""

    def feed(self, pid: int, data: bytes) -> None:
        """Log the lines in `data`, at most ERROR_LINES of them: a read may have thousands, and a minute has no more."""
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        lines, self._rest = data[:end], data[end : end + ERROR_LINE_BYTES]
        for _ in range(ERROR_LINES):
            line, _end, lines = lines.lstrip(b"\r\n").partition(b"\n")
            if not line:
                return
            self._log.add(pid, line)
        self._log.leave_out(lines.count(b"\n"))

    def finish(self, pid: int) -> None:
        """The program has ended: its last line may have no end."""
        rest, self._rest = self._rest, b""
        self._log.add(pid, rest)


class Sliced(Generic[T]):
    """Hands events over in slices: after 2 ms others have their turn. `take` returns False to be asked again by `go_on`."""

    __slots__ = ("_events", "_now", "_take")

    def __init__(self, take: Callable[[T], bool], now: Callable[[], float] = time.perf_counter) -> None:
        self._take = take
        self._now = now
        self._events: Iterator[T] | None = None

    @property
    def busy(self) -> bool:
        """Whether events wait."""
        return self._events is not None

    def add(self, events: Iterable[T]) -> None:
        """Events to hand over; the earlier ones must all be."""
        assert self._events is None
        self._events = iter(events)

    def go_on(self) -> bool:
        """Hand over until all is taken, `take` wants a pause, or the slice is over. True: all is taken. Raises FramingError."""
        if self._events is None:
            return True
        until = self._now() + SLICE_SECONDS
        try:
            for number, event in enumerate(self._events):
                if not self._take(event) or (number % AT_ONCE == AT_ONCE - 1 and self._now() > until):
                    return False
        except FramingError:
            self._events = None
            raise
        self._events = None
        return True

    def drop(self) -> None:
        """Forget what waits."""
        self._events = None
