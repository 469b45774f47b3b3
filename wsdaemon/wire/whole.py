"""A wire as its parts see it: they tell it of events that concern another part, or the connection as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from autobahn.twisted.websocket import WebSocketServerProtocol

from ..core.connection import Connection


class Whole(Protocol):
    """The part of Wire that its Reader, its Writer and its Deadlines use."""

    @property
    def connection(self) -> Connection: ...

    @property
    def protocol(self) -> WebSocketServerProtocol:
        """Autobahn's, which has the state of RFC 6455."""

    def together(self, work: Callable[[], object]) -> None:
        """Do `work`; what it sends leaves in one write at its end. Its exception is our own fault, and ends this connection alone."""

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake; nothing happens unless the connection is open."""

    def close_slow_client(self) -> None:
        """Too much waits for the client, or for too long."""

    def close_session(self) -> None:
        """The connection is over, and the app has done what the session waited for."""

    def abort(self) -> None:
        """Drop the connection at once."""

    def app_failed(self, doing: str, error: BaseException) -> None:
        """The app raised `error`: the operator is told, and the connection closes with 1011."""

    def broken(self, error: Exception) -> None:
        """Our own fault: this connection ends, the others do not notice."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is lost."""

    def pause_writing(self) -> None:
        """The transport: it holds what the client does not take."""

    def resume_writing(self) -> None:
        """The transport: it holds nothing any more."""
