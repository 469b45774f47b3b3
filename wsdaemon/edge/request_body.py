"""The body of a request, and the two rules of a head that go with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .request import BadRequest, Head

if TYPE_CHECKING:
    from .chunks import Chunks

LINGER_SECONDS = 1.0
"""How long a client may go on after the last answer, so that it sees that answer rather than a reset."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def wants_close(head: Head) -> bool:
    """Whether no request follows this one (RFC 9112 9.6)."""
    return any("close" in [word.strip(" \t") for word in line.lower().split(",")] for line in head.picked.get(b"connection", ()))


def expects_continue(head: Head) -> bool:
    """Whether the client may wait for a 100 before it sends the body (RFC 9110 10.1.1)."""
    return head.has_body and (head.headers.get("expect") or "").lower() == "100-continue"


class RequestBody:
    """Reads one body, by its length or in chunks, and finds the bytes behind it."""

    __slots__ = ("_chunks", "_left", "_most", "rest", "taken")

    def __init__(self, head: Head, most: int) -> None:
        """`most`: the longest body, in bytes."""
        self._left = head.content_length
        self._chunks: Chunks | None = None
        self._most = most
        self.taken = 0
        """Bytes of it so far."""
        self.rest = b""
        """After its end: the bytes behind it."""
        if head.chunked:
            from .chunks import Chunks  # here, because few clients send chunks

            self._chunks = Chunks()

    @property
    def over(self) -> bool:
        """Whether it was read to its end."""
        return self._left == 0 and self._chunks is None

    @property
    def waiting(self) -> bool:
        """Whether chunks wait until other connections have had their turn: then the caller feeds it again, in a later turn."""
        return self._chunks is not None and self._chunks.waiting

    def hold(self, data: bytes) -> None:
        """Add data while chunks wait."""
        assert self._chunks is not None
        self._chunks.hold(data)

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """The next piece of the body, and whether more of it is to come. BadRequest: 413, or 400 for chunks that are not well-formed."""
        if self._chunks is not None:
            data, more = self._chunks.feed(data)
            if not more:
                self.rest, self._chunks = self._chunks.rest, None
        else:
            self.rest, data = data[self._left :], data[: self._left]
            self._left -= len(data)
            more = self._left > 0
        self.taken += len(data)
        if self.taken > self._most:
            raise BadRequest(413, "body", f"The body is longer than {self._most} bytes.")
        return data, more
