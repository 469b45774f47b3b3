"""Messages of which an old one is of no use, such as ticks and figures: a slow client misses them."""

from __future__ import annotations

from .closing import ConnectionClosed
from .connection import Connection, writer_of


def push(connection: Connection, payload: bytes, always: bool = False) -> bool:
    """Send a text message, unless the client is slow; `always`: to a slow one too. False if the connection turns out to be over."""
    if connection.is_open and (always or not writer_of(connection).congested):
        try:
            connection.send_payload(payload, True)
        except ConnectionClosed:
            return False
    return True
