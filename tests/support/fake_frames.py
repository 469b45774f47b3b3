"""Frames as a client makes them, and as it reads the server's (RFC 6455 section 5.2). Tests import them by way of fakes.py."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MASK = bytes.fromhex("37fa213d")


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes | None = MASK) -> bytes:
    """A client's frame (RFC 6455 section 5.2). `rsv` 4 is RSV1."""
    length = len(payload)
    masked = 0x80 if mask is not None else 0
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    if length < 126:
        head = struct.pack("!BB", first, masked | length)
    elif length < 65536:
        head = struct.pack("!BBH", first, masked | 126, length)
    else:
        head = struct.pack("!BBQ", first, masked | 127, length)
    if mask is None:
        return head + payload
    key = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
    return head + mask + (int.from_bytes(payload, "big") ^ key).to_bytes(length, "big")


def text(message: str) -> bytes:
    return frame(1, message.encode())


def binary(message: bytes) -> bytes:
    return frame(2, message)


def close(code: int | None = 1000, reason: str = "") -> bytes:
    return frame(8, b"" if code is None else struct.pack("!H", code) + reason.encode())


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of the server's."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0

    @property
    def code(self) -> int | None:
        """The close code of a Close frame."""
        return struct.unpack("!H", self.payload[:2])[0] if self.payload else None

    @property
    def reason(self) -> str:
        return self.payload[2:].decode()


def closing(code: int, reason: str = "") -> Frame:
    return Frame(8, struct.pack("!H", code) + reason.encode())


def server_frames(data: bytes) -> Iterator[Frame]:
    """The frames in what a server sent; nothing may be left over."""
    position = 0
    while position < len(data):
        first, length = data[position], data[position + 1]
        assert length < 128, "a server masks nothing"
        position += 2
        if length >= 126:
            size = 2 if length == 126 else 8
            length = int.from_bytes(data[position : position + size], "big")
            position += size
        assert position + length <= len(data), "a frame is not whole"
        yield Frame(first & 15, data[position : position + length], bool(first & 128), first >> 4 & 7)
        position += length
