"""The signals of a process: to stop, to reload, to replace workers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, Final

from twisted.logger import Logger

log = Logger(namespace="wsdaemon")


WITHOUT_WORKERS: Final = "SIGUSR2 replaces workers; this daemon runs without workers, so it does nothing"
IN_WORKER: Final = "SIGUSR2 does nothing in a worker: the supervisor takes it for an upgrade"
IN_PROGRAM: Final = "only a daemon of an INI file can be upgraded, because this program is not the daemon's own: start it anew for new code"


class StartStopped(KeyboardInterrupt):
    """A signal asked the process to stop before the daemon was ready. No handler of `Exception` in users' modules catches it."""


class Signals:
    """SIGTERM and SIGINT stop, SIGHUP reloads, SIGUSR1 opens the log anew, SIGUSR2 is only logged.

    They are the daemon's from the first moment.

    The first request to stop drains, the second drops the connections, the third ends a process that does not react any more.
    Before the daemon is ready a request to stop ends the start, and the others wait.

    Twisted's own handlers would make twistd die of the signal after a clean stop; with these the exit status is 0.
    """

    STOP = (signal.SIGTERM, signal.SIGINT)
    LATER = (signal.SIGHUP, signal.SIGUSR1)
    """Signals that wait until the daemon is ready."""

    def __init__(self, stop: Sequence[signal.Signals] = STOP) -> None:
        """`stop`: those that stop this process."""
        self._stop_signals = stop
        self.about_upgrades = WITHOUT_WORKERS
        """The line of the log that answers SIGUSR2."""
        self.upgrade: Callable[[], object] | None = None
        """Called on the loop at SIGUSR2, instead of that line."""
        self.owed: set[int] = set()
        """Signals whose work waits for the end of an operation. A program that takes this process over must get them again."""
        self._before: dict[signal.Signals, Any] = {}
        self._stops = 0
        self._waiting: set[int] = set()
        self._raises = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: Callable[[], object] = lambda: None
        self._stop_now: Callable[[], object] = lambda: None
        self._leave: Callable[[], object] = lambda: None
        self._later: dict[int, Callable[[], object]] = {}

    def install(self) -> None:
        """Take the signals over; again later if Twisted has set handlers of its own. Only the main thread can: others do nothing."""
        if threading.current_thread() is not threading.main_thread():
            return
        handlers = {
            **dict.fromkeys(self._stop_signals, self._stop_asked),
            **dict.fromkeys(self.LATER, self._asked_for_later),
            signal.SIGUSR2: self._upgrade_asked,
        }
        for number, handler in handlers.items():
            self._before.setdefault(number, signal.signal(number, handler))

    @property
    def stopping(self) -> bool:
        """Whether a signal has asked for a stop, also if the loop has not heard of it yet."""
        return self._stops > 0

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
        reload: Callable[[], object] | None = None, reopen: Callable[[], object] | None = None, leave: Callable[[], object] | None = None,
    ) -> None:  # fmt: skip
        """Have these called on the loop from now on: `reload` at SIGHUP, `reopen` at SIGUSR1; None: not yet. At SIGTERM `leave` is
        called, or `stop` if that is None."""
        self._loop, self._stop, self._stop_now, self._leave = loop, stop, stop_now, leave or stop
        self._later = {number: call for number, call in zip(self.LATER, (reload, reopen), strict=True) if call is not None}
        if self._stops:
            loop.call_soon_threadsafe(self._stop)
        for number in sorted(self._waiting & self._later.keys()):
            self._waiting.discard(number)
            loop.call_soon_threadsafe(self._later[number])

    def _stop_asked(self, number: int, frame: FrameType | None) -> None:
        self._stops += 1
        if self._stops > 2:
            os._exit(1)  # a loop that does not turn any more
        if self._raises:
            raise StartStopped
        if self._loop is not None:
            first = self._leave if number == signal.SIGTERM else self._stop
            self._loop.call_soon_threadsafe(first if self._stops == 1 else self._stop_now)

    def _asked_for_later(self, number: int, frame: FrameType | None) -> None:
        if self._loop is None or number not in self._later:
            self._waiting.add(number)
        else:
            self._loop.call_soon_threadsafe(self._later[number])

    def _upgrade_asked(self, number: int, frame: FrameType | None) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.upgrade or (lambda: log.info(self.about_upgrades)))


HELD: Final = frozenset({*Signals.STOP, *Signals.LATER, signal.SIGUSR2})
"""Signals that wait while their handlers or the program change."""


def hold_signals(reactor: Any, signals: Signals) -> None:
    """While the reactor starts it sets handlers of its own for a moment: signals wait until ours are in place again."""
    if threading.current_thread() is threading.main_thread():
        def take_back() -> None:
            signals.install()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)

        reactor.addSystemEventTrigger("before", "startup", signal.pthread_sigmask, signal.SIG_BLOCK, HELD)
        reactor.callWhenRunning(take_back)
