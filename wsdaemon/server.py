"""The daemon as a Python object: the same tree, the same settings, the same messages, without an INI file."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, Unpack

from twisted.logger import globalLogBeginner

from .apps.coroutine import CoroutineConnection
from .apps.loading import LoadError, is_coroutine_app
from .apps.rooms import RoomsApp, RoomsHandle
from .core.blocking import BlockingConnection
from .core.closing import GOING_AWAY, checked_code
from .core.connection import Connection
from .core.contract import App
from .daemon.broadcast import of_apps
from .daemon.control import ControlChannel, Operations, take_socket
from .daemon.daemon import Daemon
from .daemon.embedded import EmbeddedDaemon
from .daemon.hooks import Hook, Hooks, Lifespan
from .daemon.parts import AppStep, StartError, State
from .daemon.process import Process
from .daemon.reactor import install, loop_of, new_loop, stop_reactor
from .daemon.signals import IN_PROGRAM, Signals, StartStopped
from .edge.pages import Pages
from .ops import log_standard
from .ops.logs import DaemonLog, LogOptions, make_log
from .options import AdminOptions, MountOptions, RouteOptions, ServerOptions
from .settings.build import Section, build, section
from .settings.control import AUTO, NONE
from .settings.daemon import LoggingSettings
from .settings.model import Settings
from .settings.problems import Problem, SettingsError
from .settings.server import sort_options

if TYPE_CHECKING:
    from .daemon.supervisor import Supervisor

SOURCE = "WebSocketServer"

Function = Callable[[CoroutineConnection], Coroutine[Any, Any, object]] | Callable[[BlockingConnection], None]
F = TypeVar("F", bound=Function)
H = TypeVar("H", bound=Hook)
L = TypeVar("L", bound=Lifespan)


class AutobahnProtocol(Protocol):
    """Has the method by which Autobahn's protocol classes are recognised. Their own types are not needed to mount them."""

    @property
    def sendMessage(self) -> Callable[..., Any]: ...

    @property
    def onMessage(self) -> Callable[..., Any]: ...


Mountable = Function | App | type[App] | type[AutobahnProtocol] | str
"""A coroutine function, a plain function, an app or its class, a WebSocketServerProtocol of Autobahn, or a name as in the INI file."""


class WebSocketServer:
    """A WebSocket server.

    Options bear the names of the INI file's keys, wherever they stand there: `max_connections`, `drain_timeout` (daemon),
    `handshake_timeout` (listener), `max_message`, `ping_interval`, `compression` (every route starts from them), `level`, `format`
    (logging). Sizes and durations may be text with a unit ("64KiB", "30s") or numbers of bytes and seconds. Raises SettingsError at once,
    with all that is wrong.
    """

    def __init__(
        self,
        port: int = 8080,
        *,
        host: str = "127.0.0.1",
        address: str | None = None,
        tls: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None,
        admin: AdminOptions | None = None,
        **options: Unpack[ServerOptions],
    ) -> None:
        """Listen on `host` and `port` (0: any free one; host "": every address), or on `address` as the INI file writes it.

        `tls` is the certificate's file (with its chain) and the key's. `admin` has the keys of an [admin] section; None: no such pages.
        """
        interface = f"[{host}]" if ":" in host else host
        listener: dict[str, Any] = {"address": address or f"tcp:{port}" + (f":interface={interface}" if host else "")}
        if tls is not None:
            listener["tls_certificate"], listener["tls_key"] = (Path(path) for path in tls)
        self._sections = sort_options(options, listener)
        if admin is not None:
            self._sections.append(section("admin", **admin))
        self._routes: list[Section] = []
        self._pages = Pages()
        self._hooks = Hooks()
        self._check([section("mount:/", app="echo")])
        self._daemon: Daemon | None = None
        self._supervisor: Supervisor | None = None
        self._embedded: EmbeddedDaemon | None = None
        self._thread: threading.Thread | None = None
        self._reactor: Any = None
        self._failed: BaseException | None = None

    @property
    def ws(self) -> Self:
        """The server itself, for those who like to write server.ws.run_forever()."""
        return self

    # -- what it serves

    def route(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Decorates `async def app(connection)`, or `def app(connection)`, to be served at `path`; see `connection.params` for `{name}`.

        `options` are those of a [mount:PATH] section. Raises SettingsError at once.
        """

        def decorate(function: F) -> F:
            name = getattr(function, "__qualname__", repr(function))
            try:
                is_coroutine_app(function, name)
            except LoadError as error:
                raise SettingsError([Problem(SOURCE, None, f"mount:{path}", "app", name, error.message)]) from None
            self.mount(path, function, **options)
            return function

        self._check([section(f"mount:{path}", **{"app": "echo", **options})])
        return decorate

    def mount(self, path: str, app: Mountable, **options: Unpack[MountOptions]) -> None:
        """Serve `app` at `path`: a function, something with open(), an Autobahn protocol class, "echo", "module:name"."""
        if self._daemon is not None:
            raise RuntimeError("the server runs already: mount before it starts")
        added = section(f"mount:{path}", app=app, **options)
        self._check([*self._routes, added])
        self._routes.append(added)

    def page(self, path: str, file: str | os.PathLike[str]) -> None:
        """Serve a file at `path` to browsers, so that a page has the origin that it connects to. OSError if it cannot be read.

        For development and small tools: each file is read once, now, and kept in memory, so restart the server after a change. Scripts and
        styles are in the page or are pages too; a page loads nothing from other origins. `path` is exact, and may be a mount's, because
        a request for a page has no Upgrade.
        """
        if self._daemon is not None:
            raise RuntimeError("the server runs already: add pages before it starts")
        self._pages.add(path, file)

    def on_startup(self, function: H) -> H:
        """Decorates a function, or coroutine function, that is called on the loop before the server accepts clients.

        If it raises, the server does not start. It may begin tasks of its own; on_shutdown() is where to end them.
        """
        self._hooks.startup.append(function)
        return function

    def on_shutdown(self, function: H) -> H:
        """Decorates a function, or coroutine function, that is called after all connections have closed. The last one comes first."""
        self._hooks.shutdown.append(function)
        return function

    def lifespan(self, function: L) -> L:
        """Decorates a function that makes an async context manager (contextlib.asynccontextmanager), which is open while the server
        serves: it is entered before the functions of on_startup() are called, and left after those of on_shutdown()."""
        self._hooks.lifespans.append(function)
        return function

    def _check(self, routes: list[Section]) -> Settings:
        settings = build([*self._sections, *routes], SOURCE)
        if settings.daemon.workers is not None:
            from .daemon.inheritance import unnamed_apps

            if problems := unnamed_apps(settings):
                raise SettingsError(problems)
            if self._hooks:
                raise RuntimeError("functions of on_startup, on_shutdown and lifespan run in one process: leave workers out")
        return settings

    # -- its life

    def run_forever(self, ready: Callable[[], object] = lambda: None) -> None:
        """Serve until SIGTERM or SIGINT, or stop() from another thread; then drain. Raises StartError when it cannot start.

        `ready` is called once, on the loop, when clients can connect: `port` is known then. With `workers` this process serves no client
        itself: the connections and rooms are those of the workers.
        """
        self._refuse_twice()
        settings = self._check(self._routes)
        log = _begin_logging(settings.logging)
        reactor, signals = install(), Signals()
        signals.install()
        try:
            if settings.daemon.workers is None:
                self._run(settings, reactor, signals, ready, own_process=True)
            else:
                self._supervise(settings, reactor, signals, ready, log)
        except StartStopped:
            return
        finally:
            signals.uninstall()

    def start(self) -> Self:
        """Serve in a thread of its own; returns when it is ready. Raises StartError when it cannot start."""
        self._refuse_twice()
        settings = self._check(self._routes)
        self._refuse_workers(settings)
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run_in_thread, args=(settings, ready), name="wsdaemon", daemon=True)
        self._thread.start()
        try:
            ready.result()
        except BaseException:
            self._thread.join()
            self._thread = None
            raise
        return self

    async def serve(self, ready: Callable[[], object] = lambda: None) -> None:
        """Serve in the asyncio program that runs, until this is cancelled, or stop() is called from anywhere; then drain.

        The loop, its signals and its exception handler stay the program's. `ready` is called once, when clients can connect. Raises
        StartError when it cannot start.
        """
        async with self:
            assert self._embedded is not None
            ready()
            await self._embedded.wait()

    async def __aenter__(self) -> Self:
        """Serve in the asyncio program that runs, until the block ends; then drain. StartError when it cannot start."""
        self._refuse_twice()
        settings = self._check(self._routes)
        self._refuse_workers(settings)
        self._embedded = EmbeddedDaemon(settings, self._pages.answer if self._pages else None, self._parts())
        try:
            await self._embedded.start()
        except BaseException:
            self._embedded = None
            raise
        self._daemon = self._embedded.daemon
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        assert self._embedded is not None
        try:
            await self._embedded.stop()
        finally:
            self._daemon = self._embedded = None

    def _refuse_twice(self) -> None:
        in_thread = self._thread is not None and self._thread.is_alive()
        if in_thread or self._daemon is not None or self._supervisor is not None or self._embedded is not None:
            raise RuntimeError("the server runs already")

    def _refuse_workers(self, settings: Settings) -> None:
        if settings.daemon.workers is not None:
            raise RuntimeError("workers are processes of a program's own: serve with run_forever(), or leave workers out")

    def _parts(self) -> list[AppStep]:
        return [AppStep(self._hooks, "the server's functions")] if self._hooks else []

    def stop(self) -> None:
        """Drain and stop. From another thread it waits until that is done; does nothing when the server does not run.

        In an asyncio program it ends serve(), and waits for nothing; an `async with` block ends by itself.
        """
        if self._embedded is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._embedded.end_soon()
            return
        daemon, thread = self._daemon or self._supervisor, self._thread
        if daemon is None or daemon.state is State.STOPPED:
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: it has stopped by itself meanwhile
            daemon.loop.call_soon_threadsafe(stop_reactor, self._reactor)
        if thread is not None and thread is not threading.current_thread():
            thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()

    def _run_in_thread(self, settings: Settings, ready: Future[None]) -> None:
        from twisted.internet.asyncioreactor import AsyncioSelectorReactor

        loop = new_loop()
        asyncio.set_event_loop(loop)
        try:
            self._run(settings, AsyncioSelectorReactor(loop), Signals(), lambda: ready.set_result(None), own_process=False)
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)
        finally:
            loop.close()

    def _run(self, settings: Settings, reactor: Any, signals: Signals, ready: Callable[[], object], *, own_process: bool) -> None:
        """`own_process`: signals and the garbage collector are ours; in a thread they are the program's."""
        pages = self._pages.answer if self._pages else None
        daemon = Daemon(settings, loop_of(reactor), reactor, pages=pages, before=self._parts())
        control = _control(settings, daemon.operations, loop_of(reactor))
        running = Process(daemon, reactor, signals, own_process=own_process, control=control)
        running.open()
        running.start()
        self._daemon, self._reactor = daemon, reactor
        reactor.addSystemEventTrigger("before", "shutdown", running.stop)
        reactor.callWhenRunning(ready)
        try:
            reactor.run(installSignalHandlers=own_process)
        finally:
            self._daemon = None

    def _supervise(
        self, settings: Settings, reactor: Any, signals: Signals, ready: Callable[[], object], log: DaemonLog | None
    ) -> None:  # fmt: skip
        """Serve in several processes. StartError if one of them does not start, now or later."""
        from .daemon.inheritance import make_heritage
        from .daemon.supervisor import Supervisor

        reasons: list[str] = []
        signals.about_upgrades = f"SIGUSR2: {IN_PROGRAM}"

        def end(reason: str) -> None:
            reasons.append(reason)
            stop_reactor(reactor)

        file = None if log is None else log.file
        opened = (lambda: -1) if file is None else (lambda: file.descriptor)
        heritage = make_heritage(settings, Path.cwd(), opened, self._pages.contents)
        supervisor = Supervisor(settings, loop_of(reactor), heritage, failed=end)
        supervisor.operations.refuse("upgrade", IN_PROGRAM)
        control = _control(settings, supervisor.operations, loop_of(reactor))
        reopen_log = (lambda: None) if log is None else partial(supervisor.reopen_for_all, log.reopen)
        running = Process(supervisor, reactor, signals, reopen_log=reopen_log, control=control)
        running.open()
        running.start()
        self._supervisor, self._reactor = supervisor, reactor
        reactor.addSystemEventTrigger("before", "shutdown", running.stop)
        reactor.callWhenRunning(ready)
        try:
            reactor.run()
        finally:
            self._supervisor = None
        if reasons:
            raise StartError(*reasons)

    # -- what it holds

    @property
    def rooms(self) -> RoomsHandle:
        """The rooms of the one mount whose app is rooms: `server.rooms["lobby"].publish("hello")`, from any thread.

        RuntimeError when the server does not run, or has no such mount, or several: then use rooms_at().
        """
        found = self._rooms_apps()
        if len(found) != 1:
            raise RuntimeError("several mounts run the app rooms: say which with rooms_at()" if found else "no mount runs the app rooms")
        return RoomsHandle(*found.values())

    def rooms_at(self, path: str) -> RoomsHandle:
        """The rooms of the mount at `path`, written as it was mounted. KeyError when no mount there runs the app rooms."""
        return RoomsHandle(self._rooms_apps()[path])

    def _rooms_apps(self) -> dict[str, RoomsApp]:
        return {mount.path: mount.app for mount in self._running().mounts if isinstance(mount.app, RoomsApp)}

    @property
    def port(self) -> int:
        """The TCP port of a running server: what `port=0` has become. RuntimeError when it does not run or has none."""
        supervised = self._supervisor
        ports = [listener.port for listener in self._running().listeners] if supervised is None else supervised.ports
        for port in ports:
            if port is not None:
                return port
        raise RuntimeError("the server listens on no TCP port")

    @property
    def connections(self) -> list[Connection]:
        """The open connections of its mounts, as they are now; empty when the server does not run. In any thread."""
        return [] if self._daemon is None else list(of_apps(self._daemon.connections))

    def broadcast(
        self, message: str | bytes | bytearray | memoryview, *, where: str | Callable[[Connection], object] | None = None
    ) -> None:
        """Send a message to many connections, from any thread, and wait for no client.

        `where` is the path of a mount, written as it was mounted, or a function that is called on the loop with each open connection and
        says whether it gets the message; None: all connections of the server. The message leaves in later turns of the loop, in slices
        between which all else goes on. Broadcasts keep their order, also among the messages that the same thread sends with
        `connection.send()`. The mount's `slow_client` decides what happens to a client that reads too slowly.

        TypeError if it is no message, KeyError if no mount has the path, SendQueueFull if too many messages wait, RuntimeError if the
        server does not run.
        """
        self._running().broadcast(message, where)

    def close_all(self, code: int = GOING_AWAY, reason: str = "") -> None:
        """Begin the closing handshake on all connections, from any thread, after the messages that it has sent.

        ValueError for a code that may not be sent, SendQueueFull if too many messages wait.
        """
        daemon = self._running()
        daemon.calls.add(partial(daemon.connections.close_all, checked_code(code), reason))

    def _running(self) -> Daemon:
        if self._supervisor is not None:
            raise RuntimeError("the server has workers: its connections and rooms are in other processes, which the [admin] pages reach")
        if self._daemon is None:
            raise RuntimeError("the server does not run")
        return self._daemon


def _control(settings: Settings, operations: Operations, loop: asyncio.AbstractEventLoop) -> ControlChannel | None:
    """The control channel, if the program chose an address for it: there is no file that `auto` could make a path from."""
    if settings.daemon.control in (AUTO, NONE):
        return None
    return ControlChannel(partial(take_socket, settings, Path.cwd()), operations, loop)


def _begin_logging(chosen: LoggingSettings) -> DaemonLog | None:
    """Log as the settings say, unless the program has begun to log by itself: then None."""
    if globalLogBeginner._temporaryObserver is None:
        return None
    log = make_log(
        LogOptions(level=chosen.level, levels=chosen.levels, format=chosen.format, destination=str(chosen.destination)), os.environ
    )
    log.open()
    globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)  # type: ignore[list-item]
    if not logging.getLogger().handlers:
        log_standard.connect(log)
    return log
