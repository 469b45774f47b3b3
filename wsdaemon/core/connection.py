"""One open WebSocket as an app sees it. Knows no HTTP, no Autobahn and no settings file: the wire is behind a Protocol."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from .closing import NORMAL, ConnectionClosed, checked_code

if TYPE_CHECKING:
    from .handshake import Handshake, Headers, Peer
    from .identity import Identity


class Prepared(Protocol):
    """A message for many: framed once, and compressed at most once for all who agreed on the same compression."""

    size: int
    """Bytes of payload."""


class Wire(Protocol):
    """What a connection needs of the wire."""

    live: bool
    """False as soon as a Close frame went out or came in, or the transport is gone."""
    queued: bool
    """Something waits that the system has not taken yet."""
    messages_in: int
    messages_out: int
    bytes_in: int
    bytes_out: int

    def send_payload(self, payload: bytes, text: bool) -> Awaitable[None] | None: ...

    def prepare(self, payload: bytes, text: bool, key: object = None) -> Prepared:
        """A message that can be sent to any number of connections of this mount.

        `key` says what it is about: where only the latest is kept for a slow client, it takes the place of one with the same key.
        """

    def send_prepared(self, prepared: Prepared) -> None:
        """Send such a message. Nothing happens once the connection closes."""

    def close(self, code: int, reason: str) -> None: ...

    def abort(self) -> None: ...

    def unsent(self) -> int: ...

    @property
    def congested(self) -> bool:
        """Whether the client reads more slowly than it is sent."""


class Ready:
    """An awaitable that has nothing to wait for. One object serves all: sending costs no allocation while the client keeps up."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return _nothing()

    def __repr__(self) -> str:
        return "<ready>"


def _nothing() -> Generator[Any, None, None]:
    return
    yield


READY = Ready()


class _Waiting:
    """Awaited, it waits until `is_over` holds for the connection, which wakes it after each change. Not awaited, it costs nothing."""

    __slots__ = ("_connection", "_is_over")

    def __init__(self, connection: Connection, is_over: Callable[[Connection], bool]) -> None:
        self._connection = connection
        self._is_over = is_over

    def __await__(self) -> Generator[Any, None, None]:
        connection = self._connection
        while not self._is_over(connection):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            connection._waiters.append(future)
            try:
                yield from future
            finally:
                if future in connection._waiters:
                    connection._waiters.remove(future)


def _is_writable(connection: Connection) -> bool:
    return not (connection.wire.congested and connection.wire.live)


def _is_closed(connection: Connection) -> bool:
    return connection.close_code is not None


class Connection:
    """One open WebSocket.

    Its methods may be called only on the loop's thread. What came in the request stays readable for as long as the app wants it.
    """

    __slots__ = (
        "_state",
        "_waiters_list",
        "close_code",
        "close_reason",
        "closed_by",
        "handshake",
        "number",
        "opened_at",
        "wire",
    )

    def __init__(self, wire: Wire, handshake: Handshake, number: str) -> None:
        self.wire = wire
        self.handshake = handshake
        self.number = number
        self.opened_at = time.monotonic()
        self.close_code: int | None = None
        self.close_reason = ""
        self.closed_by = ""
        self._state: dict[str, Any] | None = None
        self._waiters_list: list[asyncio.Future[None]] | None = None

    def __repr__(self) -> str:
        return f"<connection {self.id} {self.handshake.peer} {self.handshake.path}>"

    # -- what it is

    @property
    def id(self) -> str:
        """Names this connection in the log; unique within a daemon's life."""
        return self.number

    @property
    def path(self) -> str:
        """The request's path, percent-decoded, without the query."""
        return self.handshake.path

    @property
    def params(self) -> Mapping[str, str]:
        """Values of the `{name}` segments of the mount's path."""
        return self.handshake.params

    @property
    def query(self) -> Mapping[str, list[str]]:
        """The query string's fields, each with all its values in order."""
        return self.handshake.query

    @property
    def headers(self) -> Headers:
        """The request's headers, case-insensitive, duplicates kept in order."""
        return self.handshake.headers

    @property
    def cookies(self) -> Mapping[str, str]:
        return self.handshake.cookies

    @property
    def peer(self) -> Peer:
        """The client's address: host and port."""
        return self.handshake.peer

    @property
    def secure(self) -> bool:
        """Whether the client came over TLS."""
        return self.handshake.secure

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that both sides agreed on."""
        return self.handshake.subprotocol

    @property
    def identity(self) -> Identity | None:
        """Who the client is, with its claims and how that was proven; None where the mount asks nobody."""
        return self.handshake.identity

    @property
    def state(self) -> dict[str, Any]:
        """A dict of the app's own."""
        if self._state is None:
            self._state = {}
        return self._state

    @property
    def is_open(self) -> bool:
        """False from the moment that either side began to close."""
        return self.wire.live

    # -- sending

    def send(self, message: str | bytes | bytearray | memoryview) -> Awaitable[None]:
        """Send one message: text for a `str`, binary for bytes.

        Never blocks: the message is on its way when this returns. Await the result to wait, when the client is slow, until there is
        room for more. Raises ConnectionClosed when the connection is over, TypeError for anything that is not str or bytes.
        """
        if isinstance(message, str):
            return self.wire.send_payload(message.encode(), True) or READY
        if isinstance(message, bytes):
            return self.wire.send_payload(message, False) or READY
        if isinstance(message, (bytearray, memoryview)):
            return self.wire.send_payload(bytes(message), False) or READY
        raise TypeError(f"a message is str (text) or bytes (binary), not {type(message).__name__}")

    def send_payload(self, payload: bytes, text: bool) -> Awaitable[None]:
        """As send(), for a payload that is UTF-8 already when `text`: no copy is made and nothing is checked again."""
        return self.wire.send_payload(payload, text) or READY

    def writable(self) -> Awaitable[None]:
        """Await it to wait until the client has taken most of what was sent, or the connection is over."""
        return _Waiting(self, _is_writable) if self.wire.congested else READY

    def close(self, code: int = NORMAL, reason: str = "") -> Awaitable[None]:
        """Begin the closing handshake; nothing more is sent or received. Await the result to wait until the connection is over.

        `reason` is cut to 123 bytes of UTF-8. Does nothing on a connection that is closing. ValueError for a code that may not be sent.
        """
        self.wire.close(checked_code(code), reason)
        return _Waiting(self, _is_closed)

    def abort(self) -> None:
        """Drop the connection at once, without a closing handshake."""
        self.wire.abort()

    def gone(self) -> ConnectionClosed:
        """The exception for this connection's end; 1006 while it is not known how it ends."""
        return ConnectionClosed(1006 if self.close_code is None else self.close_code, self.close_reason)

    # -- what the wire tells

    @property
    def _waiters(self) -> list[asyncio.Future[None]]:
        if self._waiters_list is None:
            self._waiters_list = []
        return self._waiters_list

    def has_room(self) -> None:
        """The wire: what waited has been sent, or nothing will ever be."""
        waiters, self._waiters_list = self._waiters_list, None
        _wake(waiters)

    def ended(self, code: int, reason: str, by: str) -> None:
        """The wire: it is over. `by` is client, server or network."""
        self.close_code, self.close_reason, self.closed_by = code, reason, by
        self.has_room()


def _wake(futures: list[asyncio.Future[None]] | None) -> None:
    for future in futures or ():
        if not future.done():
            future.set_result(None)
