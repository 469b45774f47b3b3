"""The receive side's hot loop in Python: the twin of `_frames.c`, for machines without a compiler.

Both have the same functions and give the same results; `_frames.pyi` describes them and `choice.py` chooses. Both take
only frames that cannot be wrong: whole, final, masked if they are a client's and not masked if they are a server's (RFC 6455
section 5.2), in the shortest length encoding, within the limit, and text that is UTF-8. All other bytes are left to Autobahn's
parser, which is the authority on errors.
"""

from __future__ import annotations

import mmap
import os
import socket
import sys

INTERFACE = 6
"""Raised in both twins when a signature or a result changes, so that a stale build of the C module is noticed."""
RSV1 = 1
"""Flag: permessage-deflate was agreed, so a data frame may come with RSV1 (RFC 7692 section 6)."""
TEXT = 2
"""Flag: text payloads are given as `str`, not as bytes."""
COMPRESSED = 0x40
"""Added to the opcode of a frame that came with RSV1."""

_TEXT_FRAME, _PING = 1, 9
_LONGEST_CONTROL = 125
_MASK_BYTES = 4
_LAZY = 65536
"""Bytes: from here on a partial payload lies in a mapping of its own, whose untouched pages cost nothing."""
_STRIDED = 16384
"""Bytes: from here on four table look-ups over every fourth byte are faster than one XOR of two huge integers."""
_XOR = [bytes(byte ^ mask for byte in range(256)) for mask in range(256)]


def longest_compressed(maximum: int) -> int:
    """Bytes that a compressed payload may have where a message may have `maximum`: what cannot be compressed grows.

    By 0.22 % with zlib's usual memory level of 8 and a window of 11 bits, by 5.4 % with the smallest of both: so this is a limit on memory
    alone, and whether the message is too long shows when it is inflated.
    """
    return min(maximum + maximum // 8 + 64, sys.maxsize)


_Header = tuple[int, int, int]  # opcode with COMPRESSED, size of the header in bytes, length of the payload in bytes


def _check(**numbers: int) -> None:
    """TypeError for what is not an int, ValueError for what is negative or larger than anything in memory."""
    for name, number in numbers.items():
        if not isinstance(number, int):
            raise TypeError(f"{name} must be an int, not {type(number).__name__}")
        if not 0 <= number <= sys.maxsize:
            raise ValueError(f"{name} is out of range")


def _check_input(data: bytes, position: int, maximum: int, flags: int, most: int = 0) -> None:
    if not isinstance(data, bytes):
        raise TypeError(f"data must be bytes, not {type(data).__name__}")
    _check(position=position, maximum=maximum, flags=flags, most=most)
    if position > len(data):
        raise ValueError("position is out of range")
    if flags > RSV1 | TEXT:
        raise ValueError("flags is out of range")


def _unmask(data: bytes | memoryview, mask: bytes) -> bytes:
    """`data` with the mask applied; an empty mask changes nothing."""
    length = len(data)
    if not mask:
        return bytes(data)
    if length < _STRIDED:
        key = (mask * (length // 4 + 1))[:length]
        return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(length, "little")
    data, result = bytes(data), bytearray(length)  # bytes are quicker to step through than a view
    for phase in range(4):
        result[phase::4] = data[phase::4].translate(_XOR[mask[phase]])
    return bytes(result)


def _header(data: bytes, position: int, maximum: int, flags: int, mask_size: int) -> _Header | None:
    """The header at `position` when it is whole and of a frame that we take. `mask_size` is 0 for the frames of a server."""
    available = len(data) - position
    if available < 2 + mask_size:
        return None
    first, second = data[position], data[position + 1]
    opcode, reserved, length = first & 0x0F, first & 0x70, second & 0x7F
    if first < 0x80 or (second >= 0x80) != (mask_size > 0) or opcode not in (1, 2, 9, 10):
        return None
    if opcode >= _PING:
        maximum = _LONGEST_CONTROL
        if reserved or length > maximum:
            return None
    elif reserved:
        if reserved != 0x40 or not flags & RSV1:
            return None
        maximum = longest_compressed(maximum)
    size = 2 + mask_size
    if length >= 126:
        size, shortest = (4 + mask_size, 126) if length == 126 else (10 + mask_size, 65536)
        length = int.from_bytes(data[position + 2 : position + size - mask_size], "big")
        if available < size or length < shortest:
            return None
    if length > maximum:
        return None
    return (opcode | COMPRESSED if reserved else opcode), size, length


def take(data: bytes, position: int, maximum: int, flags: int, most: int) -> tuple[list[object], int]:
    """Reads client frames from `data[position:]` up to the first that is not wanted; see `_frames.pyi`."""
    return _take(data, position, maximum, flags, most, _MASK_BYTES)


def take_unmasked(data: bytes, position: int, maximum: int, flags: int, most: int) -> tuple[list[object], int]:
    """As take(), for the frames of a server."""
    return _take(data, position, maximum, flags, most, 0)


def whole(data: bytes, maximum: int, flags: int) -> bytes | str | None:
    """The payload of a client's frame that is all of `data`; see `_frames.pyi`."""
    return _whole(data, maximum, flags, _MASK_BYTES)


def whole_unmasked(data: bytes, maximum: int, flags: int) -> bytes | str | None:
    """As whole(), for the frame of a server."""
    return _whole(data, maximum, flags, 0)


def _whole(data: bytes, maximum: int, flags: int, mask_size: int) -> bytes | str | None:
    _check_input(data, 0, maximum, flags)
    header = _header(data, 0, maximum, flags, mask_size)
    if header is None or header[0] >= _PING or header[1] + header[2] != len(data):
        return None
    taken, _ = _take(data, 0, maximum, flags, 1, mask_size)
    return taken[1] if taken else None  # type: ignore[return-value]


def _take(data: bytes, position: int, maximum: int, flags: int, most: int, mask_size: int) -> tuple[list[object], int]:
    _check_input(data, position, maximum, flags, most)
    taken: list[object] = []
    for _ in range(most):
        header = _header(data, position, maximum, flags, mask_size)
        if header is None:
            break
        opcode, size, length = header
        start = position + size
        if length > len(data) - start:
            break
        payload: bytes | str = _unmask(data[start : start + length], data[start - mask_size : start])
        if opcode == _TEXT_FRAME:
            assert isinstance(payload, bytes)
            try:
                text = payload.decode()
            except UnicodeDecodeError:
                break
            if flags & TEXT:
                payload = text
        taken += (opcode, payload)
        position = start + length
    return taken, position


def _whole_sequences(data: bytes) -> int | None:
    """How many bytes from the start are whole UTF-8 sequences; None when what follows can never become one."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start if error.reason == "unexpected end of data" else None
    return len(data)


def _memory(length: int) -> memoryview | None:
    try:
        return memoryview(bytearray(length) if length < _LAZY else mmap.mmap(-1, length, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    except (MemoryError, OSError, OverflowError):
        return None


class Partial:
    """A data frame whose payload is not all here yet; `begin` makes it. See `_frames.pyi`.

    Unlike its twin it copies the payload once more, in `message`: Python cannot fill a bytes object in place.
    """

    __slots__ = ("_as_str", "_checked", "_header", "_length", "_mask", "_target", "_text", "missing", "opcode", "valid")

    def __init__(self, header: bytes, opcode: int, target: memoryview, flags: int, mask_size: int) -> None:
        self._header = header
        self._mask = header[len(header) - mask_size :]
        self._target = target
        self._length = len(target)
        self._text = opcode == _TEXT_FRAME
        self._as_str = bool(self._text and flags & TEXT)
        self._checked = 0
        self.missing = self._length
        self.opcode = opcode
        self.valid = True

    def feed(self, data: bytes, position: int) -> int:
        """Takes what belongs to this frame from `data[position:]`; the result is the position after it."""
        _check_input(data, position, 0, 0)
        count = min(self.missing, len(data) - position)
        self._advance(memoryview(data)[position : position + count])
        return position + count

    def room(self, keep: int = 0) -> memoryview:
        """The memory of what is missing but for the last `keep` bytes, to be received into."""
        _check(keep=keep)
        return self._target[self._length - self.missing : max(self._length - keep, 0)]

    def received(self, count: int) -> None:
        """So many bytes were put into the room."""
        _check(count=count)
        if count > self.missing:
            raise ValueError("count is out of range")
        self._advance(self.room()[:count])

    def message(self) -> bytes | str:
        """The payload. ValueError while it is not complete or when it is not valid."""
        if self.missing or not self.valid:
            raise ValueError("the payload is not complete" if self.valid else "the payload is not valid")
        return str(self._target, "utf-8") if self._as_str else bytes(self._target)

    def replay(self) -> bytes:
        """The frame's bytes so far, exactly as they came."""
        return self._header + _unmask(self._target[: self._length - self.missing], self._mask)

    def _advance(self, masked: memoryview) -> None:
        before = self._length - self.missing
        now = before + len(masked)
        phase = before & 3
        mask = self._mask
        part = _unmask(masked, mask[phase:] + mask[:phase])
        self._target[before:now] = part
        self.missing = self._length - now
        if not self._text or not self.valid:
            return
        if self._checked == before and part.isascii():
            self._checked = now
        else:
            good = _whole_sequences(bytes(self._target[self._checked : now]))
            self.valid = good is not None
            self._checked += good or 0
        if not self.missing and self._checked != self._length:
            self.valid = False


def begin(data: bytes, position: int, maximum: int, flags: int) -> Partial | None:
    """The data frame that starts at `position` and is not all there; None for any other; see `_frames.pyi`."""
    return _begin(data, position, maximum, flags, _MASK_BYTES)


def begin_unmasked(data: bytes, position: int, maximum: int, flags: int) -> Partial | None:
    """As begin(), for a frame of a server."""
    return _begin(data, position, maximum, flags, 0)


def _begin(data: bytes, position: int, maximum: int, flags: int, mask_size: int) -> Partial | None:
    _check_input(data, position, maximum, flags)
    header = _header(data, position, maximum, flags, mask_size)
    if header is None:
        return None
    opcode, size, length = header
    start = position + size
    if opcode & 0x0F >= _PING or length <= len(data) - start:
        return None
    target = _memory(length)
    if target is None:  # the peer chose the length: a parser that grows as bytes arrive may still manage
        return None
    partial = Partial(data[position:start], opcode, target, flags, mask_size)
    partial.feed(data, start)
    return partial if partial.valid else None


def header(opcode: int, length: int, rsv1: bool = False) -> bytes:
    """The header of a server frame: final, not masked (RFC 6455 section 5.2). `length` in bytes."""
    _check(opcode=opcode, length=length)
    if opcode > 15:
        raise ValueError("opcode is out of range")
    first = 0x80 | (0x40 if rsv1 else 0) | opcode
    if length < 126:
        return bytes((first, length))
    if length < 65536:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")


def frame(opcode: int, payload: bytes, rsv1: bool = False) -> bytes:
    """A whole server frame: final, not masked."""
    if not isinstance(payload, bytes):
        raise TypeError(f"payload must be bytes, not {type(payload).__name__}")
    return header(opcode, len(payload), rsv1) + payload


def masked_frame(opcode: int, payload: bytes, rsv1: bool = False) -> bytes:
    """A whole client frame: final, masked with a key from the system's strong random numbers (RFC 6455 section 5.3)."""
    plain = frame(opcode, payload, rsv1)
    start, mask = len(plain) - len(payload), os.urandom(_MASK_BYTES)
    return plain[:1] + bytes((plain[1] | 0x80,)) + plain[2:start] + mask + _unmask(payload, mask)


def send(descriptor: int, data: bytes) -> int:
    """Sends what the socket takes at once: the number of bytes, 0 when it is full, -1 for any error. Never closes it."""
    if not isinstance(data, bytes):
        raise TypeError(f"data must be bytes, not {type(data).__name__}")
    _check(descriptor=descriptor)
    if descriptor >= 1 << 31:
        raise ValueError("descriptor is out of range")
    try:
        # Family and type are given only to save two system calls; sending does not use them.
        borrowed = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=descriptor)
    except OSError:
        return -1
    try:
        return borrowed.send(data, socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0))
    except (BlockingIOError, InterruptedError):
        return 0
    except OSError:
        return -1
    finally:
        borrowed.detach()


def head(data: bytes) -> None:
    """The strict reader in Python has to read every head."""
    if not isinstance(data, bytes):
        raise TypeError(f"data must be bytes, not {type(data).__name__}")
