"""The daemon's log: an observer for ``twisted.logger`` that filters by level, renders, and writes without ever waiting for a reader."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel
from zope.interface import implementer

from wsdaemon.ops.log_destinations import (
    DescriptorDestination,
    Destination,
    FileDestination,
    LogError,
    SyslogDestination,
)
from wsdaemon.ops.log_format import LEVELS, RANKS, JsonRenderer, Renderer, TextRenderer, TextShape
from wsdaemon.ops.log_journal import JOURNAL_SOCKET, JournalDestination, JournalRenderer
from wsdaemon.ops.log_writing import NeverWaiting

FORMATS: Final = ("auto", "text", "json")
STANDARD_OUTPUT: Final = 1

MAY_WAIT: Final = frozenset((LogLevel.debug, LogLevel.info))
"""Levels whose entries may wait for the end of a turn of the loop."""

MAX_GATHERED_BYTES: Final = 64 * 1024

_INFO_RANK: Final = RANKS[LogLevel.info]
_NAMESPACES_REMEMBERED: Final = 4096
_NAMESPACE: Final = "wsdaemon.ops.logs"


@dataclass(frozen=True, slots=True)
class LogOptions:
    """The operator's choices for the log.

    ``level``: the lowest level that is written: debug, info, warn, error or critical. ``levels``: the same for the
    namespaces named and those below them (``wsdaemon.edge`` stands for ``wsdaemon.edge.tls`` too); the longest name wins.
    ``format``: "json"; "text"; or "auto", text that leaves the time to the journal when systemd reads standard output.
    ``destination``: "stdout", "journal", "syslog", the path of a file, or "auto", which is standard output.
    """

    level: str = "info"
    levels: Mapping[str, str] = field(default_factory=dict)
    format: str = "auto"
    destination: str = "auto"


class LevelFilter:
    """Decides by level and namespace. An event that is not wanted costs two look-ups.

    Raises LogError for a level that does not exist.
    """

    def __init__(self, level: str, levels: Mapping[str, str]) -> None:
        self._default = _rank(level, "level")
        self._named = {name: _rank(value, f"level of {name}") for name, value in levels.items()}
        self._known: dict[str, int] = {}

    @property
    def lowest(self) -> Any:
        """The lowest level that any namespace wants."""
        return LEVELS[min([self._default, *self._named.values()])]

    def wants(self, event: LogEvent) -> bool:
        """True if the event is to be written."""
        namespace = event.get("log_namespace") or ""
        threshold = self._known.get(namespace)
        if threshold is None:
            threshold = self._look_up(namespace)
        return RANKS.get(event.get("log_level"), _INFO_RANK) >= threshold

    def _look_up(self, namespace: str) -> int:
        name = namespace
        while name and name not in self._named:
            name = name.rpartition(".")[0]
        threshold = self._named.get(name, self._default)
        if len(self._known) < _NAMESPACES_REMEMBERED:  # a namespace may be made up by an app, once per connection even
            self._known[namespace] = threshold
        return threshold


def _rank(name: str, what: str) -> int:
    for level, rank in RANKS.items():
        if level.name == name:
            return rank
    names = ", ".join(level.name for level in LEVELS)
    raise LogError(f"{what}: {name!r} is not a log level; expected one of {names}")


def _write_to_standard_error(text: str) -> None:
    """One line, if standard error takes it at once: it may be the very pipe that is not read."""
    sink = NeverWaiting(2)
    with contextlib.suppress(OSError):
        sink.send(f"{text}\n".encode("utf-8", "backslashreplace"))
    sink.close()


@implementer(ILogObserver)
class DaemonLog:
    """The observer. ``open`` it before use; it raises nothing when it is called.

    Entries that could not be written are counted; one line on standard error says so when it begins, and a line in the log gives
    their number once writing works again.
    """

    def __init__(
        self,
        levels: LevelFilter,
        renderer: Renderer,
        destination: Destination,
        complain: Callable[[str], None] = _write_to_standard_error,
    ) -> None:
        self._levels = levels
        self._renderer = renderer
        self._destination = destination
        self._complain = complain
        self._lost = 0
        self._lock = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        if isinstance(destination, DescriptorDestination):
            destination.drained = self._drained
        self._log = Logger(_NAMESPACE, observer=cast(Any, self))  # mypy does not read zope's interfaces

    @property
    def lowest_level(self) -> Any:
        """The lowest level that is written for any namespace."""
        return self._levels.lowest

    @property
    def lost(self) -> int:
        """Entries lost since writing last worked."""
        return self._lost

    def __call__(self, event: LogEvent) -> None:
        """Write the event, if its level is wanted."""
        try:
            if not self._levels.wants(event):
                return
            entry = self._renderer(event)
        except Exception as error:
            entry = self._renderer(_event("an event could not be rendered: {problem}", LogLevel.error, problem=type(error).__name__))
        if entry is None:
            return
        loop = self._loop
        if loop is None or self._thread != threading.get_ident() or event.get("log_level") not in MAY_WAIT or not loop.is_running():
            with self._lock:
                self.flush()
                self._write(entry)
        else:
            self._gather(entry, loop)

    def gather(self, loop: asyncio.AbstractEventLoop) -> None:
        """Write the entries of one turn of `loop` together, where the destination is a stream of lines. Call it on the loop's thread.

        Entries of other threads, of level warn and above, and those that come while the loop does not run are written at once, behind the
        gathered ones. At the end of the process nothing is left.
        """
        if isinstance(self._destination, DescriptorDestination):
            self._loop, self._thread = loop, threading.get_ident()
            atexit.register(self.flush)

    def flush(self) -> None:
        """Write the gathered entries now."""
        with self._lock:
            entries, self._gathered, self._gathered_bytes = self._gathered, [], 0
            rest: Sequence[bytes] = entries
            if len(entries) > 1 and not self._lost and isinstance(self._destination, DescriptorDestination):
                rest = self._destination.write_together(entries)
            for entry in rest:
                self._write(entry)

    def _gather(self, entry: bytes, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._gathered.append(entry)
            self._gathered_bytes += len(entry)
            if len(self._gathered) == 1:
                loop.call_soon(self.flush)
            elif self._gathered_bytes > MAX_GATHERED_BYTES:
                self.flush()

    def open(self) -> None:
        """Open the destination; a second call does nothing. Raises LogError."""
        self._destination.open()

    @property
    def file(self) -> FileDestination | None:
        """The log file, if the log goes to one."""
        return self._destination if isinstance(self._destination, FileDestination) else None

    def reopen(self) -> bool:
        """Open the file anew after it was renamed, for SIGUSR1 and SIGHUP. On failure, which is logged, the old file stays: False."""
        self.flush()
        try:
            self._destination.reopen()
        except OSError as error:
            self._log.error(
                "cannot open {destination} again: {problem}; the old file stays in use",
                destination=self._destination.name,
                problem=error.strerror or str(error),
            )
            return False
        return True

    def choose(self, level: str, levels: Mapping[str, str]) -> None:
        """Write these levels from now on. Raises LogError, and then nothing has changed."""
        self._levels = LevelFilter(level, levels)

    def adopt(self, descriptor: int) -> None:
        """Write to this descriptor of the log file, which the supervisor has opened anew. The caller keeps its own copy."""
        self.flush()
        if self.file is not None:
            self.file.adopt(os.dup(descriptor))

    def close(self) -> None:
        """Write the gathered entries, and close the destination."""
        self.flush()
        self._destination.close()

    def _write(self, entry: bytes) -> None:
        with self._lock:
            try:
                if self._lost:
                    self._report_lost()
                self._destination.write(entry)
            except OSError as error:
                if self._lost == 0:
                    self._complain(f"wsdaemon: cannot write to {self._destination.name}: {error.strerror or error}; log entries are lost")
                self._lost += 1
            self._lost += self._destination.take_dropped()

    def _report_lost(self) -> None:
        """Say how many entries are missing here. Raises OSError while writing still fails."""
        lost = self._lost
        report = self._renderer(_event("{lost} log entries before this one could not be written", LogLevel.error, lost=lost))
        if report is not None:
            self._destination.write(report)
        self._lost -= lost

    def _drained(self) -> None:
        """The reader has caught up: tell at once how many entries it missed, because the next entry may be far away."""
        with self._lock, contextlib.suppress(OSError):
            self._lost += self._destination.take_dropped()
            if self._lost:
                self._report_lost()


def _event(template: str, level: Any, **fields: object) -> LogEvent:
    return {"log_format": template, "log_level": level, "log_namespace": _NAMESPACE, **fields}


def make_log(
    options: LogOptions,
    environ: Mapping[str, str],
    *,
    descriptor: int = STANDARD_OUTPUT,
    journal_socket: str = JOURNAL_SOCKET,
    syslog_prefix: str = "wsdaemon",
    owner: tuple[int, int] | None = None,
    worker: int | None = None,
    opened: int = -1,
) -> DaemonLog:
    """The log that the options ask for; nothing is opened yet.

    ``descriptor`` is standard output; ``owner`` is the user and group id that a new log file is given. ``worker`` is the number that
    each line carries; ``opened`` a descriptor of the log file, if it is open already. Raises LogError.
    """
    levels = LevelFilter(options.level, options.levels)
    if options.format not in FORMATS:
        raise LogError(f"format: {options.format!r} is not a log format; expected one of {', '.join(FORMATS)}")
    if not options.destination:
        raise LogError("destination: expected stdout, journal, syslog, auto or the path of a file")
    as_json = options.format == "json"
    destination: Destination
    match options.destination:
        case "journal":
            return DaemonLog(levels, JournalRenderer(worker), JournalDestination(journal_socket))
        case "syslog":
            destination, shape = SyslogDestination(syslog_prefix), TextShape.PREFIXED
        case "auto" | "stdout":
            destination, shape = DescriptorDestination(descriptor), stream_shape(options.format, environ, descriptor)
        case path:
            destination, shape = FileDestination(path, owner, opened), TextShape.PLAIN
    renderer = JsonRenderer(options.destination == "syslog", worker) if as_json else TextRenderer(shape, worker)
    return DaemonLog(levels, renderer, destination)


def stream_shape(format_name: str, environ: Mapping[str, str], descriptor: int) -> TextShape:
    """How text looks on this descriptor: coloured on a terminal, unless NO_COLOR is set (https://no-color.org) or TERM is "dumb";
    with format "auto" shaped for the journal when systemd says that it reads this descriptor; else plain."""
    if format_name == "auto" and _is_journal_stream(environ, descriptor):
        return TextShape.PREFIXED
    if os.isatty(descriptor) and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb":
        return TextShape.COLOURED
    return TextShape.PLAIN


def _is_journal_stream(environ: Mapping[str, str], descriptor: int) -> bool:
    """True if JOURNAL_STREAM (``device:inode``, systemd.exec(5)) names this very descriptor, and not one of a parent process."""
    named = environ.get("JOURNAL_STREAM")
    if not named:
        return False
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return named == f"{status.st_dev}:{status.st_ino}"
