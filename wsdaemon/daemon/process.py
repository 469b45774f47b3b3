"""The one start sequence of a process, whether twistd, WebSocketServer or a supervisor started it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from ..ops.control import BUSY
from .control import ControlChannel, OperationFailed, Say
from .reactor import loop_of, settle, stop_reactor
from .signals import Signals, StartStopped, hold_signals

RELOAD: Final = "reload"

log = Logger(namespace="wsdaemon")


class Served(Protocol):
    """The content of a process: the daemon itself, a supervisor with its children, or one of these."""

    def open(self) -> None:
        """Take modules, files and sockets. StartError with every problem."""

    def start(self) -> Coroutine[Any, Any, None]:
        """Start everything; StartError, and then it is as after close()."""

    def close(self) -> None:
        """The start has failed: nothing stays open."""

    def reload(self) -> object:
        """Read again whatever a reload reads."""

    def drop(self) -> None:
        """Wait for no client any more."""

    def leave(self) -> Coroutine[Any, Any, None]:
        """SIGTERM, before stop(): be not ready any more, and serve on for `drain_grace`."""

    def stop(self) -> Coroutine[Any, Any, None]:
        """Drain and stop."""


class Process:
    """One process that serves: `open()` while there are privileges, `start()`, then the reactor runs, and `stop()` before it ends."""

    def __init__(
        self, served: Served, reactor: Any, signals: Signals, *, reopen_log: Callable[[], object] = lambda: None, own_process: bool = True,
        control: ControlChannel | None = None,
    ) -> None:  # fmt: skip
        """`own_process`: the signals and the garbage collector are the daemon's. `control`: the channel of the operator's commands."""
        self._served = served
        self._reactor = reactor
        self._signals = signals
        self._reopen_log = reopen_log
        self._own_process = own_process
        self._leaving: asyncio.Task[None] | None = None
        self._control = control
        self._reloading: asyncio.Task[None] | None = None
        self._again = False
        self.loop = loop_of(reactor)
        if control is not None:
            control.operations.add("reopen-logs", self._reopen_asked, looks=True)

    def open(self) -> None:
        """Take modules, files and sockets. StartError with every problem; StartStopped if a signal ends the start."""
        with self._signals.ending_with_an_exception():
            self._served.open()
            try:
                if self._control is not None:
                    self._control.open()
            except BaseException:
                self._served.close()
                raise

    def start(self) -> None:
        """Start all parts: when it returns, clients are served as soon as the reactor runs. StartError, or StartStopped.

        The reactor does not run yet, so its loop can be run until all has started: a failure still ends the start with status 1.
        """
        starting = self.loop.create_task(self._start())
        self._signals.direct(self.loop, starting.cancel, starting.cancel)
        try:
            self.loop.run_until_complete(starting)
        except asyncio.CancelledError:
            self._close()  # cancelled before it began, start() could not
            raise StartStopped from None
        except BaseException:
            self._close_control()
            raise
        if self._own_process:
            settle()
            hold_signals(self._reactor, self._signals)
        stop = partial(stop_reactor, self._reactor)
        self._signals.direct(self.loop, stop, self._drop, self.reload, self.reopen_log, self._leave)

    async def _start(self) -> None:
        if self._control is not None:
            await self._control.start()
        await self._served.start()

    def _close(self) -> None:
        self._served.close()
        self._close_control()

    def _close_control(self) -> None:
        if self._control is not None:
            self._control.close()

    def reload(self) -> None:
        """SIGHUP: open the log anew, and read again what a reload reads."""
        self.reopen_log()
        if self._control is None or not self._control.operations.knows(RELOAD):
            self._served.reload()
        elif self._reloading is None:
            self._reloading = self.loop.create_task(self._reload())
        else:
            self._again = True

    async def _reload(self) -> None:
        """SIGHUP as the command `reload`; once more if the signal came again meanwhile. The operation logs its end.

        It waits for another operation under way. An upgrade replaces this program meanwhile: the next one gets the signal again.
        """
        assert self._control is not None
        operations = self._control.operations
        try:
            while True:
                if operations.running:
                    log.info("SIGHUP: {operation} is under way; the daemon reloads after it", operation=operations.running)
                    self._signals.owed.add(signal.SIGHUP)
                    await operations.until_free()
                    self._signals.owed.discard(signal.SIGHUP)
                self._again = False
                answer = await operations.run(RELOAD, {}, lambda line: None)
                if answer["status"] == BUSY:
                    log.warn("SIGHUP: {problem}", problem="; ".join(answer["problems"]))
                if not self._again:
                    return
        finally:
            self._signals.owed.discard(signal.SIGHUP)
            self._reloading = None

    def _forget_reload(self) -> None:
        """The daemon stops: a SIGHUP that waits for the operation under way has no effect any more."""
        if self._reloading is not None:
            self._reloading.cancel()

    def _leave(self) -> None:
        """SIGTERM. The operation under way ends at once: an upgrade would replace this program, which knows of the stop."""
        if self._control is not None:
            self._forget_reload()
            self._control.operations.end()
        self._leaving = self.loop.create_task(self._served.leave())
        self._leaving.add_done_callback(lambda leaving: stop_reactor(self._reactor))

    def _drop(self) -> None:
        self._served.drop()
        stop_reactor(self._reactor)

    def reopen_log(self) -> bool:
        """SIGUSR1: open the log anew, and nothing else. False if the old file stays in use, because the new one cannot be opened."""
        return self._reopen_log() is not False

    async def _reopen_asked(self, arguments: Mapping[str, Any], say: Say) -> Mapping[str, Any]:
        if not self.reopen_log():
            raise OperationFailed("the log file cannot be opened again; the log has the reason, and the old file stays in use")
        return {}

    def stop(self) -> Deferred[None]:
        """Drain and stop. The Deferred is for the reactor, which waits for it."""
        if self._leaving is not None:
            self._leaving.cancel()
        return Deferred.fromFuture(self.loop.create_task(self._stop()))

    async def _stop(self) -> None:
        """The operation under way ends first; the channel answers questions about the state until the end."""
        if self._control is not None:
            self._forget_reload()
            await self._control.operations.cancel()
        await self._served.stop()
        if self._control is not None:
            await self._control.stop()
