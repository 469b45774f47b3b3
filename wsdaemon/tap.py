"""twistd's side: `twistd wsdaemon -c FILE`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from twisted.application.service import IService, Service
from twisted.internet import defer
from twisted.logger import Logger
from twisted.python import usage

from . import __version__
from .daemon import process
from .daemon.parts import Signals, StartError, settle, stopper
from .ops.log_destinations import LogError
from .ops.log_twistd import install as install_log
from .ops.log_twistd import log_for_twistd
from .ops.logs import DaemonLog, LogOptions
from .settings import ini
from .settings.model import Settings
from .settings.problems import SettingsError
from .settings.reference import effective, reference_path

logger = Logger(namespace="wsdaemon")


class Options(usage.Options):
    """The options after `wsdaemon` on twistd's command line."""

    synopsis = "[options]"
    longdesc = f"Serves WebSockets by the settings in an INI file. {reference_path()} has every key of that file, with its default."
    optParameters = [["config", "c", None, "The INI file with the settings."]]  # noqa: RUF012 - the form that Twisted asks for
    optFlags = [  # noqa: RUF012
        ["check", None, "Check the file, the imports and the certificates, print the listeners and mounts, and exit."],
        ["print-config", None, "Print the effective settings as an INI file, and exit."],
    ]
    settings: Settings
    log: DaemonLog | None = None

    def opt_version(self) -> NoReturn:
        """Print wsdaemon's version and exit."""
        print(f"wsdaemon {__version__}")
        sys.exit(0)

    def postOptions(self) -> None:
        """Read the settings and install the reactor, before any import installs another one."""
        if not self["config"]:
            raise usage.UsageError("name the INI file: twistd wsdaemon -c FILE")
        try:
            self.settings = ini.load(self["config"])
        except SettingsError as error:
            fail(str(error))
        if self["print-config"]:
            print(effective(self.settings), end="")
            sys.exit(0)
        try:
            process.install()
        except RuntimeError as error:
            fail(str(error))
        if self["check"]:
            from .daemon.check import check

            sys.exit(check(self.settings))
        self._take_over_the_log()

    def _take_over_the_log(self) -> None:
        chosen = self.settings.logging
        options = LogOptions(level=chosen.level, levels=chosen.levels, format=chosen.format, destination=str(chosen.destination))
        try:
            self.log = log_for_twistd(options, self.parent or {}, os.environ)
        except LogError as error:
            fail(f"{self.settings.source}: [logging] {error}")


def fail(text: str, descriptor: int = 2) -> NoReturn:
    """End with status 1 and the reason on standard error."""
    # Not by way of sys.stderr: once twistd logs, that is the log.
    with contextlib.suppress(OSError):
        os.write(descriptor, (f"wsdaemon: {text}\n" if "\n" not in text else f"wsdaemon:\n{text}\n").encode(errors="replace"))
    sys.exit(1)


class DaemonService(Service):
    """A daemon as twistd starts and stops it."""

    name: Any = "wsdaemon"

    def __init__(self, settings: Settings, log: DaemonLog | None, twistd: Mapping[str, Any]) -> None:
        """`twistd` is twistd's own options."""
        self._settings = settings
        self._log = log
        self._twistd = twistd
        self._terminal = 2

    def setServiceParent(self, parent: Any) -> None:
        """twistd: makes us part of the application; the log is opened here, before twistd begins to log."""
        if self._log is not None:
            install_log(self._log, parent)
        if not self._twistd.get("nodaemon"):
            self._terminal = os.dup(2)  # a daemon's own soon is /dev/null, and whoever started it should see why it did not
        super().setServiceParent(IService(parent))  # type: ignore[no-untyped-call]

    def privilegedStartService(self) -> None:
        """After the fork, before privileges are dropped."""
        from .daemon import daemon as service

        reactor = process.install()
        self._daemon = service.build(self._settings, process.loop_of(reactor), reactor)
        try:
            self._daemon.open()
        except StartError as error:
            self._give_up(str(error))

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        daemon = self._daemon
        reactor = process.install()
        signals = Signals(daemon.loop, stopper(reactor), daemon.stop_now, self._reload)
        daemon.about_to_listen = signals.install
        try:
            # The reactor does not run yet, so its loop can be run until all has started: a failure still ends the start with status 1.
            daemon.loop.run_until_complete(daemon.start())
        except StartError as error:
            self._give_up(str(error))
        if self._terminal != 2:
            os.close(self._terminal)
        settle()
        reactor.callWhenRunning(signals.install)

    def _give_up(self, text: str) -> NoReturn:
        """End the start as twistd does for an exception, but for its traceback: no pidfile stays, and whoever started a daemon is told."""
        twistd = self._twistd
        in_log = self._terminal != 2 or twistd.get("logfile") or twistd.get("syslog")
        if in_log or str(self._settings.logging.destination) not in ("auto", "stdout"):  # else it would stand on the terminal twice
            logger.error("{problem}", problem=text)
        if pidfile := twistd.get("pidfile"):
            with contextlib.suppress(OSError):
                Path(pidfile).unlink()
        pipe = twistd.get("statusPipe")
        if pipe is not None:  # twistd waits at its other end, and shows up to 98 bytes from the third on
            os.write(pipe, b"1 the start failed")
        fail(text, self._terminal)

    def stopService(self) -> defer.Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        return defer.Deferred.fromFuture(self._daemon.loop.create_task(self._daemon.stop()))

    def _reload(self) -> None:
        if self._log is not None:
            self._log.reopen()
        self._daemon.reload()


def makeService(options: Options) -> DaemonService:
    """twistd: the service for these options. Nothing is opened here, for twistd forks after it."""
    return DaemonService(options.settings, options.log, options.parent or {})
