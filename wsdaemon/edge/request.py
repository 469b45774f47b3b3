"""The strict request head: RFC 9112 as it is written, within fixed sizes. Bytes in, values out; nothing here does I/O.

Autobahn never sees a request head. It cuts lines with `str.splitlines()`, so that a control character inside a value begins a new header:
an `Origin` or an identity header could be smuggled. Here a head is one of two things: exactly what the RFC allows, or refused with an
answer.

Where the RFC leaves a choice:
- Only HTTP/1.1. HTTP/1.0 gets 505 with a text that says what to set in a proxy: RFC 6455 4.1 asks for 1.1, and 1.0 has no Host to trust.
- A lone LF, obs-fold and space before the colon are refused, though a recipient may repair them (RFC 9112 2.2, 5.1, 5.2).
- A Host has no percent-encoding and none of RFC 3986's sub-delimiters: no name in use has them, and `a,b` looks like two merged headers.
- An absolute target must name the same authority as Host. RFC 9112 3.2.2 lets the target win; then a proxy that reads Host and we disagree.
- Transfer-Encoding is refused, and Content-Length over the reader's `max_body` (0 unless given). A reader that takes chunks takes
  `Transfer-Encoding: chunked` alone, without a Content-Length.
- A path has only characters of RFC 3986, and `|[]^`, because browsers and Node's URL send those; its percent-encoding must be well-formed
  and UTF-8 without control characters. It is decoded once. Dot segments are left as they are: `/a/../b` is a path of its own and never
  becomes `/b`.
- A query may hold any visible ASCII but `#`: browsers send a bare `%` there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from ..core.handshake import Headers

if TYPE_CHECKING:
    from ..wire.frames import PlainHead

MAX_LINE = 8 * 1024
"""Bytes of a request line, without its CRLF."""
MAX_HEAD = 16 * 1024
"""Bytes of a head, its last empty line included."""
MAX_HEADERS = 100

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([!-\"$-~]+) HTTP/([0-9]\.[0-9])")
_HEADER_LINES = re.compile(rb"(?:" + _TOKEN + rb":[\t -~\x80-\xff]*+\r\n)*+")
_HEADER_LINE = re.compile(_TOKEN + rb":[\t -~\x80-\xff]*+")
_BROKEN = re.compile(rb"[^\t\r\n -~\x80-\xff]|\r(?!\n|\Z)|(?<!\r)\n")
_PATH = re.compile(rb"/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/|\[\]^]|%[0-9A-Fa-f]{2})*+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ABSOLUTE = re.compile(rb"(?:https?|wss?)://([^/?]+)(.*)", re.IGNORECASE)
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9\-._~]{1,255})(?::([0-9]{0,5}))?")

_PICKED = frozenset(
    {
        b"connection",
        b"content-length",
        b"host",
        b"origin",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers whose values are taken down while the lines are read: a look-up later would search all of them again."""

_NONE: list[str] = []


class BadRequest(Exception):
    """A request that is answered with an HTTP error, and its connection closed.

    `reason` is one stable word for logs and metrics. `detail` is a sentence for the client and never repeats what it sent.
    """

    def __init__(self, status: int, reason: str, detail: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(status, reason, detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.headers = headers

    def __str__(self) -> str:
        return f"{self.status} {self.reason}: {self.detail}"


def unavailable(reason: str, detail: str, retry_after: float) -> BadRequest:
    """The 503 (RFC 9110 15.6.4) for a fault that is not the client's. `retry_after` in seconds."""
    return BadRequest(503, reason, detail, (("Retry-After", str(max(1, math.ceil(retry_after)))),))


@dataclass(slots=True)
class Head:
    """A request head that keeps the rules. Nothing changes it: it is not frozen, because a frozen one takes three times as long to make."""

    method: str
    target: str = field(repr=False)
    """As it was sent. Its query may hold secrets."""
    version: str
    """Always "1.1"."""
    headers: Headers
    path: str
    """Percent-decoded, without the query; "*" for `OPTIONS *`."""
    raw_path: bytes
    query_string: bytes = field(repr=False)
    content_length: int
    """Bytes of body that follow; 0 for nearly every request."""
    raw: bytes = field(repr=False)
    """The head as it was sent, its last empty line included."""
    picked: Mapping[bytes, list[str]] = field(default_factory=dict, repr=False, compare=False)
    """The values of the headers that are read here, by name in lower case, in order."""
    chunked: bool = False
    """Whether a body follows in chunks, of any length (RFC 9112 7.1)."""

    @property
    def has_body(self) -> bool:
        return self.chunked or self.content_length > 0


def find_end(buffer: bytes | bytearray, start: int = 0) -> int:
    """The index just past the empty line that ends a head; -1 when it has not come yet. Searched from `start` on."""
    found = buffer.find(b"\r\n\r\n", start)
    return found + 4 if found >= 0 else -1


def read_head(data: bytes, max_body: int = 0, chunks: bool = False) -> tuple[Head, bytes] | None:
    """The head that `data` begins with, and the bytes behind it, where that is whole; None: a HeadReader has to wait for the rest.

    Most requests arrive in one piece, and need no reader. `max_body` and `chunks` are those of HeadReader. Raises BadRequest.
    """
    # RFC 9112 2.2: one empty line before the request line is ignored.
    skip = 2 if data.startswith(b"\r\n") else 0
    end = find_end(data, skip)
    if end < 0 or end - skip > MAX_HEAD:
        return None
    return parse_head(data if end == len(data) and not skip else data[skip:end], max_body, chunks), data[end:]


ReadHead = Callable[[bytes, int, bool], tuple[Head, bytes] | None]
"""read_head(), or a function with the same results."""


def head_reader(plain: Callable[[bytes], PlainHead | None]) -> ReadHead:
    """read_head() for heads that `plain` has not taken: the reader of most opening handshakes, of one of the twins in wire.frames."""

    def read(data: bytes, max_body: int = 0, chunks: bool = False) -> tuple[Head, bytes] | None:
        found = plain(data)
        if found is None:
            return read_head(data, max_body, chunks)
        end, target, path, raw_path, query, lines, picked = found
        headers = Headers.as_sent(lines)
        if end == len(data):
            return Head("GET", target, "1.1", headers, path, raw_path, query, 0, data, picked), b""
        return Head("GET", target, "1.1", headers, path, raw_path, query, 0, data[:end], picked), data[end:]

    return read


class HeadReader:
    """Reads one head, however it was cut on its way. Holds at most 16 KiB and looks at each byte for the end once.

    `feed` gives the head when it is complete, and `rest` has then what came after it. It raises BadRequest as soon as the bytes so far
    can no longer become a good head. After either, the reader is done.
    """

    __slots__ = ("_chunks", "_held", "_line_ended", "_max_body", "rest")

    def __init__(self, max_body: int = 0, chunks: bool = False) -> None:
        """`max_body`: the longest body, in bytes, that a request may announce. `chunks`: whether it may come in chunks instead.

        Reading it is the caller's work.
        """
        self._chunks = chunks
        self._held: bytearray | None = None
        self._line_ended = False
        self._max_body = max_body
        self.rest = b""

    def feed(self, data: bytes) -> Head | None:
        held = self._held
        buffer: bytes | bytearray
        if held is None:
            seen, buffer = 0, data
        else:
            seen = len(held)
            held += data
            buffer = held
        # RFC 9112 2.2: one empty line before the request line is ignored.
        skip = 2 if buffer.startswith(b"\r\n") else 0
        end = find_end(buffer, max(seen - 3, skip))
        if end < 0 or end - skip > MAX_HEAD:
            self._check_unfinished(buffer, skip, seen)
            if held is None:
                self._held = bytearray(data)
            return None
        self._held = None
        self.rest = bytes(buffer[end:])
        return parse_head(bytes(buffer[skip:end]), self._max_body, self._chunks)

    def _check_unfinished(self, buffer: bytes | bytearray, skip: int, seen: int) -> None:
        """Refuse at once what no further byte can mend. Of bytes before `seen` only the last ones matter still."""
        if seen < 8:
            _check_stranger(buffer)
        if not self._line_ended:
            self._line_ended = buffer.find(b"\r\n", max(seen - 1, skip), skip + MAX_LINE + 2) >= 0
            # One byte over the cap may be the CR of a line that just fits.
            if not self._line_ended and len(buffer) - skip > MAX_LINE + buffer.startswith(b"\r", skip + MAX_LINE):
                raise _line_too_long()
        if _BROKEN.search(buffer, max(seen - 1, skip), skip + MAX_HEAD):
            raise _bad_bytes()
        if len(buffer) - skip >= MAX_HEAD:
            raise BadRequest(431, "head_size", f"The request head is longer than {MAX_HEAD} bytes.")


def _check_stranger(buffer: bytes | bytearray) -> None:
    """Refuse another protocol on this port by its name, because the reader of the answer needs that."""
    if buffer.startswith(b"\x16"):
        raise BadRequest(400, "tls", "This port speaks plain HTTP, and the client began a TLS handshake: use ws:// or http://.")
    if buffer.startswith((b"\r\n\r\n\0", b"PROXY ")):
        raise BadRequest(400, "proxy_header", "The connection begins with a PROXY protocol header, which is not expected here.")
    if buffer.startswith(b"\r\n\r\n"):
        raise BadRequest(400, "request_line", "The request begins with more than one empty line.")


def parse_head(raw: bytes, max_body: int = 0, chunks: bool = False) -> Head:
    """The head in `raw`, which ends with its empty line. Raises BadRequest."""
    line_end = raw.find(b"\r\n")
    if line_end > MAX_LINE:
        raise _line_too_long()
    line = _REQUEST_LINE.fullmatch(raw, 0, line_end)
    if line is None:
        raise _bad_request_line(raw[:line_end], raw)
    method, target, version = line.groups()
    if version != b"1.1":
        raise _bad_version(version)
    headers, picked = _headers(raw, line_end + 2)
    raw_path, query_string = _split_target(method, target, headers)
    chunked = chunks and _is_chunked(picked)
    return Head(
        method.decode("ascii"),
        target.decode("ascii"),
        "1.1",
        headers,
        _decode_path(raw_path),
        raw_path,
        query_string,
        0 if chunked else _content_length(picked, max_body),
        raw,
        picked,
        chunked,
    )


def _headers(raw: bytes, start: int) -> tuple[Headers, dict[bytes, list[str]]]:
    """The header lines from `start` on, checked by one expression, and the values of _PICKED. Host is there once, well-formed."""
    if not _HEADER_LINES.fullmatch(raw, start, len(raw) - 2):
        raise _bad_header(raw[start:-4])
    lines = raw[start:-4].split(b"\r\n") if start < len(raw) - 2 else []
    if len(lines) > MAX_HEADERS:
        raise BadRequest(431, "header_count", f"The request has more than {MAX_HEADERS} headers.")
    if b"\x85" in raw:
        _check_next_line(lines)
    picked: dict[bytes, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        if (name := name.lower()) in _PICKED:
            text = value.strip(b" \t").decode("latin-1")
            if name in picked:
                picked[name].append(text)
            else:
                picked[name] = [text]
    hosts = picked.get(b"host", _NONE)
    if len(hosts) != 1:
        raise BadRequest(400, "host", "The request has no Host header." if not hosts else "The request has more than one Host header.")
    host = _HOST.fullmatch(hosts[0])
    if host is None or int(host[1] or 0) > 65535:
        raise BadRequest(400, "host", "The Host header is not a host with an optional port.")
    return Headers.as_sent(raw[start - 2 : -2]), picked


def _check_next_line(lines: list[bytes]) -> None:
    """Byte 0x85 is a line end to `str.splitlines()` once it is decoded as ISO-8859-1: allowed only as a part of a character in UTF-8."""
    for line in lines:
        if b"\x85" in line:
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError:
                raise _bad_bytes() from None
            if "\x85" in text:
                raise _bad_bytes()


def _split_target(method: bytes, target: bytes, headers: Headers) -> tuple[bytes, bytes]:
    """Raw path and query of a request target in origin form, absolute form or `*` (RFC 9112 3.2)."""
    if target[:1] != b"/":
        if target == b"*" and method == b"OPTIONS":
            return target, b""
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None:
            raise BadRequest(400, "target", "The request target is neither a path nor an http or ws URL.")
        if absolute[1].decode("ascii").lower() != headers["host"].lower():
            raise BadRequest(400, "target", "The request target names another host than the Host header.")
        target = absolute[2] if absolute[2][:1] == b"/" else b"/" + absolute[2]
    path, _, query = target.partition(b"?")
    return path, query


def _decode_path(raw_path: bytes) -> str:
    if not _PATH.fullmatch(raw_path) and raw_path != b"*":
        raise BadRequest(400, "path", "The path has characters that must be percent-encoded, or a broken percent-encoding.")
    if b"%" not in raw_path:
        return raw_path.decode("ascii")
    try:
        path = unquote_to_bytes(raw_path).decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest(400, "path", "The percent-encoded path is not UTF-8.") from None
    if _CONTROL.search(path):
        raise BadRequest(400, "path", "The path has control characters.")
    return path


def _is_chunked(picked: Mapping[bytes, list[str]]) -> bool:
    """RFC 9112 6.1: chunked alone. With a Content-Length beside it two readers could see different ends of the body."""
    codings = picked.get(b"transfer-encoding", _NONE)
    if codings and (len(codings) > 1 or codings[0].lower() != "chunked"):
        raise BadRequest(501, "body", "The only transfer coding that is taken here is chunked.")
    if codings and b"content-length" in picked:
        raise BadRequest(400, "body", "The request has both a Transfer-Encoding and a Content-Length.")
    return bool(codings)


def _content_length(picked: Mapping[bytes, list[str]], max_body: int) -> int:
    """RFC 9112 6.1 and 6.3. Anything by which two readers could see different ends of the body is refused."""
    if b"transfer-encoding" in picked:
        raise BadRequest(400, "body", "A request with Transfer-Encoding is not accepted here.")
    values = picked.get(b"content-length")
    if not values:
        return 0
    if len(values) > 1 or not (values[0].isascii() and values[0].isdigit()) or len(values[0]) > 15:
        raise BadRequest(400, "body", "The Content-Length is not one number.")
    length = int(values[0])
    if length > max_body:
        if max_body:
            raise BadRequest(413, "body", f"The body is longer than {max_body} bytes.")
        raise BadRequest(400, "body", "A request with a body is not accepted here.")
    return length


def _line_too_long() -> BadRequest:
    return BadRequest(414, "line_size", f"The request line is longer than {MAX_LINE} bytes.")


def _bad_bytes() -> BadRequest:
    return BadRequest(400, "bytes", "The request head has a control character, or a CR or LF that does not end a line.")


def _bad_version(version: bytes) -> BadRequest:
    if version == b"2.0":
        return BadRequest(505, "version", "This port speaks HTTP/1.1 and not HTTP/2 without negotiation.")
    return BadRequest(505, "version", "Only HTTP/1.1 is spoken here; a proxy may have to be told so (nginx: proxy_http_version 1.1).")


def _bad_request_line(line: bytes, raw: bytes) -> BadRequest:
    try:
        _check_stranger(raw)
    except BadRequest as error:
        return error
    if not line:
        return BadRequest(400, "request_line", "The request begins with more than one empty line.")
    if _BROKEN.search(line):
        return _bad_bytes()
    if b"#" in line:
        return BadRequest(400, "target", "The request target has a fragment (#), which is never sent.")
    return BadRequest(400, "request_line", "The request line is not METHOD TARGET HTTP/1.1 with single spaces.")


def _bad_header(lines: bytes) -> BadRequest:
    """Which rule the header lines break."""
    if _BROKEN.search(lines):
        return _bad_bytes()
    for line in lines.split(b"\r\n"):
        if not _HEADER_LINE.fullmatch(line):
            if line[:1] in (b" ", b"\t"):
                return BadRequest(400, "obs_fold", "A header line begins with a space or tab: folded lines are not accepted.")
            if line.partition(b":")[0].rstrip(b" \t") != line.partition(b":")[0]:
                return BadRequest(400, "header", "A header name has a space before its colon.")
            break
    return BadRequest(400, "header", "A header line is not NAME: VALUE.")
