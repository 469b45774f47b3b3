"""Writing to a descriptor without ever waiting for its reader.

Standard output is shared: setting O_NONBLOCK on it would change it for the shell and for every other process that has it. So a pipe or a
terminal is opened once more, with O_NONBLOCK on the new descriptor alone, and a socket is told with each call not to wait.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import socket
import stat
from typing import Final

PIPE_BYTES: Final = 1024 * 1024
"""The capacity that a pipe is given, where the kernel allows it; 64 KiB are usual, which a burst of lines fills within a millisecond."""

_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_TERMINAL_CHUNK_BYTES: Final = 64


class NeverWaiting:
    """A descriptor that is written to as far as its reader follows."""

    def __init__(self, descriptor: int) -> None:
        """`descriptor` stays open, stays the caller's, and keeps its flags."""
        self._descriptor = descriptor
        self._own: int | None = None
        self._socket: socket.socket | None = None
        self._chunk = 0
        try:
            mode = os.fstat(descriptor).st_mode
        except OSError:
            return  # a write says what is wrong
        if stat.S_ISSOCK(mode):
            with contextlib.suppress(OSError):
                self._socket = socket.socket(fileno=os.dup(descriptor))
        elif stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            self._open_again(terminal=stat.S_ISCHR(mode))
        if stat.S_ISFIFO(mode):
            with contextlib.suppress(OSError):
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def _open_again(self, terminal: bool) -> None:
        if fcntl.fcntl(self._descriptor, fcntl.F_GETFL) & os.O_NONBLOCK:
            return
        names = [f"/proc/self/fd/{self._descriptor}"]
        if terminal and _is_controlling(self._descriptor):
            names.append("/dev/tty")  # any user may open it, also if the terminal belongs to another
        for name in names:
            with contextlib.suppress(OSError):
                self._own = os.open(name, _FLAGS)
                return
        # Neither can be opened. Small writes to a descriptor that `poll` calls writable do not wait.
        self._chunk = _TERMINAL_CHUNK_BYTES if terminal else select.PIPE_BUF

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._descriptor if self._own is None else self._own

    def send(self, data: bytes) -> int:
        """Write at least one byte of `data` and return how many. BlockingIOError when there is no room, OSError when the reader is gone."""
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        if self._chunk:
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            if not poll.poll(0):
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            data = data[: self._chunk]
        return os.write(self.fileno(), data)

    def close(self) -> None:
        """Give back what was opened here."""
        own, self._own = self._own, None
        if own is not None:
            os.close(own)
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _is_controlling(descriptor: int) -> bool:
    """Whether a terminal is the one that /dev/tty stands for."""
    try:
        os.tcgetpgrp(descriptor)
    except OSError:
        return False
    return True
