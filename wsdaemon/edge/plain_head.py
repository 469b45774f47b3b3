"""The head of an app's answer to a request without an upgrade (RFC 9112 4): its framing, its checks and the share of a turn."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from .responses import phrase

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[\t -~\x80-\xff]*")
_HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})

TURN_BYTES = 256 * 1024
"""Bytes of an answer that an app may give in one turn of the loop. Others have theirs even if the client takes all at once, or has gone."""

PIECE_BYTES = 4 * 1024
"""Bytes that even the smallest piece of an answer counts for."""


@dataclass(slots=True)
class PlainHead:
    """The head of an answer, checked."""

    status: int
    lines: list[bytes]
    """The app's headers as `name: value`, without those that are for one connection alone."""
    length: int | None
    """The Content-Length that the app gives."""
    last: bool
    """Whether the app wants the connection to end after this."""
    names: frozenset[bytes]

    @property
    def has_body(self) -> bool:
        """Whether an answer with this status has a body at all (RFC 9110 6.4.1)."""
        return self.status not in (204, 304) and self.status >= 200

    def render(self, close: bool, date: bytes, length: int | None, chunked: bool) -> bytes:
        """The bytes of the head."""
        lines = [_status_line(self.status)]
        if b"server" not in self.names:
            lines.append(b"server: wsdaemon")
        if b"date" not in self.names:
            lines.append(b"date: " + date)
        lines += self.lines
        if length is not None:
            lines.append(b"content-length: %d" % length)
        if chunked:
            lines.append(b"transfer-encoding: chunked")
        if close:
            lines.append(b"connection: close")
        return b"\r\n".join([*lines, b"", b""])


@functools.lru_cache(maxsize=64)
def _status_line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {phrase(status)}".encode()


def make_head(status: int, headers: Sequence[tuple[bytes, bytes]]) -> PlainHead:
    """Check the head of an answer. ValueError for a status outside 200 to 599, a header that would break out of its line, and two lengths.

    Headers for one connection alone (RFC 9110 7.6.1) are left out, because the daemon writes them; `Connection: close` is heeded.
    """
    if not 200 <= status <= 599:
        raise ValueError(f"expected a status from 200 to 599, not {status}")
    lines, names, length, last = [], set(), None, False
    for name, value in headers:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"not a header: {name!r}: {value!r}")
        lower = name.lower()
        if lower == b"content-length":
            if not value.isdigit() or length not in (None, int(value)):
                raise ValueError(f"not a length: {value!r}")
            length = int(value)
        elif lower in _HOP_BY_HOP:
            last = last or (lower == b"connection" and b"close" in value.lower().replace(b" ", b"").split(b","))
        else:
            lines.append(name + b": " + value)
        names.add(lower)
    return PlainHead(status, lines, length, last, frozenset(names))


def framed(data: bytes, more: bool, chunked: bool) -> bytes:
    """A piece of a body as it is sent (RFC 9112 7.1). `more`: it is not the last one."""
    if not chunked:
        return data
    chunk = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
    return chunk if more else chunk + b"0\r\n\r\n"
