"""The cookies of one client, kept from one handshake to the next (RFC 6455 section 4.1, RFC 6265)."""

from __future__ import annotations

from collections.abc import Mapping
from email.message import Message
from http.cookiejar import CookieJar
from typing import Any
from urllib.request import Request

from ..core.handshake import Headers
from .target import Target

MAX_COOKIES = 100
"""Cookies of one client. While there are so many, answers add none."""


class Cookies:
    """The cookies that the user gave, and those that servers set. The jar is made for the first Set-Cookie."""

    __slots__ = ("_given", "_jar")

    def __init__(self, given: Mapping[str, str]) -> None:
        """`given` are sent to the client's own URL, not to redirects of other origins. ValueError for names and values with separators."""
        for name, value in given.items():
            if not name or any(character in "()<>@,;:\\\"/[]?={} \t" or not 32 < ord(character) < 127 for character in name):
                raise ValueError(f"cookie {name!r}: expected a token")
            if any(character in ' ",;\\' or not 32 < ord(character) < 127 for character in value):
                raise ValueError(f"cookie {name}: its value has characters that a cookie may not have")
        self._given = dict(given)
        self._jar: CookieJar | None = None

    def header(self, target: Target, own: bool) -> str:
        """The Cookie header for `target`; empty if there is none. `own`: it has the origin of the client's URL."""
        jar: list[tuple[str, str]] = []
        if self._jar is not None:
            asked = _request(target)
            self._jar.add_cookie_header(asked)
            for part in (asked.get_header("Cookie") or "").split("; "):
                name, equals, value = part.partition("=")
                if equals:
                    jar.append((name, value))
        newer = {name for name, _ in jar}
        given = [(name, value) for name, value in self._given.items() if name not in newer] if own else []
        return "; ".join([f"{name}={value}" for name, value in [*given, *jar]])

    def keep(self, target: Target, headers: Headers) -> None:
        """Keep what an answer sets."""
        lines = headers.get_all("set-cookie")
        if not lines:
            return
        if self._jar is None:
            self._jar = CookieJar()
        if len(self._jar) < MAX_COOKIES:
            self._jar.extract_cookies(_Response(lines[:MAX_COOKIES]), _request(target))  # type: ignore[arg-type]


def _request(target: Target) -> Request:
    return Request(f"{'https' if target.secure else 'http'}://{target.authority}{target.resource}")  # noqa: S310 - never opened


class _Response:
    """An answer as CookieJar reads it."""

    def __init__(self, lines: list[str]) -> None:
        self._message = Message()
        for line in lines:
            self._message["Set-Cookie"] = line

    def info(self) -> Any:
        return self._message
