"""A daemon on one loop: its life from the sockets to the last connection."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from ..core.registry import Connections
from ..core.threads import ThreadCalls
from ..core.wheel import Wheel
from ..edge.site import AnswerPage
from ..ops.systemd import Notifier, watchdog_interval
from ..settings.model import Settings
from .assembly import assemble
from .broadcast import broadcast_from
from .control import Operations, Say
from .drain import add_drain
from .mounts import app_names
from .parts import State, Step, Watchdog, start_in_order, stop_in_order
from .resources import take_resources
from .sockets import Sockets, SocketSource
from .status import describe
from .watch import UncaughtFailures, Watch

if TYPE_CHECKING:
    from .shared import Shared

NO_WORKERS = "an upgrade replaces workers, and this daemon runs without any: restart it for new code"

log = Logger(namespace="wsdaemon")


class Daemon:
    """The ordered parts of one serving process: `open()` while there are privileges, then `start()`, and at the end `stop()`."""

    def __init__(
        self, settings: Settings, loop: asyncio.AbstractEventLoop, reactor: Any, *, environ: Mapping[str, str] = os.environ,
        directory: Path | None = None, pages: AnswerPage | None = None, sockets: SocketSource | None = None, shared: Shared | None = None,
        before: Sequence[Step] = (), make_watch: Callable[[Connections, bool, str], Watch] = Watch,
    ) -> None:  # fmt: skip
        """`directory`, where modules are found too, is by default the current one. `pages` answers requests for web pages.
        `sockets` are by default bound here. `shared`: the parts that several workers share.
        `before` are parts that start before all others. `make_watch`: makes the observer of the connections."""
        self.settings, self.loop, self.state, self._environ = settings, loop, State.STOPPED, environ
        loop.set_exception_handler((failures := UncaughtFailures()).in_loop)
        self.connections, self.wheel, self.calls = Connections(app_names(settings)), Wheel(loop, failures.of_deadline), ThreadCalls(loop)
        self.watch = make_watch(self.connections, settings.logging.connections, settings.logging.access_format)
        self.notifier = Notifier.from_environment(environ)
        self._status: Callable[[], str] = lambda: f"{self.state.value}, {len(self.connections)} connections"
        self.sockets, self.broadcast = sockets or Sockets(environ), partial(broadcast_from, self)
        self.take = partial(take_resources, directory=directory, watch=self.watch, absence=self.wheel.absence, shared=shared)
        self.assemble = partial(
            assemble, watch=self.watch, loop=loop, reactor=reactor, wheel=self.wheel, connections=self.connections,
            calls=self.calls, broadcast=self.broadcast, state=lambda: self.state, notifier=self.notifier, pages=pages, shared=shared,
        )  # fmt: skip
        self.started, self.before, self.drop = list[Step](), before, self.connections.abort_all
        self.operations, self.since = operations_of(self), time.time()

    def open(self) -> None:
        """Take modules, files and sockets, and make the parts of them. StartError with every problem; then no socket is open."""
        self.assembly = self.assemble(self.settings, self.take(self.settings, self.sockets))
        self.mounts, self.listeners, self.state = self.assembly.mounts, self.assembly.listeners, State.STARTING
        self.leave, self.reload = self.assembly.leaving.grace, self.assembly.reload

    async def start(self, accept: bool = True) -> None:
        """Start the parts in their order, the listeners last. If one fails, those that run are stopped and no socket stays open."""
        watchdog = Watchdog(self.notifier, watchdog_interval(self._environ, os.getpid()), self._status)
        self.started = await start_in_order([watchdog, *self.before, *self.assembly.parts], self.settings.daemon.start_timeout, self.close)
        if accept:
            self.begin()  # in the same turn of the loop: no client comes in between

    def begin(self) -> None:
        """Accept clients from now on; start() has done so unless it was told otherwise."""
        self.started.append(self.assembly.listening)
        self.assembly.listening.begin()
        self.state = State.READY
        self.notifier.ready(self._status())

    def close(self) -> None:
        """The start has failed, or all has stopped: close the sockets and remove their files."""
        self.assembly.resources.close()
        self.state = State.STOPPED

    async def stop(self) -> None:
        """Accept no more, close each connection with 1012 over `drain_over`, wait up to `drain_timeout`, abort the rest, stop the apps."""
        if self.started:
            started, self.started, self.state = self.started, [], State.DRAINING
            self.notifier.stopping("draining")
            log.info("stopping: {count} connections to close", count=len(self.connections))
            await stop_in_order(started)
            self.close()
            log.info("stopped")


def operations_of(daemon: Daemon) -> Operations:
    """The operator's commands to a daemon, with `status` as the first."""
    operations = Operations(lambda: shown_state(daemon).value)
    operations.add("status", partial(status_of, daemon), looks=True)
    add_drain(operations, lambda: daemon.assembly.leaving)
    operations.refuse("upgrade", NO_WORKERS)
    return operations


def shown_state(daemon: Daemon) -> State:
    """The state as readiness tells it, and before open() that of the daemon."""
    return daemon.state if daemon.state is not State.READY else daemon.assembly.leaving.state()


async def status_of(daemon: Daemon, arguments: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """The answer of a daemon of one process."""
    ports = [listener.port for listener in daemon.listeners]
    state, connections = shown_state(daemon).value, len(daemon.connections)
    return describe(daemon.settings, state=state, since=daemon.since, ports=ports, connections=connections)
