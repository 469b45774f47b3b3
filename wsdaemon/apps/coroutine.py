"""The user's own coroutine as an app: `async def app(connection)`, run once for each connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from threading import get_ident
from typing import Any, TypeVar, overload

from ..core.closing import NORMAL, ConnectionClosed
from ..core.connection import Connection, background_of
from ..core.contract import READ_AHEAD, READ_AHEAD_BYTES, Failed
from ..core.handshake import Handshake
from ..core.outcome import went_well
from ..core.typed_messages import from_json

T = TypeVar("T")


class CoroutineConnection(Connection):
    """A connection that is also read: with receive(), or `async for message in connection`."""

    __slots__ = ("_inbox", "_inbox_size", "_on_warning", "_over", "_reader", "_space")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._inbox: deque[str | bytes] = deque()
        self._inbox_size = 0
        self._reader: asyncio.Future[None] | None = None
        self._space: asyncio.Future[None] | None = None
        self._over = False
        self._on_warning: Callable[[float], object] | None = None
        """The callback of on_expiring()."""

    def on_expiring(self, callback: Callable[[float], object]) -> None:
        """Have `callback(seconds)` called once, on the loop, that many seconds before the client's token expires (`expiry_warning`).

        It is a function or a coroutine function; a later callback replaces an earlier one. Set it before the first await, because a
        warning is given once. If it raises, the connection closes with 1011. RuntimeError in another thread.
        """
        self._must_be_on_loop("connection.on_expiring()")
        self._on_warning = None if self._over else callback

    async def receive(self) -> str | bytes:
        """The next message: `str` for text, `bytes` for binary. Waits for it; raises ConnectionClosed after the last one.

        RuntimeError when another task is waiting in receive() on the same connection, and in another thread than the loop's.
        """
        if get_ident() != self._thread:
            self._must_be_on_loop("connection.receive()")
        inbox = self._inbox
        while not inbox:
            if self._over:  # not as soon as the closing begins, because the close code is not known yet
                raise self._closed_error()
            if self._reader is not None:
                raise RuntimeError("another task is receiving from this connection")
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        message = inbox.popleft()
        self._inbox_size -= len(message)
        if self._space is not None and len(inbox) < READ_AHEAD // 2:
            space, self._space = self._space, None
            if not space.done():
                space.set_result(None)
        return message

    @overload
    async def receive_json(self, kind: None = None) -> Any: ...

    @overload
    async def receive_json(self, kind: type[T]) -> T: ...

    async def receive_json(self, kind: type[Any] | None = None) -> Any:
        """The value of the next message, which is JSON; with `kind`, a model of pydantic or a Struct of msgspec, an object of it.

        BadMessage if it is not; an app that does not catch it leaves the connection to be closed with 1007. Else like receive().
        """
        return from_json(await self.receive(), kind)

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Messages until the connection is over, for any reason."""
        try:
            while True:
                yield await self.receive()
        except ConnectionClosed:
            return

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _ended(self, code: int, reason: str, by: str) -> None:
        """The wire: the connection is over. The last message has come; messages that wait can still be received."""
        super()._ended(code, reason, by)
        self._over = True
        self._on_warning = None  # it usually refers to the connection, which would be freed late
        self._wake()
        if self._space is not None and not self._space.done():
            self._space.set_result(None)

    # -- the session's side

    def _put(self, message: str | bytes) -> Awaitable[None] | None:
        """Add one message for the coroutine. The result is done when there is room for more."""
        self._inbox.append(message)
        self._inbox_size += len(message)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
        if len(self._inbox) < READ_AHEAD and self._inbox_size < READ_AHEAD_BYTES:
            return None
        self._space = asyncio.get_running_loop().create_future()
        return self._space


class CoroutineSession:
    """Runs the coroutine as a task of the loop."""

    __slots__ = ("_app", "_connection", "_task", "received")

    def __init__(self, app: CoroutineApp, connection: CoroutineConnection) -> None:
        self._app = app
        self._connection = connection
        self.received = connection._put
        self._task = self._run(app.function(connection), self._done)

    def closed(self, code: int, reason: str) -> None:
        """Nothing to do: the connection was told itself, and wakes the coroutine."""

    def expiring(self, seconds: float) -> None:
        callback = self._connection._on_warning
        outcome = None if callback is None else callback(seconds)
        if asyncio.iscoroutine(outcome):
            self._run(outcome, self._warned)

    def _run(self, coroutine: Coroutine[Any, Any, object], done: Callable[[asyncio.Task[Any]], object]) -> asyncio.Task[Any]:
        connection = self._connection
        task = asyncio.get_running_loop().create_task(coroutine, name=f"wsdaemon connection {connection.id}")
        background_of(connection).add(task, connection)
        task.add_done_callback(done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        if self._went_well(task, "running"):
            self._connection.close(NORMAL, "")

    def _warned(self, task: asyncio.Task[Any]) -> None:
        self._went_well(task, "warning the client")

    def _went_well(self, task: asyncio.Task[Any], doing: str) -> bool:
        return went_well(self._connection, doing, None if task.cancelled() else task.exception(), self._app.failed)


class CoroutineApp:
    """An app made of a coroutine function that takes a connection.

    When the coroutine returns, the connection closes with 1000; when it raises, with 1011.
    """

    connection_class = CoroutineConnection

    def __init__(self, function: Callable[[CoroutineConnection], Coroutine[Any, Any, object]], failed: Failed) -> None:
        self.function = function
        self.failed = failed

    def open(self, connection: Connection, handshake: Handshake) -> CoroutineSession:
        assert isinstance(connection, CoroutineConnection)
        return CoroutineSession(self, connection)
