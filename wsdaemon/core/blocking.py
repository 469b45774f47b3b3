"""A connection for code that blocks: the function of an app that runs in a thread of its own, beside the loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar, overload

from .closing import NORMAL, ConnectionClosed, checked_code
from .connection import READY, Connection, payload_of
from .contract import READ_AHEAD, READ_AHEAD_BYTES
from .typed_messages import from_json, to_json
from .wire_halves import Counts

if TYPE_CHECKING:
    from .handshake import Handshake, Headers, Peer
    from .identity import Identity

T = TypeVar("T")


class BlockingConnection:
    """One open WebSocket for a function that runs in a thread. Its calls block the thread, and work in any but the loop's."""

    __slots__ = ("_changed", "_connection", "_inbox", "_inbox_size", "_loop", "_over", "_space", "_thread", "_waiting", "state")

    def __init__(self, connection: Connection) -> None:
        """Made on the loop, of the connection that it stands for."""
        self._connection = connection
        self._loop = connection.loop
        self._thread = get_ident()
        self._changed = threading.Condition(threading.Lock())
        """Guards the fields below; notified when a message has come, and when the connection is over."""
        self._inbox: deque[str | bytes] = deque()
        self._inbox_size = 0
        self._space: asyncio.Future[None] | None = None
        self._over = False
        self._waiting: set[asyncio.Future[None]] = set()  # asyncio itself keeps no task alive
        self.state: dict[str, Any] = connection.state
        """A dict of the app's own, the same as `state` of this connection in `WebSocketServer.connections`."""

    def __repr__(self) -> str:
        return repr(self._connection)

    # -- the request

    @property
    def handshake(self) -> Handshake:
        """The opening handshake."""
        return self._connection.handshake

    @property
    def id(self) -> str:
        """The connection's name in the log; unique within a daemon's life."""
        return self._connection.id

    @property
    def path(self) -> str:
        """The request's path, percent-decoded, without the query."""
        return self._connection.path

    @property
    def params(self) -> Mapping[str, str]:
        """Values of the `{name}` segments of the mount's path."""
        return self._connection.params

    @property
    def query(self) -> Mapping[str, list[str]]:
        """The query string's fields, each with all its values in order."""
        return self._connection.query

    @property
    def headers(self) -> Headers:
        """The request's headers, case-insensitive, duplicates kept in order."""
        return self._connection.headers

    @property
    def cookies(self) -> Mapping[str, str]:
        """The request's cookies."""
        return self._connection.cookies

    @property
    def peer(self) -> Peer:
        """The client's address: host and port."""
        return self._connection.peer

    @property
    def secure(self) -> bool:
        """Whether the client uses TLS, to this listener or to a trusted proxy."""
        return self._connection.secure

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that both sides agreed on."""
        return self._connection.subprotocol

    @property
    def identity(self) -> Identity | None:
        """The authenticated user, with its claims and method; None if the mount has no authentication."""
        return self._connection.identity

    # -- its life

    @property
    def is_open(self) -> bool:
        """False as soon as either side begins to close."""
        return self._connection.is_open

    @property
    def opened_at(self) -> float:
        """The time of the opening, in seconds of time.monotonic()."""
        return self._connection.opened_at

    @property
    def close_code(self) -> int | None:
        """The close code; None until the connection is over."""
        return self._connection.close_code

    @property
    def close_reason(self) -> str:
        """The reason of the close, often empty."""
        return self._connection.close_reason

    @property
    def closed_by(self) -> str:
        """client, server or network; empty until the connection is over."""
        return self._connection.closed_by

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The daemon's loop, for `asyncio.run_coroutine_threadsafe(coroutine, connection.loop)`."""
        return self._loop

    def counts(self) -> Counts:
        """Messages and bytes in both directions, until now."""
        return self._connection.counts()

    # -- receiving

    def receive(self, timeout: float | None = None) -> str | bytes:
        """The next message: `str` for text, `bytes` for binary. Waits for it; raises ConnectionClosed after the last one.

        TimeoutError if no message comes within `timeout` seconds; None waits for ever. RuntimeError in the loop's thread.
        """
        self._must_not_be_on_loop("receive()")
        with self._changed:
            if not self._changed.wait_for(self._has_news, timeout):
                raise TimeoutError(f"no message came within {timeout:g} s")
            if not self._inbox:
                raise self._connection._closed_error()
            message = self._inbox.popleft()
            self._inbox_size -= len(message)
            if self._space is not None and len(self._inbox) < READ_AHEAD // 2:
                space, self._space = self._space, None
                self._call(partial(_set_done, space))
        return message

    @overload
    def receive_json(self, kind: None = None, timeout: float | None = None) -> Any: ...

    @overload
    def receive_json(self, kind: type[T], timeout: float | None = None) -> T: ...

    def receive_json(self, kind: type[Any] | None = None, timeout: float | None = None) -> Any:
        """The value of the next message, which is JSON; with `kind`, a model of pydantic or a Struct of msgspec, an object of it.

        BadMessage if it is not; an app that does not catch it leaves the connection to be closed with 1007. Else like receive().
        """
        return from_json(self.receive(timeout), kind)

    def __iter__(self) -> Iterator[str | bytes]:
        """Messages until the connection is over, for any reason."""
        try:
            while True:
                yield self.receive()
        except ConnectionClosed:
            return

    # -- sending

    def send(self, message: str | bytes | bytearray | memoryview) -> None:
        """Send one message: text for a `str`, binary for bytes. If the client is slow, this waits until there is room for more.

        Raises ConnectionClosed when the connection is over, TypeError for anything that is not str or bytes, and RuntimeError in the
        loop's thread.
        """
        self._wait_for("send()", partial(self._connection.send_payload, *payload_of(message)))

    def send_json(self, value: object) -> None:
        """Send a value as JSON text, or a model of pydantic or msgspec; otherwise like send(). TypeError or ValueError without JSON."""
        self.send(to_json(value))

    def broadcast(
        self, message: str | bytes | bytearray | memoryview, *, where: str | Callable[[Connection], object] | None = None
    ) -> None:  # fmt: skip
        """Send a message to many connections of this process, from any thread, and wait for no client: see Connection.broadcast."""
        self._connection.broadcast(message, where=where)

    # -- the end

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Close with a closing handshake, and wait until the connection is over, which takes at most the mount's `close_timeout`.

        `reason` is cut to 123 bytes of UTF-8. ValueError for a code that may not be sent, RuntimeError in the loop's thread.
        """
        try:
            self._wait_for("close()", partial(self._connection.close, checked_code(code), reason))
        except ConnectionClosed:
            return

    def abort(self) -> None:
        """Drop the connection at once, without a closing handshake. This waits for nothing."""
        with self._changed:
            if not self._over:
                self._call(self._connection.abort)

    def wait_closed(self, timeout: float | None = None) -> None:
        """Wait until the connection is over, however it ends. TimeoutError if that takes longer than `timeout` seconds."""
        self._must_not_be_on_loop("wait_closed()")
        with self._changed:
            if not self._changed.wait_for(self._is_over, timeout):
                raise TimeoutError(f"the connection is not over after {timeout:g} s")

    # -- between the threads

    def _has_news(self) -> bool:
        return bool(self._inbox) or self._over

    def _is_over(self) -> bool:
        return self._over

    def _must_not_be_on_loop(self, name: str) -> None:
        if get_ident() == self._thread:
            raise RuntimeError(f"connection.{name} of a function's connection would block the daemon's loop: call it in another thread")

    def _call(self, call: Callable[[], object]) -> None:
        """Have it called on the loop. ConnectionClosed if the loop has ended, and the connection with it."""
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            raise self._connection._closed_error() from None

    def _wait_for(self, name: str, begin: Callable[[], Awaitable[None]]) -> None:
        """Call `begin` on the loop, and wait until its result is done there. The exceptions of both are raised here."""
        self._must_not_be_on_loop(name)
        outcome = Future[None]()
        with self._changed:
            if self._over:
                raise self._connection._closed_error()
            self._call(partial(self._begin, begin, outcome))
        outcome.result()

    def _begin(self, begin: Callable[[], Awaitable[None]], outcome: Future[None]) -> None:
        try:
            result = begin()
        except Exception as error:
            outcome.set_exception(error)
            return
        if result is READY:
            outcome.set_result(None)
            return
        waiting = asyncio.ensure_future(result)
        self._waiting.add(waiting)
        waiting.add_done_callback(partial(self._tell, outcome))

    def _tell(self, outcome: Future[None], waiting: asyncio.Future[None]) -> None:
        self._waiting.discard(waiting)
        error = self._connection._closed_error() if waiting.cancelled() else waiting.exception()
        if error is None:
            outcome.set_result(None)
        else:
            outcome.set_exception(error)

    # -- called on the loop

    def _put(self, message: str | bytes) -> Awaitable[None] | None:
        """Add one message for the function. The result is done when there is room for more."""
        with self._changed:
            self._inbox.append(message)
            self._inbox_size += len(message)
            self._changed.notify_all()
            if len(self._inbox) < READ_AHEAD and self._inbox_size < READ_AHEAD_BYTES:
                return None
            self._space = self._loop.create_future()
            return self._space

    def _end(self) -> None:
        """The connection is over. Messages that wait can still be received."""
        with self._changed:
            self._over = True
            space, self._space = self._space, None
            self._changed.notify_all()
        if space is not None:
            _set_done(space)


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
