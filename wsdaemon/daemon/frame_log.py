"""`--dev`: a line for each frame of each connection, as it passes between the wire and its transport.

Text of a client never reaches the terminal as it is: each character that is not printable is an escape.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from ..core.seen_frame import SeenFrame
from ..ops.log_format import printable
from ..wire.watched import WatchedTransport
from ..wire.writer import Native

SHOWN_BYTES: Final = 64
"""The beginning of a payload that a line shows."""

LINES_PER_SECOND: Final = 200
"""More frames than these are counted, and not shown."""

_RESET = "\x1b[0m"
_COLOURS = {"in": "\x1b[36m", "out": "\x1b[32m", "close": "\x1b[31m", "control": "\x1b[2m"}


def payload_text(frame: SeenFrame) -> str:
    """The beginning of the payload in printable characters: as text, a close code with its reason, or hexadecimal digits."""
    shown, more = frame.beginning, "..." if frame.size > len(frame.beginning) else ""
    if frame.compressed:
        return f"compressed {shown[:16].hex(' ')}{more}"
    if frame.opcode == 8 and len(shown) >= 2:
        return f"{int.from_bytes(shown[:2])} {_decoded(shown[2:])}{more}".rstrip()
    if frame.opcode == 1 or (frame.opcode in (0, 9, 10) and _is_text(shown)):
        return _decoded(shown) + more
    return shown[:32].hex(" ") + ("..." if frame.size > 32 else "")


def _decoded(data: bytes) -> str:
    return printable(data.decode("utf-8", "backslashreplace"))


def _is_text(data: bytes) -> bool:
    try:
        return data.decode().isprintable()
    except UnicodeDecodeError:
        return False


class FrameLog:
    """Writes the lines. `write` takes a whole line; an OSError, as of a terminal that is stopped, counts the line as not shown."""

    def __init__(self, write: Callable[[bytes], object], colours: bool, now: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._colours = colours
        self._now = now
        self._second = 0.0
        self._lines = 0
        self._left_out = 0

    def watch(self, native: Native, id: str, mount: str, early: bytes) -> Native:
        """The transport of a new connection, which shows each frame that passes. `early` are bytes that have come already."""
        watched: Any = WatchedTransport(native, _Lines(self, f"{id} {mount}"))
        watched.incoming.feed(early)
        return watched  # type: ignore[no-any-return]

    def show(self, connection: str, direction: str, frame: SeenFrame) -> None:
        """A line for one frame. `connection` is its beginning."""
        now = self._now()
        if now - self._second >= 1.0:
            left_out, self._second, self._lines, self._left_out = self._left_out, now, 0, 0
            if left_out:
                self._put(f"{left_out} frames were not shown\n")
        self._lines += 1
        if self._lines > LINES_PER_SECOND:
            self._left_out += 1
            return
        marks = frame.kind if frame.final else f"{frame.kind}, to be continued"
        text = f"{printable(connection)} {direction:<3} {marks} {frame.size} B"
        if self._colours:
            kind = "close" if frame.opcode == 8 else "control" if frame.opcode > 8 else direction
            text = f"{_COLOURS[kind]}{text}{_RESET}"
        self._put(f"{text} {payload_text(frame)}".rstrip() + "\n")

    def _put(self, line: str) -> None:
        try:
            self._write(line.encode("utf-8", "backslashreplace"))
        except OSError:
            self._left_out += 1


class _Lines:
    """The watcher of one connection."""

    keep = SHOWN_BYTES

    def __init__(self, log: FrameLog, connection: str) -> None:
        self._log = log
        self._connection = connection

    def seen(self, incoming: bool, frame: SeenFrame) -> None:
        self._log.show(self._connection, "in" if incoming else "out", frame)

    def over(self, reason: str) -> None:
        """The log has a line for that already."""
