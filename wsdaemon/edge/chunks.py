"""A body in chunks (RFC 9112 7.1), read by h11.

h11 stops exactly where the body ends, so that the next request on the connection is read by our own strict reader again. A parser that goes
on into the next head by its own rules, as httptools does, would be a second opinion about requests.
"""

from __future__ import annotations

import h11

from .request import BadRequest

HEAD = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
"""The head that h11 is told of. The request's own was read and checked already."""


class Chunks:
    """Reads one body."""

    __slots__ = ("_parser", "rest")

    def __init__(self) -> None:
        self._parser = h11.Connection(h11.SERVER)
        self._parser.receive_data(HEAD)
        self._parser.next_event()
        self.rest = b""
        """After the end of the body: the bytes behind it."""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """The payload in `data`, and whether more of the body is to come. BadRequest, 400, for chunks that are not well-formed."""
        pieces: list[bytes] = []
        if not data:  # h11 takes no data for the end of the connection
            return b"", True
        try:
            self._parser.receive_data(data)
            while True:
                event = self._parser.next_event()
                if isinstance(event, h11.Data):
                    pieces.append(bytes(event.data))
                elif isinstance(event, h11.EndOfMessage):
                    self.rest = self._parser.trailing_data[0]
                    return b"".join(pieces), False
                else:
                    return b"".join(pieces), True
        except h11.RemoteProtocolError:
            raise BadRequest(400, "body", "The body is not in well-formed chunks.") from None
