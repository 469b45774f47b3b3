"""Which sites' pages may open connections: the check of the Origin header (RFC 6455 10.2).

A browser sends a page's cookies to any server that the page connects to, so without this check any site that a user visits could open
connections in the user's name. Only browsers send an honest Origin. Other clients send none, or any: authentication has to recognise
them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from ..settings.origins import DEFAULT_PORTS, OPAQUE_HOST, WEB_SCHEMES, WORDS, OriginPattern, parse_host, parse_pattern, parse_port

_ORIGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://(\[[0-9A-Fa-f:.]+\]|[^\[\]:/?#@\s\\]*)(?::([0-9]{1,5}))?/?")
_WEB_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.\-]+")
_PAGE_SCHEMES = {"ws": "http", "wss": "https"}
"""Clients that are no browsers may name the URL that they connect to: ws4py sends `ws://HOST:PORT`."""
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::([0-9]{0,5}))?")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a page comes from: what two origins must have in common to be the same (RFC 6454 5)."""

    scheme: str
    host: str
    """In lower case; IPv6 in its shortest spelling and in brackets."""
    port: int | None
    """The scheme's own when it was left out; None for a scheme that has none."""


def parse_origin(origin: str) -> Origin | None:
    """The site that an Origin header names: `scheme://host[:port]` (RFC 6454 6.2), perhaps with a final `/`. None for anything else.

    Go's x/net documents `http://localhost/`, so a final `/` makes no other origin. ws and wss count as http and https.
    """
    match = _ORIGIN.fullmatch(origin)
    if match is None:
        return None
    scheme = match[1].lower()
    if scheme in WEB_SCHEMES:
        scheme, host = _PAGE_SCHEMES.get(scheme, scheme), parse_host(match[2]) if _WEB_HOST.fullmatch(match[2]) else None
    else:
        host = match[2].lower() if OPAQUE_HOST.fullmatch(match[2].lower()) else None
    port = DEFAULT_PORTS.get(scheme) if match[3] is None else parse_port(match[3])
    if host is None or (match[3] is not None and port is None):
        return None
    return Origin(scheme, host, port)


def host_of(host: str) -> str | None:
    """The name or address in a Host header, in the spelling that is compared, without a last dot; None when it is no host."""
    parts = _split_host(host)
    return None if parts is None else parts[0].removesuffix(".")


def own_site(host: str, secure: bool) -> Origin | None:
    """The site of the page that would be same-origin with a request for `host`, a Host header; None when that is no host."""
    parts = _split_host(host)
    if parts is None:
        return None
    name, given = parts
    scheme = "https" if secure else "http"
    port = parse_port(given) if given else DEFAULT_PORTS[scheme]
    return None if port is None else Origin(scheme, name, port)


def _split_host(host: str) -> tuple[str, str | None] | None:
    """Name, in the spelling that is compared, and port of a Host header; None when it is no host."""
    match = _HOST.fullmatch(host)
    name = None if match is None else parse_host(match[1])
    return None if match is None or name is None else (name, match[2])


REMEMBERED_LENGTH = 128
"""Longest Origin and Host header, in characters, that are remembered in parsed form: most clients of a listener send the same ones."""

_parsed = lru_cache(maxsize=256)(parse_origin)
_own = lru_cache(maxsize=256)(own_site)


@dataclass(frozen=True, slots=True)
class Origins:
    """The sites that may connect."""

    any_site: bool = False
    same_origin: bool = False
    null: bool = False
    patterns: tuple[OriginPattern, ...] = ()

    @classmethod
    def parse(cls, values: Iterable[str]) -> Origins:
        """From the members of a mount's `origins`. Raises BadValue, a ValueError, for one that is none."""
        words, patterns = set(), []
        for value in values:
            if value.lower() in WORDS:
                words.add(value.lower())
            else:
                patterns.append(parse_pattern(value))
        return cls("any" in words, "same-origin" in words, "null" in words, tuple(patterns))

    def allows(self, origin: str | None, host: str, secure: bool) -> bool:
        """Whether a request with this Origin and Host header may come in. Never raises.

        `secure` says whether the client came over TLS, here or at a trusted proxy. A request without an Origin is no browser's and is
        allowed; `null` must be listed, because every site can make a page that has it. Text that is no origin is refused.
        """
        if origin is None or self.any_site:
            return True
        if origin == "null":
            return self.null
        remembered = len(origin) <= REMEMBERED_LENGTH and len(host) <= REMEMBERED_LENGTH
        site = (_parsed if remembered else parse_origin)(origin)
        if site is None:
            return False
        if self.same_origin and site == (_own if remembered else own_site)(host, secure):
            return True
        return any(_fits(pattern, site, secure) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class ConsoleAddress:
    """Where browsers find the console: the port of the admin pages. `loopback`: they listen on a loopback address alone."""

    port: int
    loopback: bool


def is_console(origin: str | None, host: str, secure: bool, console: ConsoleAddress) -> bool:
    """Whether the page is the console: of the very host that the request goes to, at the port of the admin pages.

    A connection over TLS takes it over https alone. Cookies do not tell ports apart, so a page of that host gains nothing by this. If the
    admin pages are on a loopback address alone, that host must be a loopback one: on another, a page at this port is not ours.
    """
    site = None if origin is None else parse_origin(origin)
    if site is None or site.port != console.port or site.host != host_of(host):
        return False
    if console.loopback and not is_loopback_host(site.host):
        return False
    return site.scheme == "https" or (site.scheme == "http" and not secure)


def is_loopback_host(host: str) -> bool:
    """Whether a browser reaches this host, in the spelling of an Origin, on its own machine: localhost, or a loopback address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def _fits(pattern: OriginPattern, site: Origin, secure: bool) -> bool:
    if pattern.scheme is None:
        # An attacker who can forge a page over http must not get in where the connection itself is protected.
        if site.scheme != "https" and (secure or site.scheme != "http"):
            return False
    elif site.scheme != pattern.scheme:
        return False
    port = DEFAULT_PORTS.get(site.scheme) if pattern.port is None else pattern.port
    if not pattern.any_port and site.port != port:
        return False
    if pattern.host == "*":
        return True
    return site.host.endswith("." + pattern.host) if pattern.below else site.host == pattern.host
