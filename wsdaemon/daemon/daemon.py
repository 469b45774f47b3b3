"""The tree of a daemon: built from settings, opened while there are privileges, started downwards and stopped upwards."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from ..apps.loading import LoadError
from ..core.closing import GOING_AWAY
from ..core.connection import Connection, Counts
from ..core.histogram import Histogram
from ..core.registry import Connections, Count
from ..core.wheel import Due, Wheel
from ..edge.auth.make import Authenticators, AuthError, make_authenticators
from ..edge.candidate import Entrance
from ..edge.gate import AnswerPage
from ..edge.listeners import Listener
from ..edge.sockets import ListenError, open_tcp, open_unix
from ..ops.connection_log import connection_closed, record_of
from ..ops.metrics import Totals
from ..ops.systemd import Activated, Notifier, SystemdError, adopt, choose, initial_environment, listen_descriptors, watchdog_interval
from ..settings.addresses import Address, SystemdAddress, TcpAddress, UnixAddress
from ..settings.model import ListenerSettings, Settings
from ..wire.frames import FramesUnavailable
from ..wire.frames import load as load_frames
from ..wire.turns import Turns
from ..wire.writer import make_flusher
from .listeners import Common, load_certificates, make_entrance, make_listener
from .mounts import Mount, Shared, make_mount
from .parts import AppStep, Callbacks, StartError, State, Step, Watchdog, start_in_order, stop_in_order

if TYPE_CHECKING:
    from ..edge.certificates import Certificates
    from ..edge.renewal import CertificateWatch
    from .admin import Admin

log = Logger(namespace="wsdaemon")
connection_log = Logger(namespace="wsdaemon.connection")
app_log = Logger(namespace="wsdaemon.app")


class Watch:
    """Told of each connection's beginning and end: keeps the registry, adds up what ended, writes the line at the end."""

    def __init__(self, connections: Connections, lines: bool) -> None:
        self._connections = connections
        self._lines = lines
        self.totals = Totals()

    def opened(self, connection: Connection) -> None:
        self._connections.add(connection)

    def closed(self, connection: Connection, counts: Counts) -> None:
        self._connections.remove(connection)
        self.totals.closed(connection, counts)
        if self._lines:
            connection_closed(connection_log, record_of(connection, counts))

    def app_failed(self, connection: Connection, doing: str, error: BaseException) -> None:
        app_log.failure(
            "{mount} failed while {doing} for connection {id}",
            failure=_failure(error),
            mount=connection.handshake.mount,
            doing=doing,
            id=connection.id,
        )


def _failure(error: BaseException) -> Failure:
    return Failure(error, type(error), error.__traceback__)


def loop_failed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody was there to catch: in a callback, a transport or a task that was forgotten. Never ends the daemon."""
    message, error = str(context.get("message", "unhandled error")), context.get("exception")
    if isinstance(error, type):  # aiofastnet gives the class where a client resets during the TLS handshake
        error = error()
    if isinstance(error, (ConnectionError, TimeoutError, ssl.SSLError)) or "SSL" in message:
        log.debug("{message}: {error}", message=message, error=str(error))
    elif isinstance(error, BaseException):
        log.failure("{message}", failure=_failure(error), message=message)
    else:
        log.error("{message}", message=message)


def _due_failed(item: Due, error: Exception) -> None:
    log.failure("a timer failed", failure=_failure(error))


class Daemon:
    """A whole daemon on one loop: `open()` while there are privileges, then `start()`, and in the end `stop()`."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop, reactor: Any, environ: Mapping[str, str] = os.environ) -> None:
        self.settings = settings
        self.loop = loop
        self.state = State.STOPPED
        self.environ = environ
        self.notifier = Notifier.from_environment(environ)
        self.connections = Connections()
        self.wheel = Wheel(loop, _due_failed)
        self.listeners: list[Listener] = []
        self.mounts: list[Mount] = []
        self.certificates: list[Certificates] = []
        self.authenticators = Authenticators(())
        self.admin: Admin | None = None
        self._round_trips = Histogram()
        self._frames = ""
        self._renewal: CertificateWatch | None = None
        self._passed: Sequence[Activated] | None = None
        self._adopted: list[Activated] = []
        self._reactor = reactor
        self._count = Count(settings.daemon.max_connections)
        self._started: list[Step] = []
        self._watch = Watch(self.connections, settings.logging.connections)
        self._drain: asyncio.Task[int] | None = None
        self.pages: AnswerPage | None = None
        """Gives out web pages beside the mounts, on every listener. Set before open()."""
        self.about_to_listen: Callable[[], None] = lambda: None
        """Called when all has started but the listeners: from the first connection on, a signal has to drain."""

    # -- before privileges are dropped

    def open(self) -> None:
        """Load the apps, read certificates, open the sockets. StartError when one of them cannot be."""
        self.state = State.STARTING
        self.loop.set_exception_handler(loop_failed)
        try:
            self._load()
            self.authenticators = self._load_authenticators()
            entrances = [make_entrance(mount, self.authenticators.chain(mount.settings.auth)) for mount in self.mounts]
            for settings in self.settings.listeners:
                self._open_listener(settings, entrances)
            self._open_admin()
        except BaseException:
            self._close_sockets()
            self.state = State.STOPPED
            raise

    def _load(self) -> None:
        daemon = self.settings.daemon
        sys.path[:0] = [str(path) for path in daemon.python_path if str(path) not in sys.path]
        try:
            frames = load_frames("python" if daemon.accelerator == "off" else daemon.accelerator)
        except FramesUnavailable as error:
            raise StartError(f"[daemon] accelerator = {daemon.accelerator}: {error}") from error
        shared = Shared(
            watcher=self._watch,
            wheel=self.wheel,
            flusher=make_flusher(self.loop.call_soon),
            turns=Turns(self.loop.call_soon),
            frames=frames,
            fast=daemon.accelerator != "off",
            next_id=self.connections.next_id,
            reactor=self._reactor,
            round_trips=None if self.settings.admin is None else self._round_trips,
        )
        for settings in self.settings.mounts:
            try:
                mount = make_mount(settings, shared)
                mount.wires.protocols.prepare()
            except LoadError as error:
                raise StartError(f"{self.settings.source}: [mount:{settings.path}] app = {error}") from error
            self.mounts.append(mount)
        reader = {"c": "compiled", "python": "Python"}[frames.name] if shared.fast else "Autobahn's own"
        self._frames = reader
        log.info("frame reader: {reader}{why}", reader=reader, why=f" ({frames.reason})" if frames.reason else "")

    def _load_authenticators(self) -> Authenticators:
        try:
            return make_authenticators(self.settings)
        except AuthError as error:
            raise StartError(str(error)) from error

    def _open_listener(self, settings: ListenerSettings, entrances: Sequence[Entrance]) -> None:
        where = f"{self.settings.source}: [listener:{settings.name}]"
        certificates = None
        if settings.secure:
            from ..edge import renewal

            try:
                certificates = load_certificates(self.settings, settings)
            except renewal.CertificateError as error:
                raise StartError(f"{where} {error}") from error
            assert certificates is not None
            self.certificates.append(certificates)
            self._renewal = renewal.CertificateWatch(self.certificates)
        try:
            sock = self._open_socket(settings.address, settings.backlog)
        except (ListenError, SystemdError) as error:
            raise StartError(f"{where} address = {settings.address}: {error}") from error
        retry_after = self.settings.daemon.retry_after
        common = Common(self.loop, self.wheel, self._count, retry_after, lambda: self.state is not State.READY, self.pages)
        self.listeners.append(make_listener(settings, sock, certificates, entrances, common))

    def _open_admin(self) -> None:
        if self.settings.admin is None:
            return
        # Here, for most of what stands behind it is Prometheus' library, and many daemons are not asked.
        from . import admin

        address = self.settings.admin.address
        parts = admin.Parts(
            settings=self.settings, loop=self.loop, wheel=self.wheel, state=lambda: self.state.value, frames=self._frames,
            count=self._count, totals=self._watch.totals, round_trips=self._round_trips, connections=self.connections,
            listeners=self.listeners, mounts=self.mounts, authenticators=self.authenticators,
        )  # fmt: skip
        try:
            self.admin = admin.Admin(self.settings.admin, self._open_socket(address, admin.BACKLOG), parts)
        except (ListenError, SystemdError) as error:
            raise StartError(f"{self.settings.source}: [admin] address = {address}: {error}") from error
        except admin.TokenError as error:
            raise StartError(f"{self.settings.source}: [admin] token_file: {error}") from error

    def _open_socket(self, address: Address, backlog: int) -> socket.socket:
        match address:
            case TcpAddress():
                return open_tcp(address, backlog)
            case UnixAddress():
                return open_unix(address, backlog)
            case SystemdAddress():
                return self._adopt(str(address.index) if address.index is not None else str(address.name))

    def _adopt(self, which: str) -> socket.socket:
        """The one socket that systemd passed under this index or name."""
        if self._passed is None:
            # Twisted's endpoints take the variables out of the environment when they are imported.
            self._passed = listen_descriptors(initial_environment(self.environ), os.getpid())
        found = choose(self._passed, which)
        if len(found) > 1:
            raise SystemdError(f"systemd passed {len(found)} sockets named {which}: give each its own FileDescriptorName")
        if found[0] in self._adopted:
            raise SystemdError("another listener has this socket already")
        self._adopted.append(found[0])
        return adopt(found[0])

    # -- the life

    async def start(self) -> None:
        """Start the apps, then accept. An app that cannot start ends the start; what had started is stopped."""
        steps: list[Step] = [Watchdog(self.notifier, watchdog_interval(self.environ, os.getpid()), self._status)]
        steps += [] if self.admin is None else [self.admin]
        steps += [
            AppStep(mount.app, f"{self.settings.source}: [mount:{mount.path}]")
            for mount in self.mounts
            if hasattr(mount.app, "start") and hasattr(mount.app, "stop")
        ]
        steps.append(self.authenticators)
        if self._renewal is not None:
            steps.append(self._renewal)
        steps.append(Callbacks("connections", lambda: None, self._drain_all))
        steps.append(Callbacks("listeners", self._start_listeners, self._close_listeners))
        try:
            self._started = await start_in_order(steps)
        except BaseException:
            self._close_sockets()
            self.state = State.STOPPED
            raise
        self.state = State.READY
        self.notifier.ready(self._status())

    async def stop(self) -> None:
        """Accept no more, close each connection with 1001, wait up to `drain_timeout`, abort the rest, stop the apps."""
        if self.state is not State.READY:
            return
        self.state = State.DRAINING
        self.notifier.stopping("draining")
        log.info("stopping: {count} connections to close", count=len(self.connections))
        await stop_in_order(self._started)
        self._started = []
        self.wheel.stop()
        self.state = State.STOPPED
        log.info("stopped")

    def stop_now(self) -> None:
        """Drop the connections that a drain is still waiting for."""
        for connection in self.connections:
            connection.abort()

    def reload(self) -> None:
        """SIGHUP: read the certificates and what authentication reads again, for new handshakes."""
        self.authenticators.refresh()
        if self.admin is not None:
            self.admin.refresh()
        if self._renewal is not None:
            self._renewal.reload()

    def _status(self) -> str:
        return f"{self.state.value}, {len(self.connections)} connections"

    def _start_listeners(self) -> None:
        self.about_to_listen()
        for listener, settings in zip(self.listeners, self.settings.listeners, strict=True):
            listener.start()
            what = "TLS" if settings.secure else "plain"
            port = f" (port {listener.port})" if isinstance(settings.address, TcpAddress) and not settings.address.port else ""
            log.info(
                "listening on {address}{port}, {what}, as {name}", address=str(settings.address), port=port, what=what, name=settings.name
            )

    def _close_sockets(self) -> None:
        """It will not start."""
        self._close_listeners()
        if self.admin is not None:
            self.admin.close()

    def _close_listeners(self) -> None:
        for listener in self.listeners:
            listener.stop()

    async def _drain_all(self) -> None:
        aborted = await self.connections.drain(self.settings.daemon.drain_timeout, GOING_AWAY)
        if aborted:
            log.warn("{count} connections did not close in time and were dropped", count=aborted)


def build(settings: Settings, loop: asyncio.AbstractEventLoop, reactor: Any, environ: Mapping[str, str] = os.environ) -> Daemon:
    """The daemon for `settings`; nothing is opened yet."""
    return Daemon(settings, loop, reactor, environ)
