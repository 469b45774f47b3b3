"""The headers of a request and of an answer on their way through the proxy (RFC 9110 7.6.1, RFC 7239)."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from ...core.acceptance import check_header
from ...core.handshake import Handshake, Headers
from ...settings.proxy import ProxyTarget

HOP_BY_HOP = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding",
        "upgrade",
    }
)  # fmt: skip
"""Headers for the next hop alone. Those that Connection names are, too."""

OF_THE_REQUEST = frozenset({"content-length", "host"})

FORGED = frozenset(
    {"forwarded", "proxy", "remote-user", "via", "x-client-ip", "x-original-url", "x-real-ip", "x-remote-user", "x-rewrite-url"}
)
"""Headers that a target may take for the proxy's word. All that begin with X-Forwarded- are, too."""

OF_THE_ANSWER = frozenset({"content-length", "date", "server"})


def _named_by_connection(headers: Headers) -> set[str]:
    return {token.strip().lower() for value in headers.get_all("connection") for token in value.split(",")}


def request_headers(handshake: Handshake, target: ProxyTarget, preserve_host: bool) -> list[tuple[str, str]]:
    """The headers for the target, besides those of the opening handshake itself."""
    headers = handshake.headers
    dropped = HOP_BY_HOP | OF_THE_REQUEST | _named_by_connection(headers)
    if handshake.identity is not None:
        dropped |= {"authorization"}  # meant for the daemon, which has authenticated the client
    host = headers.get("host", "")
    kept = [("Host", host if preserve_host and host else target.authority)]
    for raw_name, raw_value in headers.raw:
        name = raw_name.decode("latin-1")
        plain = name.replace("_", "-")  # WSGI and CGI know no difference
        if name in dropped or plain in FORGED or plain.startswith(("x-forwarded-", "sec-websocket-")):
            continue
        kept.append((name, raw_value.decode("latin-1")))
    return [*kept, *_forwarded(handshake, host)]


def _forwarded(handshake: Handshake, host: str) -> Iterable[tuple[str, str]]:
    scheme, address = "https" if handshake.secure else "http", handshake.peer.host
    node = "unknown" if handshake.peer.is_unix else f'"[{address}]"' if ":" in address else address
    parts = [f"for={node}", f"proto={scheme}"]
    if not handshake.peer.is_unix:
        yield "X-Forwarded-For", address
        yield "X-Real-IP", address
    yield "X-Forwarded-Proto", scheme
    if host:
        yield "X-Forwarded-Host", host
        parts.append('host="' + host.replace("\\", "\\\\").replace('"', '\\"') + '"')
    if handshake.identity is not None:
        yield "X-Forwarded-User", quote(handshake.identity.name, safe=" !#$&'()*+,-./:;<=>?@[]^_`{|}~")
    yield "Forwarded", ";".join(parts)


def answer_headers(headers: Headers) -> list[tuple[str, str]]:
    """The headers of the target's answer that the client gets, too."""
    dropped = HOP_BY_HOP | OF_THE_ANSWER | _named_by_connection(headers)
    kept = []
    for raw_name, raw_value in headers.raw:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name in dropped or name.startswith("sec-websocket-"):
            continue
        try:
            check_header(name, value)
        except ValueError:
            continue
        kept.append((name, value))
    return kept


class BadPath(Exception):
    """A path that a target might read as another one."""


def _leaves(part: str) -> bool:
    """Whether a part of the path that the client chose has `.` or `..` as a segment.

    A target may also take a backslash for a slash, and servlet containers cut a segment at its first semicolon (RFC 3986 3.3).
    """
    return "\0" in part or any(segment.partition(";")[0] in (".", "..") for segment in part.replace("\\", "/").split("/"))


def resource(handshake: Handshake, target: ProxyTarget) -> str:
    """Path and query for the target. BadPath if the client's part of the path could lead out of the target's path, or to another host."""
    path = target.filled_path(handshake.params)
    last = handshake.mount.rpartition("/")[2]
    if last.endswith("...}"):
        rest = handshake.params[last[1:-4]]
        begins = handshake.path[: len(handshake.path) - len(rest)].endswith("/")
        path = path.removesuffix("/") + ("/" + quote(rest, safe="/!$&'()*+,;=:@-._~") if rest or begins else "")
    if any(_leaves(part) for part in handshake.params.values()) or path.startswith("//"):
        raise BadPath
    query = "&".join(part for part in (target.query, handshake.query_string.decode("latin-1")) if part)
    return (path or "/") + (f"?{query}" if query else "")
