"""The destinations of log entries: a descriptor such as standard output, a file that can be opened anew, or syslog.

The journal is in log_journal. No destination ever waits for its reader.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from wsdaemon.ops.log_writing import NeverWaiting

FILE_MODE: Final = 0o640

MAX_BACKLOG_BYTES: Final = 1024 * 1024
"""Of entries that wait in memory for a reader that is behind; a first entry is kept whole, however long it is."""

DRAIN_POLL_MILLISECONDS: Final = 1000
DRAIN_PAUSE_SECONDS: Final = 0.01
"""Between two attempts to pass on waiting entries, at least."""

SYSLOG_SOCKET: Final = "/dev/log"
SYSLOG_USER: Final = 8
"""The facility LOG_USER (RFC 3164 4.1.1), which ``twistd --syslog`` uses too."""

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class LogError(Exception):
    """The log cannot be set up as asked; the text is meant for the operator."""


class Destination(Protocol):
    """Takes whole entries, in order."""

    @property
    def name(self) -> str:
        """The destination's name in messages."""

    def open(self) -> None:
        """Get ready to write. Raises LogError."""

    def write(self, entry: bytes) -> None:
        """Write one entry. Raises OSError when it is lost."""

    def take_dropped(self) -> int:
        """How many entries `write` had accepted that were lost afterwards. Each is told once."""

    def reopen(self) -> None:
        """Open anew by name, where there is one. Raises OSError, and then goes on as before."""

    def close(self) -> None:
        """Give back all that `open` took."""


class DescriptorDestination:
    """A descriptor that is already open and stays open: standard output.

    Writing never waits. While the reader is behind, entries wait in memory, up to MAX_BACKLOG_BYTES; a thread that lives only as long as
    entries wait passes them on. Above that bound `write` raises BlockingIOError.
    """

    def __init__(self, descriptor: int, name: str = "standard output") -> None:
        self.descriptor = descriptor
        self.name = name
        self.drained: Callable[[], None] = lambda: None
        """Called in a thread of its own when the reader has caught up, or is gone."""
        self._lock = threading.Lock()
        self._sink: NeverWaiting | None = None
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._drainer: threading.Thread | None = None
        self._dropped = 0
        self._full = False
        self._torn = False

    def open(self) -> None:
        """Get ready to write, while there are still the privileges to open a terminal or a pipe once more."""
        if self._sink is None:
            self._sink = NeverWaiting(self.descriptor)

    def write(self, entry: bytes) -> None:
        """Write one entry, or keep it until the reader follows. Raises OSError when it is lost."""
        with self._lock:
            self._flush()
            if self._backlog:
                # Once full it stays closed until half of it is read, or each short entry would slip in between two long ones that are lost.
                bound = MAX_BACKLOG_BYTES // 2 if self._full else MAX_BACKLOG_BYTES
                self._full = self._backlog_bytes + len(entry) > bound
                if self._full:
                    raise BlockingIOError(errno.EAGAIN, "its reader does not keep up")
                self._keep(entry)
            else:
                self._put(entry)

    def write_together(self, entries: Sequence[bytes]) -> Sequence[bytes]:
        """Write entries in one system call, as far as the reader takes them at once; the rest is left to `write`. Raises nothing."""
        with self._lock:
            if self._backlog or self._torn or self._sink is None:
                return entries
            try:
                written = self._sink.send(b"".join(entries))
            except OSError:
                return entries
            for number, entry in enumerate(entries):
                if written < len(entry):
                    if not written:
                        return entries[number:]
                    self._keep(entry[written:])  # the rest of one that was cut
                    return entries[number + 1 :]
                written -= len(entry)
            return ()

    def take_dropped(self) -> int:
        """How many entries `write` had accepted that were lost afterwards. Each is told once."""
        with self._lock:
            dropped, self._dropped = self._dropped, 0
            return dropped

    def reopen(self) -> None:
        """Nothing to do: there is no name to open."""

    def close(self) -> None:
        """Write what the reader takes now, and give back what was opened here; the descriptor itself stays open."""
        with self._lock:
            with contextlib.suppress(OSError):
                self._flush()
            self._release()

    def _release(self) -> None:
        if self._sink is not None:
            self._sink.close()
            self._sink = None

    def _put(self, entry: bytes) -> None:
        """Write an entry in as few system calls as can be, so that lines of several processes do not mix. Its rest may wait."""
        if self._sink is None:
            self._sink = NeverWaiting(self.descriptor)
        if self._torn:
            entry = b"\n" + entry  # ends the rest of an entry that was cut, so that this one stands on its own line
        written = 0
        try:
            while written < len(entry):
                written += self._sink.send(entry[written:])
        except BlockingIOError:
            self._keep(entry[written:])
        except OSError:
            self._torn = self._torn or written > 0
            raise
        self._torn = False

    def _keep(self, entry: bytes) -> None:
        self._backlog.append(entry)
        self._backlog_bytes += len(entry)
        if self._drainer is None:
            self._drainer = threading.Thread(target=self._drain, name="log", daemon=True)
            self._drainer.start()

    def _flush(self) -> None:
        """Pass on what waits, as far as the reader follows. OSError when it is gone: then all that waited is dropped."""
        while self._backlog and self._sink is not None:
            entry = self._backlog[0]
            try:
                written = self._sink.send(entry)
            except BlockingIOError:
                return
            except OSError:
                self._dropped += len(self._backlog)
                self._backlog.clear()
                self._backlog_bytes = 0
                self._torn = True
                raise
            self._backlog_bytes -= written
            if written < len(entry):
                self._backlog[0] = entry[written:]
            else:
                self._backlog.popleft()

    def _drain(self) -> None:
        """In a thread: pass on what waits, until nothing does."""
        while True:
            with self._lock:
                with contextlib.suppress(OSError):
                    self._flush()
                if not self._backlog or self._sink is None:
                    self._drainer = None
                    break
                poll = select.poll()
                poll.register(self._sink.fileno(), select.POLLOUT)
            poll.poll(DRAIN_POLL_MILLISECONDS)
            time.sleep(DRAIN_PAUSE_SECONDS)
        self.drained()


def check_file(path: Path) -> None:
    """LogError if the log file cannot be opened, as far as that can be seen without making it."""
    directory = path.parent
    if path.is_dir():
        problem = "Is a directory"
    elif not directory.is_dir():
        problem = f"there is no directory {directory}"
    elif not (os.access(path, os.W_OK) if path.exists() else os.access(directory, os.W_OK | os.X_OK)):
        problem = "Permission denied"
    else:
        return
    raise LogError(f"cannot open the log file {path}: {problem}")


class FileDestination(DescriptorDestination):
    """A file that grows at its end, created with mode 0640, and re-opened by name after logrotate has moved it away.

    ``owner`` (user id, group id) is given to a file that we create; it is for a daemon that starts as root and then
    changes to that user, so that it can open the file again. ``opened`` is a descriptor of the file, if it is open already.
    """

    def __init__(self, path: str, owner: tuple[int, int] | None = None, opened: int = -1) -> None:
        # Made absolute now: twistd changes its directory after the log was opened.
        self.path = str(Path(path).absolute())
        super().__init__(opened, self.path)
        self._owner = owner

    def open(self) -> None:
        """Open the file. Raises LogError."""
        if self.descriptor >= 0:
            return
        try:
            self.descriptor = self._open_file()
        except OSError as error:
            raise LogError(f"cannot open the log file {self.path}: {_why_not(self.path, error)}") from error

    def reopen(self) -> None:
        """Open the file anew by its name. Raises OSError, and then the old file stays in use."""
        self.adopt(self._open_file())

    def adopt(self, fresh: int) -> None:
        """Write to this descriptor of the file from now on; another process may have opened it. It is this object's to close."""
        if self.descriptor < 0:
            self.descriptor = fresh
            return
        try:
            # In place: another thread may be about to write to the number that it has just read.
            os.dup2(fresh, self.descriptor, inheritable=False)
            self._torn = False
        finally:
            os.close(fresh)

    def close(self) -> None:
        """Write what the file takes now, and close it."""
        super().close()
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _open_file(self) -> int:
        # O_NONBLOCK: a FIFO without a reader, or a reader that has stopped, gives an error instead of stopping the daemon.
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            return os.open(self.path, flags)
        except FileNotFoundError:
            pass
        try:
            descriptor = os.open(self.path, flags | os.O_CREAT | os.O_EXCL, FILE_MODE)
        except FileExistsError:  # another process created it in between; or it is a symbolic link to nothing, which is an error
            return os.open(self.path, flags)
        try:
            os.fchmod(descriptor, FILE_MODE)  # independent of the umask; twistd's is 077 when it daemonizes
            if self._owner is not None:
                os.fchown(descriptor, *self._owner)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor


def _why_not(path: str, error: OSError) -> str:
    """Why a log file cannot be opened. The system's own words for a FIFO ("No such device or address") mislead."""
    if error.errno == errno.EISDIR:
        return "it is a directory; name a file in it"
    if error.errno == errno.ENXIO:
        return "it is a FIFO that no process reads, or a socket; start its reader first, or name a file"
    return error.strerror or str(error)


class SyslogDestination:
    """The system's syslog (RFC 3164), in entries of lines that begin with ``<N>``, a syslog priority.

    The C library's `syslog` waits for ever while the syslog daemon does not read, so lines are sent here, to its socket, without waiting.
    """

    def __init__(self, prefix: str, path: str = SYSLOG_SOCKET) -> None:
        self.name = "syslog"
        self._prefix = prefix.encode()
        self._path = path
        self._socket: socket.socket | None = None
        self._end = b""

    def open(self) -> None:
        """Connect. A syslog daemon that is not there yet is tried again with each entry."""
        with contextlib.suppress(OSError):
            self._connect()

    def write(self, entry: bytes) -> None:
        """Send each line. Raises OSError when the syslog daemon does not take it."""
        for line in entry.splitlines():
            priority = SYSLOG_USER | int(line[1:2])
            self._send(b"<%d>%s %s: %s" % (priority, _syslog_time(), self._prefix, line[3:]))

    def take_dropped(self) -> int:
        """Every entry was sent when `write` returned."""
        return 0

    def reopen(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, line: bytes) -> None:
        if self._socket is None:
            self._connect()
        try:
            self._send_whole(line + self._end)
        except BlockingIOError:
            raise
        except OSError:  # the syslog daemon was started anew
            self.close()
            self._connect()
            self._send_whole(line + self._end)

    def _send_whole(self, data: bytes) -> None:
        assert self._socket is not None
        if self._socket.send(data, socket.MSG_NOSIGNAL) < len(data):  # a stream, and its buffer is full
            self.close()
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def _connect(self) -> None:
        """Datagrams; a stream, with a NUL behind each line, where the syslog daemon wants one."""
        for kind, end in ((socket.SOCK_DGRAM, b""), (socket.SOCK_STREAM, b"\0")):
            channel = socket.socket(socket.AF_UNIX, kind)
            channel.setblocking(False)
            try:
                channel.connect(self._path)
            except OSError as error:
                channel.close()
                if error.errno != errno.EPROTOTYPE or end:
                    raise
            else:
                self._socket, self._end = channel, end
                return


def _syslog_time() -> bytes:
    """RFC 3164 4.1.2, in local time and English whatever the locale is."""
    now = time.localtime()
    return f"{_MONTHS[now.tm_mon - 1]} {now.tm_mday:2} {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}".encode()
