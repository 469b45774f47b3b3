"""Where log entries go: a descriptor such as standard output, a file that can be re-opened, or syslog. The journal is in log_journal."""

from __future__ import annotations

import os
import syslog
from pathlib import Path
from typing import Final, Protocol

FILE_MODE: Final = 0o640


class LogError(Exception):
    """The log cannot be set up as asked; the text says what is wrong and is meant for the operator."""


class Destination(Protocol):
    """Takes whole entries, in order."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def open(self) -> None:
        """Get ready to write. Raises LogError."""

    def write(self, entry: bytes) -> None:
        """Write one entry. Raises OSError when it is lost."""

    def reopen(self) -> None:
        """Open anew by name, where there is one. Raises OSError, and then goes on as before."""

    def close(self) -> None:
        """Give back what ``open`` took."""


class DescriptorDestination:
    """A descriptor that is already open and stays open: standard output."""

    def __init__(self, descriptor: int, name: str = "standard output") -> None:
        self.descriptor = descriptor
        self.name = name
        self._torn = False

    def open(self) -> None:
        """Nothing to do."""

    def write(self, entry: bytes) -> None:
        """Write straight to the descriptor, one system call an entry, so that lines of several processes do not mix."""
        if self._torn:
            entry = b"\n" + entry  # ends what is left of an entry that was cut, so that this one stands on its own line
        written = 0
        try:
            while written < len(entry):
                written += os.write(self.descriptor, entry[written:])
        except OSError:
            self._torn = self._torn or written > 0
            raise
        self._torn = False

    def reopen(self) -> None:
        """Nothing to do: there is no name to open."""

    def close(self) -> None:
        """Nothing to do: the descriptor is not ours."""


class FileDestination(DescriptorDestination):
    """A file that grows at its end, created with mode 0640, and re-opened by name after logrotate has moved it away.

    ``owner`` (user id, group id) is given to a file that we create; it is for a daemon that starts as root and then
    changes to that user, so that it can open the file again.
    """

    def __init__(self, path: str, owner: tuple[int, int] | None = None) -> None:
        # Made absolute now: twistd changes its directory after the log was opened.
        self.path = str(Path(path).absolute())
        super().__init__(-1, self.path)
        self._owner = owner

    def open(self) -> None:
        """Open the file. Raises LogError."""
        if self.descriptor >= 0:
            return
        try:
            self.descriptor = self._open_file()
        except OSError as error:
            raise LogError(f"cannot open the log file {self.path}: {error.strerror}") from error

    def reopen(self) -> None:
        """Open the file anew by its name. Raises OSError, and then the old file stays in use."""
        fresh = self._open_file()
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
        """Close the file."""
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
        except FileExistsError:  # somebody else created it in between; or a symbolic link to nothing, which is an error
            return os.open(self.path, flags)
        try:
            os.fchmod(descriptor, FILE_MODE)  # whatever the umask is; twistd's is 077 when it daemonizes
            if self._owner is not None:
                os.fchown(descriptor, *self._owner)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor


class SyslogDestination:
    """The system's syslog, through the C library. Takes lines that begin with ``<N>``, a syslog priority."""

    def __init__(self, prefix: str) -> None:
        self.name = "syslog"
        self._prefix = prefix

    def open(self) -> None:
        """Tell the C library the prefix; facility and options are those that ``twistd --syslog`` uses."""
        syslog.openlog(self._prefix, 0, syslog.LOG_USER)

    def write(self, entry: bytes) -> None:
        """Hand each line over. The C library reports no failures."""
        for line in entry.decode("utf-8").splitlines():
            syslog.syslog(int(line[1]), line[3:])

    def reopen(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do: another part of the process may use the C library's connection."""
