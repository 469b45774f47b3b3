"""One open WebSocket as an app sees it. Knows no HTTP, no Autobahn and no settings file: the wire is behind a Protocol."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol

from .closing import NORMAL, ConnectionClosed, checked_code
from .typed_messages import to_json
from .wire_halves import Counts, Prepared, ReadingSide, Writer

if TYPE_CHECKING:
    from .handshake import Handshake, Headers, Peer
    from .identity import Identity
    from .threads import ThreadCalls


class Broadcasting(Protocol):
    """The daemon's way to send one message to many of its connections; see Connection.broadcast."""

    def __call__(self, message: str | bytes | bytearray | memoryview, where: str | Callable[[Connection], object] | None, /) -> None: ...


class WorkKeeper(Protocol):
    """Keeps the work that the app does for connections, so that a stopping daemon can wait for it; see Background."""

    def add(self, work: asyncio.Future[Any], connection: Connection, own: bool = True) -> None: ...


class Wire(Protocol):
    """The part of the wire that a connection needs."""

    @property
    def writer(self) -> Writer: ...

    @property
    def reader(self) -> ReadingSide: ...

    @property
    def calls(self) -> ThreadCalls:
        """The way from other threads to the loop."""

    @property
    def background(self) -> WorkKeeper:
        """Where work is kept that the app does for connections."""

    @property
    def broadcast(self) -> Broadcasting:
        """The daemon's broadcast."""

    def counts(self) -> Counts: ...

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake with any code that a server may send. Nothing happens unless the connection is open."""

    def abort(self) -> None:
        """Drop the connection at once."""


class Ready:
    """An awaitable that is done. One object serves all connections, so that sending allocates nothing while the client keeps up."""

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
        connection._must_be_on_loop("an await of the connection")
        while not self._is_over(connection):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiters = connection._waiters
            if waiters is None:
                waiters = connection._waiters = []
            waiters.append(future)
            try:
                yield from future
            finally:
                if connection._waiters is not None and future in connection._waiters:
                    connection._waiters.remove(future)


def _is_writable(connection: Connection) -> bool:
    return not (connection._writer.congested and connection._writer.live)


def _is_closed(connection: Connection) -> bool:
    return connection.close_code is not None


def writer_of(connection: Connection) -> Writer:
    """The sending half of a connection's wire, for apps of the house that send past the connection, as Writer says."""
    return connection._writer


def reading_of(connection: Connection) -> ReadingSide:
    """The receiving half of a connection's wire, for apps of the house."""
    return connection._wire.reader


def background_of(connection: Connection) -> WorkKeeper:
    """The keeper of the work for this connection, for apps of the house."""
    return connection._wire.background


def payload_of(message: str | bytes | bytearray | memoryview) -> tuple[bytes, bool]:
    """The payload of a message, and whether it is text. TypeError for anything that is not str or bytes."""
    if isinstance(message, str):
        return message.encode(), True
    if isinstance(message, bytes):
        return message, False
    if isinstance(message, (bytearray, memoryview)):
        return bytes(message), False
    raise TypeError(f"a message is str (text) or bytes (binary), not {type(message).__name__}")


class Connection:
    """One open WebSocket. The app may read the request for as long as it wants it.

    `send`, `close` and `abort` work in any thread: calls from other threads wait in one bounded queue, in their order, and wake the loop.
    Awaits, `state` and the methods that receive work on the loop's thread alone, and raise RuntimeError elsewhere.
    """

    __slots__ = (
        "_number",
        "_state",
        "_thread",
        "_waiters",
        "_wire",
        "_work",
        "_writer",
        "close_code",
        "close_reason",
        "closed_by",
        "handshake",
        "opened_at",
    )

    def __init__(self, wire: Wire, handshake: Handshake, number: str) -> None:
        self._wire = wire
        self._writer = wire.writer
        self.handshake = handshake
        self._number = number
        self.opened_at = time.monotonic()
        self.close_code: int | None = None
        self.close_reason = ""
        self.closed_by = ""
        self._state: dict[str, Any] | None = None
        self._thread = get_ident()
        self._work: tuple[asyncio.Future[Any], ...] = ()  # of the app, for this connection alone; Background keeps it
        self._waiters: list[asyncio.Future[None]] | None = None

    def __repr__(self) -> str:
        return f"<connection {self.id} {self.handshake.peer} {self.handshake.path}>"

    # -- the request

    @property
    def id(self) -> str:
        """The connection's name in the log; unique within a daemon's life."""
        return self._number

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
        """Whether the client uses TLS, to this listener or to a trusted proxy."""
        return self.handshake.secure

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that both sides agreed on."""
        return self.handshake.subprotocol

    @property
    def identity(self) -> Identity | None:
        """The authenticated user, with its claims and method; None if the mount has no authentication."""
        return self.handshake.identity

    @property
    def state(self) -> dict[str, Any]:
        """A dict of the app's own. RuntimeError in another thread than the loop's."""
        self._must_be_on_loop("connection.state")
        if self._state is None:
            self._state = {}
        return self._state

    @property
    def is_open(self) -> bool:
        """False as soon as either side begins to close."""
        return self._writer.live

    # -- threads

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The daemon's loop, for `asyncio.run_coroutine_threadsafe(coroutine, connection.loop)` in another thread."""
        return self._wire.calls.loop

    def _must_be_on_loop(self, name: str) -> None:
        """RuntimeError, with the way to do it, when this is another thread than the loop's."""
        if get_ident() != self._thread:
            raise RuntimeError(
                f"{name} works in the thread of the daemon's loop alone; from another thread, use it in a coroutine that runs there: "
                "asyncio.run_coroutine_threadsafe(coroutine, connection.loop)"
            )

    def _send_from_thread(self, payload: bytes, text: bool) -> Awaitable[None]:
        if not self._writer.live:
            raise self._closed_error()
        self._wire.calls.add(partial(self._send_late, payload, text), len(payload))
        return READY

    def _send_late(self, payload: bytes, text: bool) -> None:
        if self._writer.live:
            self._writer.send_payload(payload, text)

    # -- sending

    def send(self, message: str | bytes | bytearray | memoryview) -> Awaitable[None]:
        """Send one message: text for a `str`, binary for bytes.

        Never blocks: when this returns, the message is on its way. Await the result to wait, when the client is slow, until there is
        room for more; in a loop over many clients do not await, because the first slow one would delay all others. Raises ConnectionClosed
        when the connection is over, TypeError for anything that is not str or bytes.

        From another thread the message waits for the loop, and the result waits for nothing: SendQueueFull when too many wait. A message
        that is still queued when the connection ends is dropped without an error.
        """
        if get_ident() != self._thread:
            return self._send_from_thread(*payload_of(message))
        if isinstance(message, str):
            return self._writer.send_payload(message.encode(), True) or READY
        if isinstance(message, bytes):
            return self._writer.send_payload(message, False) or READY
        return self._writer.send_payload(*payload_of(message)) or READY

    def send_json(self, value: object) -> Awaitable[None]:
        """Send a value as JSON text, or a model of pydantic or msgspec; otherwise like send(). TypeError or ValueError without JSON."""
        return self.send(to_json(value))

    def send_payload(self, payload: bytes, text: bool) -> Awaitable[None]:
        """Like send(), for a payload that is UTF-8 already if `text`: it is neither copied nor checked again."""
        if get_ident() != self._thread:
            return self._send_from_thread(payload, text)
        return self._writer.send_payload(payload, text) or READY

    def prepare(self, payload: bytes, text: bool, key: object = None) -> Prepared:
        """A message for any number of connections of this mount, framed and compressed once; see Writer.prepare."""
        return self._writer.prepare(payload, text, key)

    def send_prepared(self, prepared: Prepared) -> None:
        """Send a message that prepare() made, of any connection of the mount. Nothing happens once the connection closes."""
        if get_ident() != self._thread:
            self._wire.calls.add(partial(self._writer.send_prepared, prepared), prepared.size)
        else:
            self._writer.send_prepared(prepared)

    def broadcast(
        self, message: str | bytes | bytearray | memoryview, *, where: str | Callable[[Connection], object] | None = None
    ) -> None:  # fmt: skip
        """Send a message to many connections of this process, this one among them, from any thread; wait for no client.

        It works for as long as the daemon runs, also when this connection is over. `where` is the path of a mount, as the settings write it
        (`connection.handshake.mount` is that of this connection), or a function that is called on the loop with each open connection and
        says whether it gets the message; None: all connections. Everything else is as with `WebSocketServer.broadcast`. With workers each
        process has connections of its own: rooms reach all of them.

        TypeError if it is no message, KeyError if no mount has the path, SendQueueFull if too many messages wait, RuntimeError if the
        daemon has stopped.
        """
        self._wire.broadcast(message, where)

    def writable(self) -> Awaitable[None]:
        """Await it to wait until the client has taken most of the sent data, or the connection is over. On the loop's thread alone."""
        self._must_be_on_loop("connection.writable()")
        return _Waiting(self, _is_writable) if self._writer.congested else READY

    def close(self, code: int = NORMAL, reason: str = "") -> Awaitable[None]:
        """Begin the closing handshake; nothing more is sent or received. Await the result to wait until the connection is over.

        `reason` is cut to 123 bytes of UTF-8. Does nothing on a connection that is closing. ValueError for a code that may not be sent.
        From another thread it follows the messages that this thread has sent; SendQueueFull when too many calls wait.
        """
        if get_ident() != self._thread:
            self._wire.calls.add(partial(self._wire.close, checked_code(code), reason))
        else:
            self._wire.close(checked_code(code), reason)
        return _Waiting(self, _is_closed)

    async def wait_closed(self) -> None:
        """Wait until the connection is over, however it ends; return at once when it is over already. `close_code` is known then."""
        await _Waiting(self, _is_closed)

    def abort(self) -> None:
        """Drop the connection at once, without a closing handshake. From another thread: as soon as the calls before it are done."""
        if get_ident() != self._thread:
            self._wire.calls.add(self._wire.abort)
        else:
            self._wire.abort()

    def _closed_error(self) -> ConnectionClosed:
        """The exception for this connection's end; 1006 until its close code is known."""
        return ConnectionClosed(1006 if self.close_code is None else self.close_code, self.close_reason)

    # -- what it has carried

    def counts(self) -> Counts:
        """Messages and bytes in both directions, until now."""
        return self._wire.counts()

    def unsent(self) -> int:
        """Bytes that were sent and that the kernel has not taken yet: the client is behind by at least so much."""
        return self._writer.unsent()

    # -- called by the wire

    def _wake_waiters(self) -> None:
        """The wire: the client has caught up, or the connection closes, or is over."""
        waiters, self._waiters = self._waiters, None
        for future in waiters or ():
            if not future.done():
                future.set_result(None)

    def _ended(self, code: int, reason: str, by: str) -> None:
        """The wire: the connection is over. `by` is client, server or network."""
        self.close_code, self.close_reason, self.closed_by = code, reason, by
        self._wake_waiters()
