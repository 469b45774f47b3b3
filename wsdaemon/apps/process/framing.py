"""Messages on a program's standard input and output: lines, plain bytes, netstrings, or JSON objects in lines."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from ...core.closing import may_be_sent

MAX_LENGTH_DIGITS = 12
"""Digits of a netstring's length."""


class FramingError(Exception):
    """The program has written something else than its framing. The text repeats nothing of it."""


class RefusedMessage(Exception):
    """A client's message that cannot be given to the program. The text is the close reason."""


@dataclass(frozen=True, slots=True)
class ProgramMessage:
    """A message of the program. `payload` is UTF-8 if `text`."""

    payload: bytes
    text: bool


@dataclass(frozen=True, slots=True)
class Close:
    """The program wants the connection closed."""

    code: int
    reason: str


Event: TypeAlias = ProgramMessage | Close


class Framing(Protocol):
    """Both directions for one program."""

    def encode(self, payload: bytes, text: bool) -> bytes:
        """The bytes of a client's message. Raises RefusedMessage."""

    def feed(self, data: bytes) -> Iterable[Event]:
        """Take output; its messages. Exhaust them before the next call. Raises FramingError, also while they are iterated."""

    def finish(self) -> Iterable[Event]:
        """The output is over; its last message. Raises FramingError."""


def as_text(payload: bytes) -> bytes:
    """`payload` as UTF-8: bytes that are none are replaced by U+FFFD."""
    if payload.isascii():
        return payload
    return payload.decode("utf-8", "replace").encode()


class LineCutter:
    """Cuts bytes into lines of a bounded length."""

    __slots__ = ("_maximum", "_pieces", "_size")

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that `data` completes, without their ends."""
        lines = data.split(b"\n")
        for number, line in enumerate(lines):
            self._size += len(line)
            if self._size > self._maximum + 1:  # its carriage return does not count
                raise FramingError(f"a line of more than {self._maximum} bytes")
            if number + 1 == len(lines):
                if line:
                    self._pieces.append(line)
                return
            yield self._take(line)

    def _take(self, end: bytes) -> bytes:
        self._size = 0
        if self._pieces:
            end = b"".join([*self._pieces, end])
            self._pieces = []
        return end[:-1] if end.endswith(b"\r") else end

    def finish(self) -> bytes | None:
        """The last line, if it has no end."""
        return self._take(b"") if self._pieces else None


class Lines:
    """One line for each message. `escape`: newlines in clients' messages are escaped, not refused."""

    __slots__ = ("_cutter", "_escape", "_text")

    def __init__(self, maximum: int, escape: bool, text: bool = True) -> None:
        self._cutter = LineCutter(maximum)
        self._escape = escape
        self._text = text

    def encode(self, payload: bytes, text: bool) -> bytes:
        if self._escape:
            if b"\\" in payload:
                payload = payload.replace(b"\\", b"\\\\")
            payload = payload.replace(b"\n", b"\\n").replace(b"\r", b"\\r")
        elif b"\n" in payload or b"\r" in payload:
            raise RefusedMessage("a message must be one line")
        return payload + b"\n"

    def feed(self, data: bytes) -> Iterator[Event]:
        for line in self._cutter.feed(data):
            yield self._message(line)

    def finish(self) -> Iterator[Event]:
        line = self._cutter.finish()
        if line is not None:
            yield self._message(line)

    def _message(self, line: bytes) -> ProgramMessage:
        return ProgramMessage(as_text(line), True) if self._text else ProgramMessage(line, False)


class Plain:
    """Bytes without marks: each piece of output that is read is a message."""

    __slots__ = ("_text",)

    def __init__(self, text: bool = False) -> None:
        self._text = text

    def encode(self, payload: bytes, text: bool) -> bytes:
        return payload

    def feed(self, data: bytes) -> Iterator[Event]:
        yield ProgramMessage(as_text(data), True) if self._text else ProgramMessage(data, False)

    def finish(self) -> Iterator[Event]:
        return iter(())


class Netstrings:
    """`LENGTH:BYTES,` for each message, with the length in decimal."""

    __slots__ = ("_buffer", "_maximum", "_text")

    def __init__(self, maximum: int, text: bool = False) -> None:
        self._maximum = maximum
        self._text = text
        self._buffer = bytearray()

    def encode(self, payload: bytes, text: bool) -> bytes:
        return b"%d:%b," % (len(payload), payload)

    def feed(self, data: bytes) -> Iterator[Event]:
        self._buffer += data
        position = 0
        try:
            while (found := self._next(position)) is not None:
                payload, position = found
                yield ProgramMessage(as_text(payload), True) if self._text else ProgramMessage(payload, False)
        finally:
            del self._buffer[:position]

    def _next(self, position: int) -> tuple[bytes, int] | None:
        """The payload that begins at `position`, and the position after it; None if it is not complete."""
        buffer = self._buffer
        colon = buffer.find(b":", position, position + MAX_LENGTH_DIGITS + 1)
        digits = bytes(buffer[position : position + MAX_LENGTH_DIGITS if colon < 0 else colon])
        if (digits and not digits.isdigit()) or (colon < 0 and len(digits) == MAX_LENGTH_DIGITS) or colon == position:
            raise FramingError("bytes that are no netstring")
        if colon < 0:
            return None
        length = int(digits)
        if length > self._maximum:
            raise FramingError(f"a netstring of more than {self._maximum} bytes")
        end = colon + 1 + length
        if len(buffer) <= end:
            return None
        if buffer[end] != ord(","):
            raise FramingError("a netstring without a comma at its end")
        return bytes(buffer[colon + 1 : end]), end + 1

    def finish(self) -> Iterator[Event]:
        if self._buffer:
            raise FramingError("half a netstring at the end")
        return iter(())


def message_fields(payload: bytes, text: bool) -> dict[str, str]:
    """A client's message as fields of a JSON object."""
    return {"text": payload.decode()} if text else {"binary": base64.b64encode(payload).decode()}


def json_line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def json_object(line: bytes) -> dict[str, Any]:
    """The JSON object of a line. Raises FramingError."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise FramingError("a line that is no JSON") from None
    if not isinstance(found, dict):
        raise FramingError("JSON that is no object")
    return found


def event_of(fields: dict[str, Any]) -> Event:
    """The message or the close of a JSON object. Raises FramingError."""
    match fields:
        case {"text": str(text)}:
            return ProgramMessage(text.encode("utf-8", "replace"), True)
        case {"binary": str(encoded)}:
            try:
                return ProgramMessage(base64.b64decode(encoded, validate=True), False)
            except (binascii.Error, ValueError):
                raise FramingError("binary that is not base64") from None
        case {"close": int(code)} if may_be_sent(code) and not isinstance(code, bool):
            reason = fields.get("reason", "")
            return Close(code, reason if isinstance(reason, str) else "")
        case _:
            raise FramingError("a JSON object without text, binary or close, or with another value there")


class JsonLines:
    """One JSON object in a line: `{"text": "..."}`, `{"binary": "<base64>"}`, and of the program also `{"close": 4000, "reason": ""}`."""

    __slots__ = ("_cutter",)

    def __init__(self, maximum: int) -> None:
        self._cutter = LineCutter(json_size(maximum))

    def encode(self, payload: bytes, text: bool) -> bytes:
        return json_line(message_fields(payload, text))

    def feed(self, data: bytes) -> Iterator[Event]:
        for line in self._cutter.feed(data):
            yield event_of(json_object(line))

    def finish(self) -> Iterator[Event]:
        line = self._cutter.finish()
        if line is not None:
            yield event_of(json_object(line))


def json_size(maximum: int) -> int:
    """The longest line of JSON for a message of `maximum` bytes: each byte may be written as \\u00XX."""
    return 6 * maximum + 1024
