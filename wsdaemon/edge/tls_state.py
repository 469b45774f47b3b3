"""How far a TLS connection has come, the ways it can end, and the parts of the loop that it uses."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol


class TlsState(enum.Enum):
    """How far a TLS connection has come."""

    HANDSHAKE = "handshake"
    """The protocol above knows of no connection yet."""
    OPEN = "open"
    CLIENT_ENDED = "client_ended"
    """The client said close_notify: it sends no more, and may be sent to."""
    SERVER_ENDED = "server_ended"
    """The server sent close_notify and sends no more; the client's data is still delivered."""
    CLOSING = "closing"
    """The layer delivers and takes no more data; written data leaves."""
    GONE = "gone"


HANDSHAKE, OPEN, CLIENT_ENDED = TlsState.HANDSHAKE, TlsState.OPEN, TlsState.CLIENT_ENDED
SERVER_ENDED, CLOSING, GONE = TlsState.SERVER_ENDED, TlsState.CLOSING, TlsState.GONE
READING = (OPEN, HANDSHAKE, SERVER_ENDED)
WRITING = (OPEN, CLIENT_ENDED)


class TruncatedError(ConnectionError):
    """The connection ended without close_notify: an attacker may have cut it, and data may be missing (RFC 8446 6.1)."""


class TlsError(ConnectionError):
    """The client broke TLS, or made it work for nothing. The text is one of tls_failure's words."""


class WaitsForItsTurn(Protocol):
    """A connection that has more to read."""

    def read_on(self) -> None: ...


class TurnsOfReading(Protocol):
    """Shares out the loop's time: see wire.turns."""

    @property
    def now(self) -> Callable[[], float]: ...

    @property
    def used_up(self) -> bool: ...

    def spend(self, seconds: float) -> None: ...

    def add(self, connection: WaitsForItsTurn, /) -> None: ...


class PlainTransport(Protocol):
    """The part of the loop's transport that is used here."""

    def write(self, data: bytes, /) -> None: ...

    def writelines(self, list_of_data: list[bytes], /) -> None: ...

    def get_write_buffer_size(self) -> int: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_extra_info(self, name: str, default: object = None, /) -> object: ...

    def write_eof(self) -> None: ...

    def is_closing(self) -> bool: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...
