"""The functions that `_frames` (C) and `twin` (Python) share. Positions, lengths and counts are bytes.

Every function raises TypeError for an argument of the wrong type and ValueError for a number out of its range.
"""

from typing import Final, final

INTERFACE: Final[int]
RSV1: Final = 1
TEXT: Final = 2

def take(data: bytes, position: int, maximum: int, flags: int, most: int, /) -> tuple[list[object], int]:
    """Reads client frames from `data[position:]` and stops before the first that it does not want.

    The result is a flat list, `[opcode, payload, opcode, payload, ...]`, and the position after the last frame taken. Taken are
    whole, final, masked frames in the shortest length encoding: text and binary (1, 2) of up to `maximum` bytes, ping and pong
    (9, 10) of up to 125. RSV1 is fine on a data frame when `flags` has RSV1: then its opcode is `opcode | 0x40` and its
    payload is as it came, unmasked, compressed and unchecked, of up to maximum + maximum // 8 + 64 bytes. Text is strict UTF-8,
    given as bytes, or as str when `flags` has TEXT. At most `most` frames are taken. All else is left, to be judged by Autobahn's parser.
    """

def begin(data: bytes, position: int, maximum: int, flags: int, /) -> Partial | None:
    """The data frame at `position`, when its header is whole and its payload is not; all that is there of it is consumed.

    None when take() would not take the frame once it is whole, as far as can be seen; when it is whole already (take() stopped
    at `most`, or the text is not UTF-8); and when there is no memory for a payload of that length.
    """

def whole(data: bytes, maximum: int, flags: int, /) -> bytes | str | None:
    """The payload of the frame of a message that take() takes, if that frame is all of `data` and not compressed; else None.

    The first byte of `data` then says whether it is text: 0x81, or binary: 0x82.
    """

def take_unmasked(data: bytes, position: int, maximum: int, flags: int, most: int, /) -> tuple[list[object], int]:
    """As take(), for the frames of a server, which are not masked. A masked one is left to Autobahn's parser, which refuses it."""

def whole_unmasked(data: bytes, maximum: int, flags: int, /) -> bytes | str | None:
    """As whole(), for the frame of a server."""

def begin_unmasked(data: bytes, position: int, maximum: int, flags: int, /) -> Partial | None:
    """As begin(), for a frame of a server."""

@final
class Partial:
    """A data frame whose payload is still coming. Its memory is allocated whole and costs nothing until it is filled."""

    @property
    def missing(self) -> int:
        """Bytes still to come."""
    @property
    def valid(self) -> bool:
        """False from the first byte on that no UTF-8 text can have there; at the end also for an unfinished code point."""
    @property
    def opcode(self) -> int:
        """1 or 2, with 0x40 for a compressed one."""
    def feed(self, data: bytes, position: int, /) -> int:
        """Takes what belongs to this frame from `data[position:]`; the result is the position after it."""
    def room(self, keep: int = 0, /) -> memoryview:
        """The memory of what is missing but for the last `keep` bytes, to be received into; it may be empty.

        While a room is held, message() returns a copy, because a message must not change. An event loop holds a room until
        `buffer_updated` has returned; if the last few bytes come through feed(), that copy is saved.
        """
    def received(self, count: int, /) -> None:
        """`count` bytes were put at the start of the room."""
    def message(self) -> bytes | str:
        """The payload: str for text with the TEXT flag, else bytes. ValueError while bytes are missing or when it is not valid."""
    def replay(self) -> bytes:
        """Header and payload so far, masked again if they were: the very bytes that came, for Autobahn's parser."""

def frame(opcode: int, payload: bytes, rsv1: bool = False) -> bytes:
    """A whole server frame: final, not masked."""

def masked_frame(opcode: int, payload: bytes, rsv1: bool = False) -> bytes:
    """A whole client frame: final, masked with a key from the system's strong random numbers (RFC 6455 section 5.3)."""

def header(opcode: int, length: int, rsv1: bool = False) -> bytes:
    """Only the header, for a large payload that is written after it without a copy."""

def send(descriptor: int, data: bytes, /) -> int:
    """Sends what the socket takes at once: the number of bytes, 0 when it is full, -1 for any error. Keeps the GIL."""

def head(data: bytes, /) -> tuple[int, str, str, bytes, bytes, bytes, dict[bytes, list[str]]] | None:
    """Reads the head of a request that `data` begins with, if it is whole, good, of a GET without a body, and ASCII.

    The result is the position behind the head, the target, the path, the path as bytes, the query, the header lines as
    `Headers.as_sent()` takes them, and the values of the headers that edge.request picks, by name in lower case: all as the strict
    reader in edge/request.py finds them. None: that reader has to judge these bytes.
    """
