"""The answer to an opening handshake."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from hashlib import sha1

from autobahn.websocket.protocol import WebSocketProtocol

SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nServer: wsdaemon\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "

END = b"\r\n\r\n"


def accept_of(key: str) -> bytes:
    """The Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 4.2.2)."""
    return b2a_base64(sha1(key.encode() + WebSocketProtocol._WS_MAGIC, usedforsecurity=False).digest())[:-1]


def answer(key: str, headers: Mapping[str, str], more: Sequence[tuple[str, str]] = ()) -> bytes:
    """The answer to an opening handshake with this Sec-WebSocket-Key (RFC 6455 4.2.2). `more` are lines of the app's, in ISO-8859-1."""
    if not headers and not more:
        return SWITCHING + accept_of(key) + END
    lines = "".join([f"\r\n{name}: {value}" for name, value in (*headers.items(), *more)])
    return SWITCHING + accept_of(key) + lines.encode("latin-1") + END
