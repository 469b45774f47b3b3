"""The three ways in which `connect` shows a connection: JSON lines, a pipe, and a terminal."""

from __future__ import annotations

import sys
import time
from base64 import b64encode
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ..core.closing import GOING_AWAY, NO_STATUS, NORMAL
from .output import coloured, harmless, print_json

if TYPE_CHECKING:
    from ..client import WebSocketClient

GOOD_CODES = frozenset({NORMAL, GOING_AWAY, NO_STATUS})

SHOWN_BYTES = 32
"""Bytes of a binary message that a terminal shows."""


def compression_of(client: WebSocketClient) -> str | None:
    """The agreed extensions of the open connection."""
    headers = client.response_headers
    return None if headers is None else headers.joined("sec-websocket-extensions")


class JsonShown:
    """One JSON object a line: {"event": "open" | "message" | "close"}, with `time` in seconds since 1970."""

    def opened(self, client: WebSocketClient) -> None:
        """The connection is open."""
        headers = client.response_headers
        self._tell("open", url=client.url, subprotocol=client.subprotocol, extensions=compression_of(client), headers=dict(headers or {}))

    def message(self, message: str | bytes) -> None:
        """A message of the server. Binary data is in base64."""
        if isinstance(message, str):
            self._tell("message", data=message)
        else:
            self._tell("message", data=b64encode(message).decode(), encoding="base64")

    def closed(self, code: int, reason: str, clean: bool) -> None:
        """The connection is over; `clean` if the closing handshake was whole."""
        self._tell("close", code=code, reason=reason, clean=clean)

    def _tell(self, event: str, **fields: Any) -> None:
        print_json({"event": event, "time": round(time.time(), 6), **fields})


class PipeShown:
    """Messages on standard output, each on a line; the bytes as they are if all is binary. The rest goes to standard error.

    If standard output is a terminal all the same, because standard input alone is a pipe, no message steers it.
    """

    def __init__(self, binary: bool, verbose: bool) -> None:
        self._binary = binary
        self._verbose = verbose
        self._terminal = sys.stdout.isatty()

    def opened(self, client: WebSocketClient) -> None:
        """The connection is open."""
        if self._verbose:
            click.echo(opening_line(client), err=True)

    def message(self, message: str | bytes) -> None:
        """A message of the server."""
        if self._terminal:
            click.echo(harmless(message) if isinstance(message, str) else bytes_text(message))
            return
        data = message.encode("utf-8", "surrogatepass") if isinstance(message, str) else message
        sys.stdout.buffer.write(data if self._binary else data + b"\n")
        sys.stdout.buffer.flush()

    def closed(self, code: int, reason: str, clean: bool) -> None:
        """The connection is over."""
        if self._verbose or not is_good(code, clean):
            click.echo(closing_line(code, reason, clean), err=True)


class TerminalShown:
    """Lines above the prompt. Text of the server is shown with its control characters as escapes."""

    def __init__(self, above: Callable[[str], None]) -> None:
        self._above = above
        self._colours = coloured(sys.stdout)

    def opened(self, client: WebSocketClient) -> None:
        """The connection is open."""
        self._above(self._styled(f"{opening_line(client)}; Ctrl-D closes it, /help shows the commands", dim=True))

    def message(self, message: str | bytes) -> None:
        """A message of the server."""
        if isinstance(message, str):
            self._above(f"{self._styled('<', fg='green')} {harmless(message)}")
        else:
            self._above(f"{self._styled('<', fg='cyan')} {bytes_text(message)}")

    def closed(self, code: int, reason: str, clean: bool) -> None:
        """The connection is over."""
        self._above(self._styled(closing_line(code, reason, clean), dim=True))

    def _styled(self, text: str, **style: Any) -> str:
        return click.style(text, **style) if self._colours else text


def bytes_text(message: bytes) -> str:
    """A binary message as a terminal shows it: its size and its beginning."""
    dots = " ..." if len(message) > SHOWN_BYTES else ""
    return f"{len(message)} bytes: {message[:SHOWN_BYTES].hex(' ')}{dots}"


def is_good(code: int, clean: bool) -> bool:
    """Whether a connection ended as both sides wished."""
    return clean and code in GOOD_CODES


def opening_line(client: WebSocketClient) -> str:
    """One line about an opened connection."""
    parts = [f"connected to {client.url}"]
    if client.subprotocol:
        parts.append(f"subprotocol {client.subprotocol}")
    parts.append(harmless(compression_of(client) or "no compression"))
    return ", ".join(parts)


def closing_line(code: int, reason: str, clean: bool) -> str:
    """One line about the end of a connection."""
    return f"closed with {code}{f' ({harmless(reason)})' if reason else ''}{'' if clean else ', without a whole closing handshake'}"
