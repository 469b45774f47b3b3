"""A daemon on one loop: its life from the sockets to the last connection."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from ..core.registry import Connections
from ..core.threads import ThreadCalls
from ..core.wheel import Wheel
from ..edge.gate import AnswerPage
from ..ops.systemd import Notifier, watchdog_interval
from ..settings.model import Settings
from .assembly import assemble
from .mounts import app_names
from .order import redis_brokers
from .parts import StartError, State, Step, Watchdog, start_in_order, stop_in_order
from .resources import Resources
from .sockets import Sockets
from .watch import UncaughtFailures, Watch

log = Logger(namespace="wsdaemon")


class Daemon:
    """The ordered parts of one serving process: `open()` while there are privileges, then `start()`, and at the end `stop()`."""

    def __init__(
        self, settings: Settings, loop: asyncio.AbstractEventLoop, reactor: Any, *, environ: Mapping[str, str] = os.environ,
        directory: Path | None = None, pages: AnswerPage | None = None,
    ) -> None:  # fmt: skip
        """`directory`, where modules are found too, is by default the current one. `pages` answers requests for web pages."""
        self.settings, self.loop, self.state = settings, loop, State.STOPPED
        self._reactor, self._environ, self._directory, self._pages = reactor, environ, directory or Path.cwd(), pages
        loop.set_exception_handler((failures := UncaughtFailures()).in_loop)
        self.connections, self.wheel, self.calls = Connections(app_names(settings)), Wheel(loop, failures.of_deadline), ThreadCalls(loop)
        self.watch, self.notifier = Watch(self.connections, settings.logging.connections), Notifier.from_environment(environ)
        self._status: Callable[[], str] = lambda: f"{self.state.value}, {len(self.connections)} connections"

    def open(self) -> None:
        """Take modules, files and sockets, and make the parts of them. StartError with every problem; then no socket is open."""
        redis = redis_brokers(self.settings, self.connections)
        self._resources = Resources(
            self.settings, Sockets(self._environ), self.watch.app_failed, self._directory, self.wheel.absence.grace, redis,
            None if redis is None else redis.tickets,
        )  # fmt: skip
        if problems := self._resources.problems:
            self.close()
            raise StartError(*problems)
        self._assembly = assemble(
            self.settings, self._resources, self.watch, loop=self.loop, reactor=self._reactor, wheel=self.wheel,
            connections=self.connections, calls=self.calls, state=lambda: self.state, pages=self._pages,
            redis=redis,
        )  # fmt: skip
        self.mounts, self.listeners, self.state = self._assembly.mounts, self._assembly.listeners, State.STARTING

    async def start(self) -> None:
        """Start the parts in their order, the listeners last. If one fails, those that run are stopped and no socket stays open."""
        watchdog = Watchdog(self.notifier, watchdog_interval(self._environ, os.getpid()), self._status)
        try:
            started = await start_in_order([watchdog, *self._assembly.parts], self.settings.daemon.start_timeout)
        except BaseException:
            self.close()
            raise
        self._started: list[Step] = [*started, self._assembly.listening]
        self._assembly.listening.begin()
        self.state = State.READY  # in the same turn of the loop: no client comes in between
        self.notifier.ready(self._status())

    def close(self) -> None:
        """The start has failed: close the sockets and remove their files."""
        self._resources.close()
        self.state = State.STOPPED

    async def stop(self) -> None:
        """Accept no more, close each connection with 1001, wait up to `drain_timeout`, abort the rest, stop the apps."""
        if self.state is State.READY:
            self.state = State.DRAINING
            self.notifier.stopping("draining")
            log.info("stopping: {count} connections to close", count=len(self.connections))
            await stop_in_order(self._started)
            self.wheel.stop()
            self.state = State.STOPPED
            log.info("stopped")

    def reload(self) -> None:
        """SIGHUP: read certificates and the files of authentication again, for new handshakes."""
        for reload in self._assembly.reloads:
            reload()
