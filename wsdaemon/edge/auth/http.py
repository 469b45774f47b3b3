"""The kind http: another server is asked with the headers of the request, as nginx's auth_request does."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote

from twisted.logger import Logger

from ...core.rare_lines import RareLines
from ...settings.auth import HttpAuthSettings
from .contract import Candidate, Denied, Identity, Unavailable, clean_name
from .http_client import HttpClient, HttpFailure, RawHeaders, TooManyRequests

_HOP_BY_HOP = frozenset(
    {
        "connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "proxy-authenticate", "proxy-authorization",
        "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
_OURS = frozenset(
    {
        "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-original-host", "x-original-method",
        "x-original-target", "x-original-uri", "x-real-ip",
    }
)  # fmt: skip
_PATH_CHARACTERS = "/!$&'()*+,;=:@"
"""Characters of a path that stand for themselves, besides letters, digits and `-._~` (RFC 3986 3.3)."""

_CHALLENGE = re.compile(r"[\t -~]{1,1000}")

log = Logger(namespace="wsdaemon.auth")


class HttpAuthenticator:
    """Asks about every client that reaches it, and never passes one on, because it has no credential of its own to look for.

    2xx admits the client; 401 and 403 refuse it, with the challenge of the answer; every other answer, a redirect too, is a failure: 503.
    """

    challenge = None
    subprotocol_prefixes = ()
    files = ()

    def __init__(self, settings: HttpAuthSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """OSError or ssl.SSLError when ca_file cannot be used. Nothing is connected yet."""
        self.name = settings.name
        self._settings = settings
        self._client = HttpClient(
            settings.url,
            ca_file=settings.ca_file,
            timeout=settings.timeout,
            max_requests=settings.max_requests,
            max_waiting=settings.max_waiting,
            clock=clock,
        )
        # A header of the client's under the name of the answer's identity must not reach the server, which could take it for one.
        self._dropped = _HOP_BY_HOP | _OURS | {_plain(settings.identity_header)} | {_plain(name) for name in settings.claim_headers}
        self._lines = RareLines(log, now=clock)

    def authenticate(self, request: Candidate) -> Awaitable[Identity]:
        return self._ask(request)

    def refresh(self) -> None:
        """No file is read again."""

    async def close(self) -> None:
        await self._client.close()

    async def _ask(self, request: Candidate) -> Identity:
        try:
            status, headers = await self._client.get(self._headers(request))
        except TooManyRequests:
            raise Unavailable("auth_busy", "Too many clients are being checked at this moment.") from None
        except HttpFailure as error:
            raise self._failed(str(error)) from None
        if 200 <= status < 300:
            return self._identity(headers)
        if status in (401, 403):
            challenges = tuple(("WWW-Authenticate", value) for value in _values(headers, "www-authenticate") if _CHALLENGE.fullmatch(value))
            raise Denied("auth_refused", status, challenges if status == 401 else (), "The client may not come in.")
        raise self._failed(f"it answered {status}")

    def _headers(self, request: Candidate) -> RawHeaders:
        """The request's headers without those of its connection, and with ours about its origin in place of the client's."""
        head, peer = request.head, request.peer
        named = {option.strip().lower() for option in (head.headers.joined("connection") or "").split(",")}
        passed = [
            (name, value)
            for name, value in head.headers.raw
            if _plain(name.decode("latin-1")) not in self._dropped and name.decode("latin-1") not in named
        ]
        scheme = "https" if request.secure else "http"
        # A rule on paths must see the mount's own: a target may name `/admin` as `ws://host/admin` or `/%61dmin` too.
        routed = quote(head.path, safe=_PATH_CHARACTERS) + ("?" + head.query_string.decode("ascii") if head.query_string else "")
        ours = [("x-original-method", head.method), ("x-original-uri", routed), ("x-original-target", head.target)]
        ours += [("x-original-host", head.headers["host"])]
        ours += [("x-forwarded-proto", scheme), ("x-forwarded-host", head.headers["host"])]
        if not peer.is_unix:
            ours += [("x-forwarded-for", peer.host), ("x-real-ip", peer.host)]
        return [*passed, *((name.encode("ascii"), value.encode("latin-1")) for name, value in ours)]

    def _identity(self, headers: RawHeaders) -> Identity:
        settings = self._settings
        name = ""
        if settings.identity_header:
            values = _values(headers, settings.identity_header)
            found = clean_name(values[0]) if len(values) == 1 else None
            if found is None:
                raise self._failed(f"its answer does not have one {settings.identity_header}")
            name = found
        claims: Mapping[str, object] = {
            claim.lower(): values[0] for claim in settings.claim_headers if len(values := _values(headers, claim)) == 1
        }
        return Identity(name, f"http:{self.name}", claims)

    def _failed(self, reason: str) -> Unavailable:
        url = self._settings.url.partition("?")[0]
        self._lines.warn(reason, "[auth:{name}] cannot ask {url}: {problem}", name=self.name, url=url, problem=reason)
        return Unavailable("auth_unavailable", "The client cannot be recognised at this moment.")


def _plain(name: str) -> str:
    """A header's name as servers behind CGI or WSGI see it, where `_` and `-` are alike."""
    return name.lower().replace("_", "-")


def _values(headers: RawHeaders, name: str) -> list[str]:
    """The values of one header: text in UTF-8 where it can be, else ISO-8859-1."""
    wanted = name.lower().encode("ascii")
    values = []
    for each, value in headers:
        if each.lower() == wanted:
            try:
                values.append(value.decode("utf-8"))
            except UnicodeDecodeError:
                values.append(value.decode("latin-1"))
    return values
