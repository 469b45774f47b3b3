"""An ASGI application as the app of a mount."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

from twisted.logger import Logger
from twisted.python.failure import Failure

from ...core.acceptance import HandshakeRefused, unavailable
from ...core.connection import Connection
from ...core.contract import Acceptance, PlainAnswer
from ...core.handshake import Handshake
from ...core.rare_lines import LineLog, RareLines
from ...settings.asgi import AsgiOptions
from .http import HttpRun
from .lifespan import Lifespan
from .scope import Root, make_scope
from .websocket import Application, WebSocketRun

MAX_LEFT_BEHIND = 1000
"""Tasks of one mount that may go on after their client has gone. Beyond that a new client is answered 503."""

CANCEL_SECONDS = 5.0
"""The time that cancelled tasks have to end while the daemon stops."""

Failed = Callable[[Connection, str, BaseException], None]

app_log = Logger(namespace="wsdaemon.app")


class AsgiApp:
    """Runs an application: one task for each client, as ASGI asks. Mounts of one application share its lifespan.

    A task goes on after its client has gone, until the application returns: nothing cancels it but the end of the daemon.
    """

    keeps_handshake = False

    def __init__(
        self, application: Application, options: AsgiOptions, path: str, failed: Failed, *, lifespan: Lifespan | None = None,
        log: LineLog | None = None,
    ) -> None:  # fmt: skip
        """`path` is the mount's. `lifespan` is that of the application, if another mount has it already."""
        self.application = application
        self.options = options
        self.lifespan = lifespan
        if lifespan is None and options.lifespan != "off":
            self.lifespan = Lifespan(application, required=options.lifespan == "on")
        self.failed = failed
        self._path = path
        self._root = Root(path)
        self._running: set[asyncio.Task[None]] = set()
        self._left: set[asyncio.Task[None]] = set()
        self._lines = RareLines(log or app_log)

    def beside(self, options: AsgiOptions, path: str) -> AsgiApp:
        """The app of a further mount of the same application."""
        return AsgiApp(self.application, options, path, self.failed, lifespan=None if options.lifespan == "off" else self.lifespan)

    async def start(self) -> None:
        if self.lifespan is not None:
            await self.lifespan.start()

    async def stop(self) -> None:
        """After the drain: cancel the tasks that are left, and let the application shut down."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=CANCEL_SECONDS)
        if self.lifespan is not None:
            await self.lifespan.stop()

    # -- clients

    def admit(self, handshake: Handshake) -> Awaitable[Acceptance | None]:
        """Begin to run the application for a client; its first answer decides about the opening handshake."""
        if len(self._left) >= MAX_LEFT_BEHIND:
            raise self._too_many_left()
        scope = make_scope("websocket", handshake, self._root, {} if self.lifespan is None else self.lifespan.state)
        return WebSocketRun(self, scope, handshake.subprotocols).decision

    @property
    def answers_plain(self) -> bool:
        """Whether the application serves HTTP, too."""
        return self.options.http

    def answer(self, handshake: Handshake, method: str, answer: PlainAnswer) -> HttpRun:
        """Run the application for an HTTP request."""
        if len(self._left) >= MAX_LEFT_BEHIND:
            raise self._too_many_left()
        scope = make_scope("http", handshake, self._root, {} if self.lifespan is None else self.lifespan.state)
        scope["method"] = method
        return HttpRun(self, scope, answer)

    def open(self, connection: Connection, handshake: Handshake) -> NoReturn:
        raise RuntimeError("the application's acceptance opens the connection")

    def _too_many_left(self) -> HandshakeRefused:
        self._lines.warn(
            "left", "{mount} turns clients away, because {count} tasks of its application go on after their clients have gone",
            mount=self._path, count=len(self._left),
        )  # fmt: skip
        return unavailable("the application is busy with earlier clients\n")

    def running(self, task: asyncio.Task[None]) -> None:
        """The application's task for one client."""
        self._running.add(task)
        task.add_done_callback(self._ended)

    def left(self, task: asyncio.Task[None]) -> None:
        """The client of that task has gone."""
        if not task.done():
            self._left.add(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._left.discard(task)

    def failed_without_connection(self, error: BaseException, when: str) -> None:
        """Log an error of the application at a time when it has no connection."""
        failure = Failure(error, type(error), error.__traceback__)
        self._lines.failure((when, type(error)), "{mount} failed {when}", failure, mount=self._path, when=when)
