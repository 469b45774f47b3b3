"""The process of a daemon: its reactor, its signals, and the one start sequence of twistd and WebSocketServer."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, cast

import uvloop
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

from ..edge.gate import AnswerPage
from ..settings.model import Settings
from .daemon import Daemon

log = Logger(namespace="wsdaemon")


# -- the reactor: Twisted's asyncio reactor on uvloop


def new_loop() -> asyncio.AbstractEventLoop:
    return cast(asyncio.AbstractEventLoop, uvloop.new_event_loop())


def install() -> Any:
    """Install the asyncio reactor as Twisted's, unless one is installed; the installed one. RuntimeError if that is of another kind."""
    if "twisted.internet.reactor" not in sys.modules:
        from twisted.internet import asyncioreactor

        loop = new_loop()
        asyncio.set_event_loop(loop)
        asyncioreactor.install(loop)
    from twisted.internet import reactor

    loop_of(reactor)
    return reactor


def loop_of(reactor: Any) -> asyncio.AbstractEventLoop:
    """The asyncio loop of a reactor. RuntimeError if the reactor has none."""
    loop = getattr(reactor, "_asyncioEventloop", None)
    if loop is None:
        name = type(reactor).__name__
        raise RuntimeError(
            f"wsdaemon runs on Twisted's asyncio reactor, and {name} is installed already: leave --reactor out, or say --reactor=asyncio"
        )
    return cast(asyncio.AbstractEventLoop, loop)


def stop_reactor(reactor: Any) -> None:
    """Stop the reactor, or let it stop as soon as it runs. If it is stopping already, do nothing."""

    def stop() -> None:
        with contextlib.suppress(ReactorNotRunning):
            reactor.stop()

    reactor.callWhenRunning(stop)


def settle() -> None:
    """Keep what imports left for good: no collection looks at it again, and the memory of what they dropped goes back to the system."""
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


# -- signals


class StartStopped(KeyboardInterrupt):
    """A signal asked the process to stop before the daemon was ready. No handler of `Exception` in users' modules catches it."""


class Signals:
    """SIGTERM and SIGINT stop, SIGHUP and SIGUSR1 reload, SIGUSR2 is only logged. They are the daemon's from the first moment.

    The first request to stop drains, the second drops the connections, the third ends a process that does not react any more.
    Before the daemon is ready a request to stop ends the start, and a request to reload waits.

    Twisted's own handlers would make twistd die of the signal after a clean stop; with these the exit status is 0.
    """

    STOP = (signal.SIGTERM, signal.SIGINT)
    RELOAD = (signal.SIGHUP, signal.SIGUSR1)  # SIGUSR1 rotates twistd's own log

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._stops = 0
        self._reload_waits = False
        self._raises = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: Callable[[], object] = lambda: None
        self._stop_now: Callable[[], object] = lambda: None
        self._reload: Callable[[], object] | None = None

    def install(self) -> None:
        """Take the signals over; again later if Twisted has set handlers of its own. Only the main thread can: others do nothing."""
        if threading.current_thread() is not threading.main_thread():
            return
        handlers = {
            **dict.fromkeys(self.STOP, self._stop_asked),
            **dict.fromkeys(self.RELOAD, self._reload_asked),
            signal.SIGUSR2: self._upgrade_asked,
        }
        for number, handler in handlers.items():
            self._before.setdefault(number, signal.signal(number, handler))

    def uninstall(self) -> None:
        """Put back the handlers that were there before the first install()."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    @contextlib.contextmanager
    def ending_with_an_exception(self) -> Iterator[None]:
        """While the loop does not run: a request to stop, also one of before, raises StartStopped here."""
        if self._stops:
            raise StartStopped
        self._raises = True
        try:
            yield
        finally:
            self._raises = False

    def direct(
        self, loop: asyncio.AbstractEventLoop, stop: Callable[[], object], stop_now: Callable[[], object],
        reload: Callable[[], object] | None = None,
    ) -> None:  # fmt: skip
        """Have these called on the loop from now on. `reload` None: not yet."""
        self._loop, self._stop, self._stop_now, self._reload = loop, stop, stop_now, reload
        if self._stops:
            loop.call_soon_threadsafe(self._stop)
        if reload is not None and self._reload_waits:
            self._reload_waits = False
            loop.call_soon_threadsafe(reload)

    def _stop_asked(self, number: int, frame: FrameType | None) -> None:
        self._stops += 1
        if self._stops > 2:
            os._exit(1)  # a loop that does not turn any more
        if self._raises:
            raise StartStopped
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop if self._stops == 1 else self._stop_now)

    def _reload_asked(self, number: int, frame: FrameType | None) -> None:
        if self._loop is None or self._reload is None:
            self._reload_waits = True
        else:
            self._loop.call_soon_threadsafe(self._reload)

    def _upgrade_asked(self, number: int, frame: FrameType | None) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(_tell_that_nothing_is_replaced)


def _tell_that_nothing_is_replaced() -> None:
    log.info("SIGUSR2 replaces workers; this daemon runs without workers, so it does nothing")


def hold_signals(reactor: Any, signals: Signals) -> None:
    """While the reactor starts it sets handlers of its own for a moment: signals wait until ours are in place again."""
    if threading.current_thread() is threading.main_thread():
        held = {*Signals.STOP, *Signals.RELOAD, signal.SIGUSR2}

        def take_back() -> None:
            signals.install()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, held)

        reactor.addSystemEventTrigger("before", "startup", signal.pthread_sigmask, signal.SIG_BLOCK, held)
        reactor.callWhenRunning(take_back)


# -- the start sequence


class Process:
    """One daemon in this process: `open()` while there are privileges, `start()`, then the reactor runs, and `stop()` before it ends."""

    def __init__(
        self, settings: Settings, reactor: Any, signals: Signals, *, reopen_log: Callable[[], object] = lambda: None,
        directory: Path | None = None, pages: AnswerPage | None = None, own_process: bool = True,
    ) -> None:  # fmt: skip
        """`directory` is where modules are found too. `own_process`: the signals and the garbage collector are the daemon's."""
        self._reactor = reactor
        self._signals = signals
        self._reopen_log = reopen_log
        self._own_process = own_process
        self.loop = loop_of(reactor)
        self.daemon = Daemon(settings, self.loop, reactor, directory=directory, pages=pages)

    def open(self) -> None:
        """Take modules, files and sockets. StartError with every problem; StartStopped if a signal ends the start."""
        with self._signals.ending_with_an_exception():
            self.daemon.open()

    def start(self) -> None:
        """Start all parts: when it returns, clients are served as soon as the reactor runs. StartError, or StartStopped.

        The reactor does not run yet, so its loop can be run until all has started: a failure still ends the start with status 1.
        """
        starting = self.loop.create_task(self.daemon.start())
        self._signals.direct(self.loop, starting.cancel, starting.cancel)
        try:
            self.loop.run_until_complete(starting)
        except asyncio.CancelledError:
            self.daemon.close()  # cancelled before it began, start() could not
            raise StartStopped from None
        if self._own_process:
            settle()
            hold_signals(self._reactor, self._signals)
        self._signals.direct(self.loop, lambda: stop_reactor(self._reactor), self._drop_connections, self.reload)

    def reload(self) -> None:
        """Open the log anew, and read again what a reload reads."""
        self._reopen_log()
        self.daemon.reload()

    def stop(self) -> Deferred[None]:
        """Drain and stop. The Deferred is for the reactor, which waits for it."""
        return Deferred.fromFuture(self.loop.create_task(self.daemon.stop()))

    def _drop_connections(self) -> None:
        """Drop the connections that a drain is still waiting for, and cancel the work of apps."""
        self.daemon.connections.background.hurry()
        for connection in self.daemon.connections:
            connection.abort()
