"""The place that a client connects to: a ws or wss URL, taken apart (RFC 6455 section 3)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, urljoin, urlsplit

from ..settings.authority import PORTS, Authority

SAME_SCHEMES = {"http": "ws", "https": "wss"}
"""Redirects and some users write HTTP's schemes."""

SAFE = "/?%:@!$&'()*+,;=-._~[]"
"""Characters of a path and query that are sent as they are; others are percent-encoded."""


@dataclass(frozen=True, slots=True)
class Target(Authority):
    """One URL. `resource` is path and query as they are sent."""

    resource: str
    userinfo: tuple[str, str] | None = None

    @property
    def origin(self) -> tuple[str, str, int]:
        """Two targets with the same scheme, host and port may share credentials."""
        return self.scheme, self.host, self.port

    @property
    def is_address(self) -> bool:
        """Whether `host` is an IP address, which needs no DNS."""
        try:
            ipaddress.ip_address(self.host.partition("%")[0])
        except ValueError:
            return False
        return True

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.resource}"


@lru_cache(maxsize=1024)
def parse(url: str) -> Target:
    """The target of a ws, wss, http or https URL. ValueError with the reason; it never repeats a password."""
    if any(ord(character) <= 32 or ord(character) == 127 for character in url):
        raise ValueError("a URL has no blanks and no control characters")
    parts = urlsplit(url)
    scheme = SAME_SCHEMES.get(parts.scheme, parts.scheme)
    if scheme not in PORTS:
        raise ValueError(f"expected a URL that begins with ws:// or wss://, not {parts.scheme or 'no scheme'}")
    if not parts.hostname:
        raise ValueError("the URL has no host")
    if parts.fragment:
        raise ValueError("the URL of a WebSocket has no fragment (RFC 6455 section 3)")
    port = parts.port  # ValueError for a bad one
    host = parts.hostname
    if not host.isascii():
        try:
            host = host.encode("idna").decode()
        except UnicodeError:
            raise ValueError("the URL's host is no valid name") from None
    resource = quote(parts.path or "/", safe=SAFE) + (f"?{quote(parts.query, safe=SAFE)}" if parts.query else "")
    userinfo = (parts.username, parts.password or "") if parts.username is not None else None
    return Target(scheme == "wss", host, PORTS[scheme] if port is None else port, resource, userinfo)


def redirected(target: Target, location: str) -> Target:
    """The target of a redirect's Location. ValueError."""
    scheme = "https" if target.secure else "http"
    for theirs, same in SAME_SCHEMES.items():  # urljoin() knows HTTP's schemes, and not ours
        if location.lower().startswith(f"{same}://"):
            location = theirs + location[len(same) :]
    joined = urljoin(f"{scheme}://{target.authority}{target.resource}", location)
    return parse(joined.partition("#")[0])
