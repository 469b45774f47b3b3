"""The user's own coroutine as an app: `async def app(connection)`, run once for each connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from ..core.closing import INTERNAL_ERROR, NORMAL, ConnectionClosed
from ..core.connection import Connection
from ..core.handshake import Handshake

READ_AHEAD = 32
"""Messages that may wait for the coroutine before the client is read no further."""

READ_AHEAD_BYTES = 256 * 1024
"""The same in bytes (characters, for text)."""

Failed = Callable[[Connection, str, BaseException], None]


class CoroutineConnection(Connection):
    """A connection that is also read: with receive(), or `async for message in connection`."""

    __slots__ = ("_inbox", "_inbox_size", "_over", "_reader", "_space")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._inbox: deque[str | bytes] = deque()
        self._inbox_size = 0
        self._reader: asyncio.Future[None] | None = None
        self._space: asyncio.Future[None] | None = None
        self._over = False

    async def receive(self) -> str | bytes:
        """The next message: `str` for text, `bytes` for binary. Waits for it; raises ConnectionClosed when there will be none.

        RuntimeError when another task is waiting in receive() on the same connection.
        """
        inbox = self._inbox
        while not inbox:
            if self._over:  # and not as soon as the closing begins: then it is not known yet how it ends
                raise self.gone()
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

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Messages until the connection is over, however it ends."""
        try:
            while True:
                yield await self.receive()
        except ConnectionClosed:
            return

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    # -- the session's side

    def put(self, message: str | bytes) -> Awaitable[None] | None:
        """One message for the coroutine; what is returned is done when there is room for more."""
        self._inbox.append(message)
        self._inbox_size += len(message)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
        if len(self._inbox) < READ_AHEAD and self._inbox_size < READ_AHEAD_BYTES:
            return None
        self._space = asyncio.get_running_loop().create_future()
        return self._space

    def finish(self) -> None:
        """No message will come any more; those that wait can still be received."""
        self._over = True
        self._wake()
        if self._space is not None and not self._space.done():
            self._space.set_result(None)


class CoroutineSession:
    """Runs the coroutine as a task of the loop."""

    __slots__ = ("_app", "_connection", "_task", "received")

    def __init__(self, app: CoroutineApp, connection: CoroutineConnection) -> None:
        self._app = app
        self._connection = connection
        self.received = connection.put
        self._task = asyncio.get_running_loop().create_task(app.function(connection), name=f"wsdaemon connection {connection.id}")
        app.tasks.add(self._task)
        self._task.add_done_callback(self._done)

    def closed(self, code: int, reason: str) -> None:
        self._connection.finish()

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._app.tasks.discard(task)
        connection = self._connection
        error = None if task.cancelled() else task.exception()
        if error is None or (isinstance(error, ConnectionClosed) and not connection.is_open):
            connection.wire.close(NORMAL, "")
            return
        self._app.failed(connection, "running", error)
        connection.wire.close(INTERNAL_ERROR, "internal error")


class CoroutineApp:
    """An app made of a coroutine function that takes a connection.

    When it returns, the connection closes with 1000; when it raises, with 1011.
    """

    connection_class = CoroutineConnection

    def __init__(self, function: Callable[[CoroutineConnection], Coroutine[Any, Any, object]], failed: Failed) -> None:
        self.function = function
        self.failed = failed
        self.tasks: set[asyncio.Task[Any]] = set()

    def open(self, connection: Connection, handshake: Handshake) -> CoroutineSession:
        assert isinstance(connection, CoroutineConnection)
        return CoroutineSession(self, connection)

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """After the drain: coroutines that still run, for their connection is gone but they do not end, are cancelled."""
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=5.0)
