"""`--dev`: a line for each frame of each connection, as it passes between the wire and its transport.

A FrameScan follows the bytes of one direction and keeps no more of a frame than its header (RFC 6455 section 5.2) and the beginning of
its payload. Text of a client never reaches the terminal as it is: each character that is not printable is an escape.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from ..ops.log_format import printable
from ..wire.writer import Native

SHOWN_BYTES: Final = 64
"""The beginning of a payload that a line shows."""

LINES_PER_SECOND: Final = 200
"""More frames than these are counted, and not shown."""

MAX_HEAD_BYTES: Final = 64 * 1024

NAMES: Final = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}

_RESET = "\x1b[0m"
_COLOURS = {"in": "\x1b[36m", "out": "\x1b[32m", "close": "\x1b[31m", "control": "\x1b[2m"}


class SeenFrame(NamedTuple):
    """A frame, with the beginning of its payload, unmasked."""

    opcode: int
    size: int
    """Bytes of payload."""
    beginning: bytes
    compressed: bool = False
    final: bool = True


class FrameScan:
    """The frames in one direction. `after_head`: the bytes begin with the head of an HTTP answer, and have frames only after a 101."""

    def __init__(self, show: Callable[[SeenFrame], object], after_head: bool = False) -> None:
        self._show = show
        self._before: bytearray | None = bytearray() if after_head else None
        self._header = bytearray()
        self._frame = SeenFrame(0, 0, b"")
        self._mask = b""
        self._payload = bytearray()
        self._missing = -1
        self._off = False

    def feed(self, data: bytes) -> None:
        """The next bytes."""
        if self._before is not None:
            data = self._skip_head(data)
        position = 0
        while position < len(data) and not self._off:
            if self._missing < 0:
                self._header.append(data[position])
                position += 1
                self._begin()
            else:
                size = min(self._missing, len(data) - position)
                self._payload += data[position : position + min(size, SHOWN_BYTES - len(self._payload))]
                self._missing -= size
                position += size
            if self._missing == 0:
                self._end()

    def _skip_head(self, data: bytes) -> bytes:
        assert self._before is not None
        self._before += data
        head, found, rest = self._before.partition(b"\r\n\r\n")
        if not found:
            self._off = len(self._before) > MAX_HEAD_BYTES
            if self._off:
                self._before = None
            return b""
        self._before, self._off = None, not head.startswith(b"HTTP/1.1 101")
        return bytes(rest)

    def _begin(self) -> None:
        """The header may be complete now: then the payload begins."""
        header = self._header
        if len(header) < 2:
            return
        length, masked = header[1] & 0x7F, header[1] >> 7
        extended = {126: 2, 127: 8}.get(length, 0)
        if len(header) < 2 + extended + 4 * masked:
            return
        size = int.from_bytes(header[2 : 2 + extended]) if extended else length
        self._mask = bytes(header[2 + extended :])
        self._frame = SeenFrame(header[0] & 0x0F, size, b"", bool(header[0] & 0x40), bool(header[0] & 0x80))
        self._missing = size
        header.clear()

    def _end(self) -> None:
        payload = bytes(self._payload)
        if self._mask:
            payload = bytes(byte ^ self._mask[place % 4] for place, byte in enumerate(payload))
        self._payload.clear()
        self._missing = -1
        self._show(self._frame._replace(beginning=payload))


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
        incoming = FrameScan(lambda frame: self._show(f"{id} {mount}", "in", frame))
        incoming.feed(early)
        outgoing = FrameScan(lambda frame: self._show(f"{id} {mount}", "out", frame), after_head=True)
        watched: Any = WatchedTransport(native, incoming, outgoing)
        return watched  # type: ignore[no-any-return]

    def _show(self, connection: str, direction: str, frame: SeenFrame) -> None:
        now = self._now()
        if now - self._second >= 1.0:
            left_out, self._second, self._lines, self._left_out = self._left_out, now, 0, 0
            if left_out:
                self._put(f"{left_out} frames were not shown\n")
        self._lines += 1
        if self._lines > LINES_PER_SECOND:
            self._left_out += 1
            return
        name = NAMES.get(frame.opcode, f"opcode {frame.opcode}")
        marks = name if frame.final else f"{name}, to be continued"
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


class WatchedTransport:
    """A transport whose written bytes are scanned. Everything else is the transport's own."""

    def __init__(self, native: Native, incoming: FrameScan, outgoing: FrameScan) -> None:
        self._native = native
        self._incoming = incoming
        self._outgoing = outgoing
        self._protocol: WatchedProtocol | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._native, name)

    def write(self, data: bytes) -> None:
        self._outgoing.feed(bytes(data))
        self._native.write(data)

    def writelines(self, list_of_data: list[bytes]) -> None:
        for data in list_of_data:
            self._outgoing.feed(bytes(data))
        self._native.writelines(list_of_data)

    def set_protocol(self, protocol: Any) -> None:
        if self._protocol is None:
            self._protocol = WatchedProtocol(protocol, self._incoming)
            self._native.set_protocol(self._protocol)
        self._protocol.inner = protocol

    def get_protocol(self) -> object:
        return self._native.get_protocol() if self._protocol is None else self._protocol.inner


class WatchedProtocol(asyncio.Protocol):
    """Scans the bytes that come, and gives them to `inner`, which may be a BufferedProtocol and may change with each call."""

    def __init__(self, inner: Any, incoming: FrameScan) -> None:
        self.inner = inner
        self._incoming = incoming

    def data_received(self, data: bytes) -> None:
        self._incoming.feed(bytes(data))
        rest = memoryview(data)
        while rest:
            if not isinstance(self.inner, asyncio.BufferedProtocol):
                self.inner.data_received(bytes(rest))
                return
            room: Any = self.inner.get_buffer(len(rest))
            size = min(len(room), len(rest))
            room[:size] = rest[:size]
            del room
            rest = rest[size:]
            self.inner.buffer_updated(size)

    def eof_received(self) -> bool | None:
        answer: bool | None = self.inner.eof_received()
        return answer

    def connection_lost(self, exc: Exception | None) -> None:
        self.inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        self.inner.resume_writing()
