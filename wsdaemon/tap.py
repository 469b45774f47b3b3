"""twistd's side: `twistd wsdaemon -c FILE`."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from twisted.application.service import IService, Service
from twisted.internet import defer
from twisted.logger import Logger
from twisted.python import usage

from .daemon.control import ControlChannel, take_socket
from .daemon.parts import StartError
from .daemon.pidfile import forget_stale
from .daemon.process import Process
from .daemon.reactor import install as install_reactor
from .daemon.reactor import loop_of, stop_reactor
from .daemon.signals import Signals, StartStopped
from .ops.log_destinations import LogError
from .ops.log_format import TextShape
from .ops.log_twistd import destination, log_for_twistd, syslog_prefix
from .ops.log_twistd import install as install_log
from .ops.log_writing import NeverWaiting
from .ops.logs import DaemonLog, LogOptions, stream_shape
from .settings import ini
from .settings.daemon import LoggingSettings
from .settings.model import Settings
from .settings.problems import Problem, SettingsError, joined
from .settings.reference import effective, reference_path
from .version import __version__

if TYPE_CHECKING:
    from .daemon.daemon import Daemon
    from .daemon.restarted import Restarted
    from .daemon.supervisor import Supervisor

logger = Logger(namespace="wsdaemon")


DEV = (
    "For development, on this machine alone: restart when code changes, show exceptions in close reasons, accept pages of localhost, "
    "and show frames on a terminal."
)


class Options(usage.Options):
    """The options after `wsdaemon` on twistd's command line."""

    synopsis = "[options]"
    longdesc = f"Serves WebSockets by the settings in an INI file. {reference_path()} has every key of that file, with its default."
    optParameters = [["config", "c", None, "The INI file with the settings."]]  # noqa: RUF012 - the form that Twisted asks for
    optFlags = [  # noqa: RUF012
        ["check", None, "Check the file, imports, certificates and addresses, print the listeners and mounts, and exit."],
        ["print-config", None, "Print the effective settings as an INI file, and exit."],
        ["dev", None, DEV],
        ["frame-log", None, "With --dev: show frames also if standard error is no terminal."],
    ]
    content: bytes | None = None
    settings: Settings
    directory: Path
    log: DaemonLog | None = None
    development: Restarted | None = None
    """With --dev: this process as the child of the one that watches files."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.signals = Signals()

    def opt_version(self) -> NoReturn:
        """Print wsdaemon's version and exit."""
        print(f"wsdaemon {__version__}")
        sys.exit(0)

    def postOptions(self) -> None:
        """Read the settings and install the reactor, before any import installs another one."""
        if not self["config"]:
            raise usage.UsageError("name the INI file: twistd wsdaemon -c FILE")
        if self["frame-log"] and not self["dev"]:
            raise usage.UsageError("--frame-log shows frames with --dev alone")
        self.directory = Path.cwd()
        serves = not (self["check"] or self["print-config"])
        if self["dev"] and serves:
            self._begin_development()
        if serves:
            self.signals.install()
        self.settings = self._read_settings()
        if self["print-config"]:
            print(effective(self.settings), end="")
            sys.exit(0)
        if self["check"]:
            from .daemon.check import check

            sys.exit(check(self.settings, self.directory))
        self._take_over_the_log()
        twistd: Mapping[str, Any] = self.parent or {}
        forget_stale(twistd.get("pidfile"))

    def _begin_development(self) -> None:
        """The parent never returns from here: it watches files, and starts children with its own command line. A child goes on to serve."""
        from .daemon.restarted import Restarted

        self.development = Restarted.take(os.environ)
        if self.development is None:
            from .daemon.restarting import Restarts

            line = [sys.executable, *sys.orig_argv[1:]]
            sys.exit(Restarts(line, self["config"], self.directory, say).run())
        self._install_reactor()
        from .daemon import daemon  # noqa: F401 - the spare child has imported all that it will need

        self.development.wait()
        self.signals = Signals(stop=(signal.SIGTERM,))  # Ctrl-C reaches the parent too, which ends this process
        if self.parent is not None:
            self.parent["nodaemon"] = True

    def _read_settings(self) -> Settings:
        """The settings, with the reactor installed. With any problem the process ends: it says all, also those of what they name."""
        problems: list[Problem] = []
        self.content = ini.read_content(self["config"], problems)
        settings = None if self.content is None else ini.parse(self.content, self["config"], problems)
        if settings is not None and not self["print-config"]:
            self._install_reactor()
            if problems:
                from .daemon.check import problems_beyond

                problems = joined(problems, [*self._log_problems(settings), *problems_beyond(settings, self.directory)])
        if settings is None or problems:
            fail(str(SettingsError(problems)))
        return settings if self.development is None else self._developed(settings)

    def _developed(self, settings: Settings) -> Settings:
        """The settings with those of --dev. Ends the process if --dev may not run with them."""
        from .daemon.development import refusals, relaxed

        assert self.development is not None
        if problems := refusals(settings):
            fail(str(SettingsError(problems)))
        self.development.directories = [self.directory, *settings.daemon.python_path]
        return relaxed(settings, self.shows_frames)

    @property
    def shows_frames(self) -> bool:
        """With --dev: on a terminal, and elsewhere if asked for."""
        return bool(self["frame-log"]) or os.isatty(2)

    def _install_reactor(self) -> None:
        try:
            install_reactor()
        except RuntimeError as error:
            fail(str(error))

    def _take_over_the_log(self) -> None:
        chosen = self.settings.logging
        options = LogOptions(level=chosen.level, levels=chosen.levels, format=chosen.format, destination=str(chosen.destination))
        try:
            self.log = log_for_twistd(options, self.parent or {}, os.environ)
        except LogError as error:
            fail(f"{self.settings.source}: [logging] {error}")
        if problems := self._log_problems(self.settings):
            from .daemon.check import problems_beyond

            fail(str(SettingsError([*problems, *problems_beyond(self.settings, self.directory)])))

    def _log_problems(self, settings: Settings) -> list[Problem]:
        """The problem of the log file, unless twistd's options name another destination."""
        from .daemon.check import log_problems

        twistd: Mapping[str, Any] = self.parent or {}
        return [] if any(twistd.get(option) for option in ("logfile", "logger", "syslog")) else log_problems(settings)


def fail(text: str, descriptor: int = 2) -> NoReturn:
    """End with status 1 and the reason on standard error."""
    # Not by way of sys.stderr: once twistd logs, that is the log.
    with contextlib.suppress(OSError):
        os.write(descriptor, (f"wsdaemon: {text}\n" if "\n" not in text else f"wsdaemon:\n{text}\n").encode(errors="replace"))
    sys.exit(1)


def say(text: str) -> None:
    """A line on standard error."""
    print(f"wsdaemon: {text}", file=sys.stderr, flush=True)


def same_file(one: int, other: int) -> bool:
    """Whether two descriptors lead to one file, pipe or terminal. True if one of them is closed."""
    try:
        return os.path.samestat(os.fstat(one), os.fstat(other))
    except OSError:
        return True


class DaemonService(Service):
    """A daemon as twistd starts and stops it."""

    name: Any = "wsdaemon"

    def __init__(self, options: Options) -> None:
        self._options = options
        self._log = options.log
        self._reopen_log: Callable[[], bool] = (lambda: True) if options.log is None else options.log.reopen
        self._twistd: Mapping[str, Any] = options.parent or {}
        self._terminal = 2
        self._failed = False
        atexit.register(self._exit_status)  # before others, so that it is called after them

    def setServiceParent(self, parent: Any) -> None:
        """twistd: makes us part of the application; the log is opened here, before twistd begins to log."""
        if self._log is not None:
            install_log(self._log, parent)
        if not self._twistd.get("nodaemon"):
            self._terminal = os.dup(2)  # a daemon's own soon is /dev/null, and the operator should see why it did not start
        super().setServiceParent(IService(parent))  # type: ignore[no-untyped-call]

    def privilegedStartService(self) -> None:
        """After the fork, before privileges are dropped."""
        options = self._options
        reactor = install_reactor()
        if self._log is not None:
            self._log.gather(loop_of(reactor))
        served = self._make(reactor)
        take = partial(take_socket, options.settings, options.directory, user=self._twistd.get("uid"))
        control = ControlChannel(take, served.operations, loop_of(reactor))
        if options.settings.daemon.workers is not None:
            self._allow_upgrades(served, control)
        self._process = Process(served, reactor, options.signals, reopen_log=self._reopen_log, control=control)
        self._go_on(self._process.open)
        self._add_reload(served)

    def _add_reload(self, served: Daemon | Supervisor) -> None:
        """The command `reload`, and SIGHUP, read the settings file again."""
        if self._options.settings.daemon.workers is not None:
            cast("Supervisor", served).reload_from_file()
            return
        if self._options.development is not None:  # a change of the file restarts the daemon
            return
        from .daemon.reload import reloading_of

        def choose_levels(chosen: LoggingSettings) -> None:
            if self._log is not None:
                self._log.choose(chosen.level, chosen.levels)

        served.operations.add("reload", reloading_of(cast("Daemon", served), self._options.directory, choose_levels))

    def _make(self, reactor: Any) -> Daemon | Supervisor:
        """The daemon itself, or the supervisor of several processes. The modules of the other one are not imported."""
        options = self._options
        if options.development is not None:
            return self._make_developed(options.development, reactor)
        if options.settings.daemon.workers is None:
            from .daemon.daemon import Daemon

            return Daemon(options.settings, loop_of(reactor), reactor, directory=options.directory)
        from .daemon.inheritance import Heritage, InheritedLog
        from .daemon.supervisor import Supervisor

        told, file = str(options.settings.logging.destination), None if self._log is None else self._log.file
        log = InheritedLog(
            destination=told if self._log is None else destination(told, self._twistd), prefix=syslog_prefix(self._twistd),
            observer=self._twistd.get("logger") or "",
        )  # fmt: skip
        heritage = Heritage(
            text=(options.content or b"").decode(), directory=options.directory, log=log,
            log_descriptor=(lambda: -1) if file is None else (lambda: file.descriptor),
        )  # fmt: skip
        supervisor = Supervisor(options.settings, loop_of(reactor), heritage, failed=partial(self._end, reactor))
        self._reopen_log = partial(supervisor.reopen_for_all, self._reopen_log)
        return supervisor

    def _make_developed(self, development: Restarted, reactor: Any) -> Daemon:
        """The daemon of --dev."""
        from .daemon.daemon import Daemon
        from .daemon.development import IS_ON, DevelopmentWatch
        from .daemon.frame_log import FrameLog

        options = self._options
        daemon = Daemon(
            options.settings, loop_of(reactor), reactor, directory=options.directory, sockets=development.sockets, before=[development],
            make_watch=DevelopmentWatch,
        )  # fmt: skip
        if options.shows_frames:
            colours = stream_shape("text", os.environ, 2) is TextShape.COLOURED
            daemon.watch.frame_log = FrameLog(NeverWaiting(2).send, colours)
        logger.warn(IS_ON)
        return daemon

    def _allow_upgrades(self, supervisor: Any, control: ControlChannel) -> None:
        """The process is ours alone, so that its supervisor may execute new code in it."""
        from .daemon.reexecution import Reexecution

        pidfile = self._twistd.get("pidfile")
        flush = (lambda: None) if self._log is None else self._log.flush
        path = str(Path(pidfile).absolute()) if pidfile else ""
        supervisor.allow_upgrades(Reexecution(supervisor, control, path, flush, self._options.signals).run, self._options.signals)

    def _end(self, reactor: Any, reason: str) -> None:
        """A worker does not start any more: stop the others, and end with status 1."""
        self._failed = True
        stop_reactor(reactor)

    def _exit_status(self) -> None:
        """twistd ends with status 0 whenever its reactor has stopped, so the process ends here, after all else, if it has failed."""
        if self._failed:
            os._exit(1)

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._go_on(self._process.start)
        if self._terminal != 2:
            os.close(self._terminal)

    def _go_on(self, begin: Callable[[], None]) -> None:
        """One part of the start. If it fails, or a signal ends it, the process ends."""
        try:
            begin()
        except StartError as error:
            self._give_up(str(error))
        except StartStopped:
            logger.info("stopped while it was starting")
            self._forget_pidfile()
            self._tell_twistd(b"1 stopped while it was starting")
            sys.exit(0)

    def _give_up(self, text: str) -> NoReturn:
        """End the start as twistd does for an exception, but without its traceback: no pidfile stays, and the operator is told."""
        in_log = self._terminal != 2 or self._twistd.get("logfile") or self._twistd.get("syslog")
        destination = str(self._options.settings.logging.destination)
        if in_log or destination not in ("auto", "stdout") or not same_file(1, self._terminal):  # else it would stand on the terminal twice
            logger.error("{problem}", problem=text)
        self._forget_pidfile()
        self._tell_twistd(b"1 the start failed")
        fail(text, self._terminal)

    def _forget_pidfile(self) -> None:
        if pidfile := self._twistd.get("pidfile"):
            with contextlib.suppress(OSError):
                Path(pidfile).unlink()

    def _tell_twistd(self, text: bytes) -> None:
        """twistd waits at the other end of its pipe, and shows up to 98 bytes from the third on."""
        pipe = self._twistd.get("statusPipe")
        if pipe is not None:
            os.write(pipe, text)

    def stopService(self) -> defer.Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        return self._process.stop()


def makeService(options: Options) -> DaemonService:
    """twistd: the service for these options. Nothing is opened here, because twistd forks after it."""
    return DaemonService(options)
