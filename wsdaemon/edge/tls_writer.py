"""The writing half of a TLS connection: data to records, records to the socket. Few records, few writes, no large copies."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .tls_reader import nothing
from .tls_state import PlainTransport

MAX_WRITE = 32_768
"""Bytes encrypted at once. OpenSSL keeps a buffer of that size for each connection that ever wrote so much."""

MAX_GATHERED = 131_072
"""Encrypted bytes from which they are given to the plain transport."""


class TlsWriter:
    """Encrypts and sends. `open`: data is taken; before and after that it is dropped.

    `queued` is true while the plain transport, whose high-water mark is 0, holds unsent bytes: then none may be written past it.
    """

    __slots__ = ("_descriptor", "_encrypt", "_encrypted", "_send", "_tls", "open", "plain", "queued", "silent")

    def __init__(self, tls: ssl.SSLObject, outgoing: ssl.MemoryBIO, descriptor: int, send: Callable[[int, bytes], int]) -> None:
        """`send` writes to the plain socket's `descriptor` (see wire.frames); without one (-1) all goes through the plain transport."""
        engine: Any = getattr(tls, "_sslobj", tls)  # without the calls of the wrapper in Python
        self._tls: ssl.SSLObject | None = tls
        self._encrypt: Callable[[Any], int] = engine.write
        self._encrypted: Callable[[], bytes] = outgoing.read
        self._descriptor = descriptor
        self._send = send
        self.plain: PlainTransport | None = None
        self.open = False
        self.queued = False
        self.silent = False
        """Our side of the TCP connection has ended: OpenSSL's own answers are dropped."""

    def write(self, data: bytes) -> None:
        """Send data. After the end of the connection, or of our side of it, it is dropped."""
        if self.open and data:
            if len(data) > MAX_WRITE:
                self.writelines([data])
            else:
                self._encrypt(data)
                self.send(self._encrypted())

    def writelines(self, list_of_data: Iterable[bytes]) -> None:
        """Send these one after the other, in as few records as can be."""
        pieces, gathered = [], 0
        for chunk in chunks(list_of_data):
            if not self.open or self.plain is None:
                return
            self._encrypt(chunk)
            piece = self._encrypted()
            pieces.append(piece)
            gathered += len(piece)
            if gathered >= MAX_GATHERED:
                self.plain.writelines(pieces)
                pieces, gathered = [], 0
        if len(pieces) == 1:
            self.send(pieces[0])
        elif pieces and self.plain is not None:
            self.plain.writelines(pieces)

    def flush(self) -> None:
        """Send the records that OpenSSL has made of its own accord."""
        data = self._encrypted()
        if data:
            self.send(data)

    def send(self, records: bytes) -> None:
        """Send records: straight to the socket when the transport holds nothing."""
        plain = self.plain
        if plain is None or self.silent:
            return
        if self._descriptor >= 0 and not self.queued:
            sent = self._send(self._descriptor, records)
            if sent == len(records):
                return
            if sent > 0:
                records = records[sent:]
        plain.write(records)

    def say_close_notify(self) -> None:
        """The last that is written."""
        self.open = False
        if self._tls is not None:
            with contextlib.suppress(ssl.SSLError):  # it would wait for the client's; a WebSocket's end has been agreed on by Close frames
                self._tls.unwrap()
            self.flush()

    def let_go(self) -> None:
        """Write no more: what OpenSSL holds goes now."""
        self.open, self._descriptor, self._tls = False, -1, None
        self._encrypt = self._encrypted = nothing


def chunks(list_of_data: Iterable[bytes]) -> Iterator[bytes | memoryview]:
    """The same bytes in pieces of MAX_WRITE and a last one: small ones are joined, large ones are not copied but for their edges."""
    small: list[bytes | memoryview] = []
    size = 0
    for data in list_of_data:
        view, at = memoryview(data), 0
        while size + len(view) - at >= MAX_WRITE:
            end = at + MAX_WRITE - size
            if small:
                yield b"".join([*small, view[at:end]])
                small, size = [], 0
            else:
                yield view[at:end]
            at = end
        if at < len(view):
            small.append(view[at:])
            size += len(view) - at
    if small:
        yield b"".join(small)
