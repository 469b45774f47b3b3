"""The user's own function as an app: `def app(connection)`, run once for each connection, in a thread of its own."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from ..core.acceptance import unavailable
from ..core.background import ThreadWork
from ..core.blocking import BlockingConnection
from ..core.closing import NORMAL
from ..core.connection import Connection, background_of
from ..core.contract import Acceptance, Failed
from ..core.handshake import Handshake
from ..core.outcome import went_well
from ..core.rare_lines import LineLog, RareLines
from ..core.registry import Count, Place


class FunctionConnection(Connection):
    """The connection of a function as the loop sees it. It tells the function's own one of the end."""

    __slots__ = ("_blocking",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._blocking: BlockingConnection | None = None

    def _ended(self, code: int, reason: str, by: str) -> None:
        super()._ended(code, reason, by)
        blocking, self._blocking = self._blocking, None  # a cycle would be freed late
        if blocking is not None:
            blocking._end()


class FunctionSession:
    """Runs the function in a thread. The connection keeps its place among the threads until the function has ended."""

    __slots__ = ("_app", "_connection", "_loop", "_place", "_work", "received")

    def __init__(self, app: FunctionApp, connection: FunctionConnection, place: Place) -> None:
        """RuntimeError if the system has no thread left."""
        blocking = connection._blocking = BlockingConnection(connection)
        self._app = app
        self._connection = connection
        self._place = place
        self._loop = asyncio.get_running_loop()
        self._work = ThreadWork(loop=self._loop)
        self.received = blocking._put
        # A daemon thread: a function that never returns must not keep the process from ending.
        threading.Thread(target=self._run, args=(blocking,), name=f"wsdaemon connection {connection.id}", daemon=True).start()
        background_of(connection).add(self._work, connection, own=False)  # a thread cannot be cancelled

    def closed(self, code: int, reason: str) -> None:
        """Nothing to do: the connection was told itself, and wakes the function."""

    def _run(self, blocking: BlockingConnection) -> None:
        """In the thread."""
        failure: BaseException | None = None
        try:
            result = self._app.function(blocking)
            if inspect.iscoroutine(result):
                result.close()
                raise TypeError("the function returned a coroutine, which does not run in a thread: write `async def`")
        except BaseException as error:  # SystemExit too: it would end the thread without a word
            failure = error
        try:
            self._loop.call_soon_threadsafe(self._finished, failure)
        except RuntimeError:
            return  # the loop has ended meanwhile, and has named this function in the log

    def _finished(self, error: BaseException | None) -> None:
        self._place.leave()
        if not self._work.done():
            self._work.set_result(None)
        if went_well(self._connection, "running", error, self._app.failed):
            self._connection.close(NORMAL, "")


class FunctionApp:
    """An app made of a function that takes a connection. Each connection has a thread, and `threads` counts those of all such apps.

    When the function returns, the connection closes with 1000; when it raises, with 1011.
    """

    connection_class = FunctionConnection

    def __init__(self, function: Callable[[BlockingConnection], object], failed: Failed, threads: Count, log: LineLog) -> None:
        self.function = function
        self.failed = failed
        self._threads = threads
        self._lines = RareLines(log)

    async def admit(self, handshake: Handshake) -> Acceptance:
        """Take the place of a thread before the 101. HandshakeRefused with 503 if all are taken."""
        if self._threads.full:
            self._lines.warn("full", "{mount}: max_threads = {most} functions run", mount=handshake.mount, most=self._threads.most)
            raise unavailable("too many clients\n")
        place = Place((self._threads,))
        return Acceptance(open=partial(self._open, place), abandoned=place.leave)

    def open(self, connection: Connection, handshake: Handshake) -> FunctionSession:
        """The session of a client that was not asked about before."""
        return self._open(Place((self._threads,)), connection, handshake)

    def _open(self, place: Place, connection: Connection, handshake: Handshake) -> FunctionSession:
        assert isinstance(connection, FunctionConnection)
        try:
            return FunctionSession(self, connection, place)
        except BaseException:
            place.leave()
            raise
