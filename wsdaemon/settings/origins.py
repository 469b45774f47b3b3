"""The sites whose pages may open connections: a mount's `origins`. This module checks the syntax; `edge.origins` uses it.

    same-origin                the page comes from the scheme, host and port that it connects to
    any                        every site; alone in its list
    null                       pages with an opaque origin: sandboxed frames, data: URLs, in most browsers files
    https://www.example.com    one site (RFC 6454 6.2); a port that is left out is the scheme's own
    www.example.com:8443       the same over https, and over http where the connection itself is not secure
    *.example.com              every name below example.com, at any depth, but not example.com itself
    localhost:*                any port
    file://                    files in Electron, Cordova, and Chromium with --allow-file-access-from-files
    app://bundle, app://*      a page of an application's own scheme: one host of it, or all

A scheme may stand in front of each host. Case makes no difference; names beyond ASCII are compared in their `xn--` spelling.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from wsdaemon.settings.form import Form
from wsdaemon.settings.problems import BadValue, did_you_mean

WORDS = ("same-origin", "any", "null")

DEFAULT_PORTS = {"http": 80, "https": 443}

WEB_SCHEMES = ("http", "https", "ws", "wss")

OPAQUE_HOST = re.compile(r"[a-z0-9._~%!$&'()+,;=\-]*")
"""The host of a scheme that is none of WEB_SCHEMES: empty for `file://`, an identifier for extensions (RFC 3986 3.2.2)."""

_PATTERN = re.compile(r"(?:(?P<scheme>[a-z][a-z0-9+.\-]*)://)?(?P<host>\[[0-9a-f:.]+\]|[^\[\]:/?#@\s]*)(?::(?P<port>[0-9]{1,5}|\*))?")
_LABEL = re.compile(r"(?!-)[a-z0-9_\-]{1,63}(?<!-)")
_EXPECTED = "an origin such as https://www.example.com or *.example.com, same-origin, null or any"


@dataclass(frozen=True, slots=True)
class OriginPattern:
    """One site, or all below one name. Everything is in lower case; an IPv6 host has its brackets."""

    scheme: str | None
    """None: https, and http over a connection that is not secure."""
    host: str
    """Without the `*.` of a pattern. Of a custom scheme it may be empty, or `*` for any."""
    port: int | None
    """None: the scheme's own."""
    below: bool = False
    """Whether it stands for the names below `host`."""
    any_port: bool = False

    def __str__(self) -> str:
        scheme = f"{self.scheme}://" if self.scheme is not None else ""
        port = "" if self.host == "*" else ":*" if self.any_port else f":{self.port}" if self.port is not None else ""
        return f"{scheme}{'*.' if self.below else ''}{self.host}{port}"


def parse_host(text: str) -> str | None:
    """The host in the spelling that is compared: lower case, IDNA as `xn--`, IPv6 shortest and in brackets. None if it is not a host."""
    if text.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(text[1:-1])}]" if text.endswith("]") and "%" not in text else None
        except ValueError:
            return None
    host = text.lower()
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii").lower()
        except UnicodeError:
            return None
    good = len(host) <= 253 and all(_LABEL.fullmatch(label) for label in host.removesuffix(".").split("."))
    return host if good else None


def parse_port(text: str) -> int | None:
    """A port from 1 to 65535; None when it is not one."""
    return int(text) if re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) and 0 < int(text) <= 65535 else None


def parse_pattern(text: str) -> OriginPattern:
    """Parse a pattern that is not one of WORDS. Raises BadValue."""
    match = _PATTERN.fullmatch(text.lower())
    if match is None:
        trailing = re.fullmatch(r"([a-z+.\-]+://[^/?#@]+|file://)/[^@]*", text, re.IGNORECASE)
        hint = f"; an origin has no path: did you mean {trailing[1]}?" if trailing else did_you_mean(text, WORDS)
        raise BadValue(f"expected {_EXPECTED}{hint}")
    scheme, written = match["scheme"], match["host"]
    if scheme is not None and scheme not in WEB_SCHEMES:
        return _parse_custom(scheme, written, match["port"])
    below = written.startswith("*.")
    host = parse_host(written.removeprefix("*."))
    if host is None:
        hint = "any alone for every site" if written == "*" else f"{_EXPECTED}; a * stands for whole labels on the left"
        raise BadValue(f"expected {hint}")
    if below and (host.startswith("[") or re.fullmatch(r"[0-9.]+", host)):
        raise BadValue("expected a name after *., not an address")
    near = did_you_mean(text, WORDS)
    if scheme is None and match["port"] is None and "." not in host and near:
        raise BadValue(f"expected {_EXPECTED}{near}")
    port = None if match["port"] in (None, "*") else parse_port(match["port"])
    if match["port"] not in (None, "*") and port is None:
        raise BadValue("expected a port from 1 to 65535, or * for any")
    if scheme in ("ws", "wss"):
        raise BadValue(f"expected {_EXPECTED}; a page comes over http or https, and ws and wss in an Origin count as those")
    if scheme is not None and port == DEFAULT_PORTS.get(scheme):
        port = None
    return OriginPattern(scheme, host, port, below, match["port"] == "*")


def _parse_custom(scheme: str, host: str, port: str | None) -> OriginPattern:
    """The pattern of a scheme that is neither http nor https: file://, app://bundle, chrome-extension://ID. Raises BadValue."""
    number = None if port in (None, "*") else parse_port(port or "")
    if (host != "*" and not OPAQUE_HOST.fullmatch(host)) or (port not in (None, "*") and (number is None or not host)):
        raise BadValue(f"expected {_EXPECTED}, or of another scheme one such as file://, app://bundle or app://*")
    return OriginPattern(scheme, host, number, any_port=port == "*" or host == "*")


@dataclass(frozen=True, slots=True)
class OriginForm(Form[str]):
    """One member of `origins`, in the spelling that is compared."""

    @property
    def expected(self) -> str:
        return "same-origin, any, null or origins such as https://www.example.com or *.example.com"

    def parse(self, text: str) -> str:
        return text.lower() if text.lower() in WORDS else str(parse_pattern(text))
