"""Log entries for the systemd journal, in its native protocol.

Each entry is one datagram to ``/run/systemd/journal/socket``: ``NAME=value`` and a newline for each field, or, where the
value has a newline in it, ``NAME``, a newline, the length as 64 bits little-endian, the value and a newline. An entry that is too big
for a datagram goes as a sealed memory file whose descriptor is sent instead (https://systemd.io/JOURNAL_NATIVE_PROTOCOL).
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import sys
from typing import Final

from twisted.logger import LogEvent

from wsdaemon.ops.log_destinations import LogError
from wsdaemon.ops.log_format import PRIORITIES, failure_of, fields_of, level_of, message_of, namespace_of, printable

JOURNAL_SOCKET: Final = "/run/systemd/journal/socket"
IDENTIFIER: Final = "wsdaemon"

_FIELD_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}", re.ASCII)
_SEND_BUFFER: Final = 8 * 1024 * 1024
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class JournalRenderer:
    """Writes MESSAGE (with the traceback beneath), PRIORITY, SYSLOG_IDENTIFIER, WSDAEMON_NAMESPACE and a WSDAEMON_... per field.

    WSDAEMON_WORKER is the number of the worker.
    """

    def __init__(self, worker: int | None = None) -> None:
        self._worker = {} if worker is None else {"WSDAEMON_WORKER": str(worker)}

    def __call__(self, event: LogEvent) -> bytes | None:
        """The datagram of the event, or None for an event that says nothing."""
        message = printable(message_of(event))
        failure = failure_of(event)
        if failure is not None:
            # journalctl shows a message with unprintable characters only as "blob data".
            message = "\n    ".join([message, *(printable(line) for line in failure.split("\n"))])
        elif not message:
            return None
        fields = {
            "MESSAGE": message,
            "PRIORITY": str(PRIORITIES[level_of(event)]),
            "SYSLOG_IDENTIFIER": IDENTIFIER,
            "WSDAEMON_NAMESPACE": printable(namespace_of(event)),
            **self._worker,
        }
        for key, value in fields_of(event):
            name = f"WSDAEMON_{key.upper()}"
            if value is not None and _FIELD_NAME.fullmatch(name):
                fields.setdefault(name, str(value).lower() if isinstance(value, bool) else str(value))
        return b"".join(_encoded(name, value) for name, value in fields.items())


def _encoded(name: str, value: str) -> bytes:
    content = value.encode("utf-8", "backslashreplace")
    if b"\n" not in content:
        return b"%s=%s\n" % (name.encode("ascii"), content)
    return b"%s\n%s%s\n" % (name.encode("ascii"), len(content).to_bytes(8, "little"), content)


class JournalDestination:
    """journald's socket. Never waits: while journald does not read, entries are lost, counted and reported afterwards."""

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        self.name = f"the journal ({path})"
        self._path = path
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Make the socket and see that journald is there. Raises LogError."""
        if self._socket is not None:
            return
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        channel.setblocking(False)
        try:
            # Only a test: entries are sent by path, so that a journald that was restarted gets them too.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
                probe.connect(self._path)
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        except OSError as error:
            channel.close()
            raise LogError(f"cannot log to the journal: {self._path}: {error.strerror or error}; is systemd-journald running?") from error
        self._socket = channel

    def write(self, entry: bytes) -> None:
        """Send one entry. Raises OSError when journald does not take it."""
        if self._socket is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        try:
            self._socket.sendto(entry, self._path)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            self._send_as_file(self._socket, entry)

    def take_dropped(self) -> int:
        """Every entry was sent when `write` returned."""
        return 0

    def reopen(self) -> None:
        """Nothing to do: each entry is sent by path."""

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send_as_file(self, channel: socket.socket, entry: bytes) -> None:
        descriptor = os.memfd_create("wsdaemon-journal", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "wb", buffering=0) as memory:
            memory.write(entry)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)  # journald takes only what can no longer change
            # Not socket.send_fds: Python 3.11's does not use its address argument.
            channel.sendmsg([], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptor.to_bytes(4, sys.byteorder))], 0, self._path)
