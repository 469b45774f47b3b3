"""Answers to an opening handshake that a class of the user's decides, and the request that it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...core.handshake import Handshake


def checked_answer(answer: Any, offered: Sequence[str]) -> tuple[str | None, dict[str, list[str]]]:
    """Subprotocol and headers that onConnect() answers. ValueError or TypeError for what cannot be answered."""
    protocol, headers = (*answer, None, None)[: max(2, len(answer))] if isinstance(answer, tuple) else (answer, None)
    if protocol is not None and protocol not in offered:
        raise ValueError(f"onConnect chose the subprotocol {protocol!r}, the client offers {list(offered)!r}")
    lines: dict[str, list[str]] = {}
    for name, value in dict(headers or {}).items():
        values = [value] if isinstance(value, str) or not isinstance(value, Iterable) else value
        lines[name] = [str(one) for one in values]
        check_header(name, *lines[name])
    return protocol, lines


def check_header(name: str, *values: str) -> None:
    """ValueError for what would not stay on a line of its own in an answer."""
    if any(character in text for text in (name, *values) for character in "\r\n\0"):
        raise ValueError(f"onConnect gave a header that would break out of its line: {name!r}")


def request_head(handshake: Handshake) -> bytes:
    """The request for Autobahn to read, from the handshake: what admission took out of that, a token for one, is not there either.

    Autobahn cuts lines where str.splitlines() does: within a character of UTF-8 whose last byte is 0x85, too. Our reader does not.
    """
    lines = [name + b": " + value for name, value in handshake.headers.raw]
    return b"\r\n".join([f"GET {handshake.target} HTTP/1.1".encode("latin-1"), *lines, b"", b""]).replace(b"\x85", b"?")
