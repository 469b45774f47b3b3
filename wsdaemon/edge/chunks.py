"""A body in chunks (RFC 9112 7.1), read by h11.

h11 stops exactly where the body ends, so that the next request on the connection is read by our own strict reader again. A parser that goes
on into the next head by its own rules, as httptools does, would be a second opinion about requests.
"""

from __future__ import annotations

import h11

from .request import BadRequest

HEAD = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
"""The head that h11 is told of. The request's own was read and checked already."""


CHUNKS_AT_ONCE = 64
"""Chunks that are read in one turn of the loop: about a millisecond. One read of the smallest chunks would take most of a second."""

LINE_ENDS = b"\r\n\r\n"
"""The last bytes of a body without trailers: the end of the line of the last chunk, and an empty line."""


class Chunks:
    """Reads one body, in slices.

    A body may have chunk extensions, which have no effect, but no trailers (RFC 9112 7.1.2): h11 takes a lone LF for the end of a line
    there, and a proxy that does not would see another end of the body.
    """

    __slots__ = ("_parser", "_tail", "rest", "waiting")

    def __init__(self) -> None:
        self._parser = h11.Connection(h11.SERVER)
        self._parser.receive_data(HEAD)
        self._parser.next_event()
        self._tail = b""
        self.waiting = False
        """Whether chunks wait for go_on()."""
        self.rest = b""
        """After the end of the body: the bytes behind it."""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Add data and go on, as go_on() does."""
        self.hold(data)
        return self.go_on()

    def hold(self, data: bytes) -> None:
        """Add data for the next go_on()."""
        if data:  # h11 takes no data for the end of the connection
            self._parser.receive_data(data)
            self._tail = (self._tail if self.waiting else self._tail[-len(LINE_ENDS) :]) + data

    def go_on(self) -> tuple[bytes, bool]:
        """The payload of up to CHUNKS_AT_ONCE chunks, and whether more of the body is to come.

        BadRequest, 400, if the chunks are not well-formed.
        """
        pieces: list[bytes] = []
        self.waiting = False
        try:
            while len(pieces) < CHUNKS_AT_ONCE:
                event = self._parser.next_event()
                if isinstance(event, h11.Data):
                    pieces.append(bytes(event.data))
                elif isinstance(event, h11.EndOfMessage):
                    self._end(event)
                    return b"".join(pieces), False
                else:
                    return b"".join(pieces), True
        except h11.RemoteProtocolError as error:
            error.__traceback__ = None  # h11 raises it in a method of its own, whose frame keeps it, and with it all of this connection
            raise BadRequest(400, "body", "The body is not in well-formed chunks.") from None
        self.waiting = True
        return b"".join(pieces), True

    def _end(self, event: h11.EndOfMessage) -> None:
        self.rest = self._parser.trailing_data[0]
        if event.headers or not self._tail.removesuffix(self.rest).endswith(LINE_ENDS):
            raise BadRequest(400, "body", "The body has trailers, which are not taken, or a lone LF at its end.")
