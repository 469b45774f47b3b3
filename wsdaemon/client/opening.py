"""The opening handshake of a client: the request, and a strict reader of the answer (RFC 6455 section 4.1). No I/O."""

from __future__ import annotations

import re
import secrets
import time
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from ..core.handshake import Headers
from ..version import __version__
from ..wire.answer import accept_of
from .errors import BadHandshake, OpeningRefused
from .target import Target

MAX_HEAD_BYTES = 64 * 1024
"""Bytes of an answer's head. Load balancers and sign-on proxies set large cookies."""

MAX_BODY_BYTES = 4096
"""Bytes of a refusal's body that are kept."""

LONGEST_RETRY_AFTER_SECONDS = 3600.0
"""A longer Retry-After counts as this."""

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - RFC 9110's word for a name
_STATUS = re.compile(rb"HTTP/1\.([01]) ([0-9]{3})(?: ([\t -~\x80-\xff]*))?")
_LINE = re.compile(_TOKEN.encode() + rb":[\t -~\x80-\xff]*")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")
_NAME = re.compile(_TOKEN)

OURS = frozenset(
    {
        "connection", "host", "sec-websocket-extensions", "sec-websocket-key", "sec-websocket-protocol", "sec-websocket-version", "upgrade",
    }
)  # fmt: skip
"""Headers of the request that the client makes itself."""


def checked_headers(given: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Extra request headers. ValueError for a name or value that may not be sent, and for one that the client makes itself."""
    checked = tuple((name, value.strip(" \t")) for name, value in given)
    for name, value in checked:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"header {name!r}: expected a token, and a value of one line in ISO-8859-1")
        if name.lower() in OURS - {"host"}:
            raise ValueError(f"header {name}: the client sends it itself")
    return checked


def new_key() -> str:
    """A Sec-WebSocket-Key."""
    return b64encode(secrets.token_bytes(16)).decode()


def request(
    target: Target, key: str, *, subprotocols: Sequence[str] = (), extensions: str = "", headers: Iterable[tuple[str, str]] = ()
) -> bytes:
    """The request. `headers` may have Host, User-Agent and Authorization of their own."""
    given = list(headers)
    names = {name.lower() for name, _ in given}
    lines = [] if "host" in names else [("Host", target.authority)]
    lines += [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Key", key), ("Sec-WebSocket-Version", "13")]
    if extensions:
        lines.append(("Sec-WebSocket-Extensions", extensions))
    if subprotocols:
        lines.append(("Sec-WebSocket-Protocol", ", ".join(subprotocols)))
    if "user-agent" not in names:
        lines.append(("User-Agent", f"wsdaemon/{__version__}"))
    if target.userinfo is not None and "authorization" not in names:
        lines.append(("Authorization", "Basic " + b64encode(":".join(target.userinfo).encode()).decode()))
    text = "".join([f"{name}: {value}\r\n" for name, value in [*lines, *given]])
    return f"GET {target.resource} HTTP/1.1\r\n{text}\r\n".encode("latin-1")


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """A whole answer's head, and the bytes behind it."""

    status: int
    phrase: str
    headers: Headers
    rest: bytes

    def accepted(self, key: str, subprotocols: Sequence[str]) -> str | None:
        """The subprotocol that the server chose, if any. BadHandshake when the 101 does not keep the rules of RFC 6455 4.1."""
        headers = self.headers
        if (headers.joined("upgrade") or "").strip().lower() != "websocket":
            raise BadHandshake("the server's Upgrade is not websocket")
        if "upgrade" not in [token.strip().lower() for token in (headers.joined("connection") or "").split(",")]:
            raise BadHandshake("the server's Connection has no upgrade")
        if headers.get_all("sec-websocket-accept") != [accept_of(key).decode()]:
            raise BadHandshake("the server's Sec-WebSocket-Accept is not the answer to this request")
        chosen = headers.get_all("sec-websocket-protocol")
        if not chosen:
            return None
        if len(chosen) > 1 or chosen[0] not in subprotocols:
            raise BadHandshake("the server chose a subprotocol that the client does not offer")
        return chosen[0]

    def refusal(self, body: bytes = b"") -> OpeningRefused:
        """The error for a status other than 101."""
        return OpeningRefused(self.status, self.phrase, self.headers, body[:MAX_BODY_BYTES], retry_after(self.headers))


class AnswerReader:
    """Reads one answer, however it was cut on its way, and holds at most 64 KiB."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> ServerAnswer | None:
        """The answer when its head is whole. BadHandshake when the bytes cannot become one, or are too many."""
        start = max(0, len(self._held) - 3)
        self._held += data
        end = self._held.find(b"\r\n\r\n", start)
        if end < 0:
            if len(self._held) > MAX_HEAD_BYTES:
                raise BadHandshake(f"the head of the server's answer is longer than {MAX_HEAD_BYTES} bytes")
            if not b"HTTP/1.".startswith(self._held[:7]) and not self._held.startswith(b"HTTP/1."):
                raise BadHandshake("the server does not speak HTTP/1.1")
            return None
        if end > MAX_HEAD_BYTES:
            raise BadHandshake(f"the head of the server's answer is longer than {MAX_HEAD_BYTES} bytes")
        return _parsed(self._held[:end], self._held[end + 4 :])


def _parsed(head: bytes, rest: bytes) -> ServerAnswer:
    first, *lines = head.split(b"\r\n")
    status = _STATUS.fullmatch(first)
    if status is None:
        raise BadHandshake("the server does not speak HTTP/1.1")
    if any(not _LINE.fullmatch(line) for line in lines):
        raise BadHandshake("the server's answer has a malformed header")
    if status[2] == b"101" and status[1] == b"0":
        raise BadHandshake("the server answers 101 with HTTP/1.0")
    phrase = (status[3] or b"").decode("latin-1").strip()
    return ServerAnswer(int(status[2]), phrase, Headers.trusted(lines), rest)


def retry_after(headers: Headers) -> float | None:
    """Seconds of Retry-After (RFC 9110 10.2.3), from 0 to an hour; None if there is none that can be read."""
    value = (headers.get("retry-after") or "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:10]), LONGEST_RETRY_AFTER_SECONDS)
    try:
        when = parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(0.0, when - time.time()), LONGEST_RETRY_AFTER_SECONDS)
