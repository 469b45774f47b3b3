"""The one contract between the daemon and an app.

`received` returns None when it is done with the message, or an awaitable: until that ends, the connection reads no further.
That one rule keeps messages in order and makes a slow app slow only its own client.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from .connection import Connection
    from .handshake import Handshake


class Session(Protocol):
    """An app's side of one connection."""

    def received(self, message: str | bytes) -> Awaitable[object] | None:
        """One message: `str` for text, `bytes` for binary. An exception closes the connection with 1011."""

    def closed(self, code: int, reason: str) -> None:
        """The connection is over. Called exactly once, and last."""


@runtime_checkable
class PayloadSession(Protocol):
    """A session that wants payloads as they came: UTF-8 that was checked, but not decoded, for text."""

    def received_payload(self, payload: bytes, text: bool) -> Awaitable[object] | None: ...

    def closed(self, code: int, reason: str) -> None: ...


@runtime_checkable
class ExpiringSession(Protocol):
    """What a session of either kind may be besides: it is told before the client's credentials run out (mount option `expiry_warning`)."""

    def expiring(self, seconds: float) -> None:
        """In `seconds` the connection will be closed with 4401. An exception closes it at once, with 1011."""


class App(Protocol):
    """What a mount runs: one object per mount."""

    def open(self, connection: Connection, handshake: Handshake) -> Session | PayloadSession:
        """A client was let in. An exception closes the connection with 1011."""


class ServiceApp(App, Protocol):
    """An app that has work of its own to start before the daemon is ready, and to stop after the drain."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...
