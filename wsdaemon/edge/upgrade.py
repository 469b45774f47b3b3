"""The opening handshake in a request head that keeps the rules (RFC 6455 4.2.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .request import BadRequest, Head

_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
_PROTOCOL = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

_NONE: list[str] = []

_WEBSOCKET, _UPGRADE = ["websocket"], ["Upgrade"]

_UPGRADE_HEADERS = (("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13"))


@dataclass(slots=True)
class Upgrade:
    """The parts of an opening handshake that choose the connection (RFC 6455 4.2.1)."""

    key: str
    version: int
    subprotocols: tuple[str, ...]
    """Offered, in the client's order."""
    extensions: str
    """All Sec-WebSocket-Extensions lines as one list; empty when there is none."""
    origin: str | None


def _tokens(value: str) -> list[str]:
    """A list header's members in lower case (RFC 9110 5.6.1)."""
    return [token.strip(" \t") for token in value.lower().split(",")]


def wants_upgrade(head: Head) -> bool:
    """Whether this is an opening handshake at all, good or bad: it asks to upgrade to `websocket` (RFC 9110 7.8). Else it is plain HTTP."""
    upgrades, connections = head.picked.get(b"upgrade", _NONE), head.picked.get(b"connection", _NONE)
    if upgrades == _WEBSOCKET and connections == _UPGRADE:  # by far the most common
        return True
    return _names("websocket", upgrades) and _names("upgrade", connections)


def _names(token: str, lines: list[str]) -> bool:
    """Whether a list header has this token among its members, in any case."""
    return any(token in _tokens(line) for line in lines)


def upgrade(head: Head) -> Upgrade:
    """The opening handshake in `head` (RFC 6455 4.2.1). Raises BadRequest: 405, 426 or 400."""
    if head.method != "GET":
        raise BadRequest(405, "method", "A WebSocket is opened with GET.", (("Allow", "GET"),))
    lines = head.picked
    if not wants_upgrade(head):
        raise BadRequest(426, "upgrade", "This path speaks WebSocket only: ask for it with Upgrade: websocket.", _UPGRADE_HEADERS)
    if head.chunked or head.content_length:
        raise BadRequest(400, "body", "An opening handshake has no body.")
    versions = lines.get(b"sec-websocket-version", _NONE)
    if len(versions) > 1:
        raise BadRequest(400, "duplicate", "The request has more than one Sec-WebSocket-Version header.")
    if versions != ["13"]:
        raise BadRequest(426, "websocket_version", "Only version 13 of the WebSocket protocol is spoken here (RFC 6455).", _UPGRADE_HEADERS)
    keys = lines.get(b"sec-websocket-key", _NONE)
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        raise BadRequest(400, "key", "The request needs one Sec-WebSocket-Key: 16 bytes in base64.")
    origins = lines.get(b"origin", _NONE)
    if len(origins) > 1:
        raise BadRequest(400, "duplicate", "The request has more than one Origin header.")
    origin = origins[0] if origins else None
    extensions, offered = lines.get(b"sec-websocket-extensions", _NONE), lines.get(b"sec-websocket-protocol")
    return Upgrade(keys[0], 13, () if offered is None else _subprotocols(", ".join(offered)), ", ".join(extensions), origin)


def _subprotocols(value: str) -> tuple[str, ...]:
    """The offered subprotocols (RFC 6455 4.1 item 10): tokens, each once, on one line or several.

    Empty members do not count, and an empty header is none: `websockets` 17 sends it.
    """
    offered = tuple([name for name in [member.strip(" \t") for member in value.split(",")] if name])
    if not all(_PROTOCOL.fullmatch(name) for name in offered):
        raise BadRequest(400, "subprotocol", "The Sec-WebSocket-Protocol header is not a list of tokens.")
    if len(set(offered)) != len(offered):
        raise BadRequest(400, "subprotocol", "A subprotocol is offered twice.")
    return offered
