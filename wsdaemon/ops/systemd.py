"""Messages to systemd (sd_notify(3), the watchdog) and sockets from it (sd_listen_fds(3)). No library of systemd's is needed."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from twisted.logger import Logger

from wsdaemon.ops.log_format import printable

FIRST_DESCRIPTOR: Final = 3
"""SD_LISTEN_FDS_START: systemd passes its descriptors from here on."""

RETRY_SECONDS: Final = 0.1
"""Until a message that the manager's full queue did not take is sent again."""

MAX_WAITING_MESSAGES: Final = 16
"""Changes of state that wait for the manager; the oldest are dropped, because the newest counts."""

_FAMILIES: Final = {socket.AF_INET: "an IPv4", socket.AF_INET6: "an IPv6", socket.AF_UNIX: "a unix"}
_KINDS: Final = {socket.SOCK_STREAM: "stream", socket.SOCK_DGRAM: "datagram", socket.SOCK_SEQPACKET: "sequential-packet"}


class SystemdError(Exception):
    """systemd passed something unexpected; the text is meant for the operator."""


class Notifier:
    """Tells the service manager about our state. It never waits and never raises; a lost socket is logged once.

    If the manager's queue is full, a sign of life is dropped. A change of state is kept and sent again, because the manager would end a
    daemon that never says that it is ready.
    """

    def __init__(
        self,
        address: str | None,
        clock: Callable[[], int] = time.monotonic_ns,
        logger: Logger | None = None,
        later: Callable[[float, Callable[[], None]], object] | None = None,
    ) -> None:
        """`later` calls a function after so many seconds; by default the running loop does."""
        self._address = address
        self._clock = clock
        self._log = logger or Logger("wsdaemon.ops.systemd")
        self._later = later or _call_later
        self._socket: socket.socket | None = None
        self._failed = False
        self._waiting: list[bytes] = []
        self._timer = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """The notifier for NOTIFY_SOCKET: a path, or ``@name`` in the abstract namespace. The environment stays as it is."""
        return cls(environ.get("NOTIFY_SOCKET") or None)

    @property
    def active(self) -> bool:
        """True if there is a service manager to tell."""
        return self._address is not None

    def ready(self, status: str = "") -> None:
        """The start, or a reload, is over and listeners accept."""
        self._send("READY=1", *_status(status), keep=True)

    def reloading(self, status: str = "") -> None:
        """A reload begins; ``ready`` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={self._clock() // 1000}", *_status(status), keep=True)

    def stopping(self, status: str = "") -> None:
        """The drain begins."""
        self._send("STOPPING=1", *_status(status), keep=True)

    def extend_timeout(self, seconds: float) -> None:
        """The stop takes longer: wait this long for the end, or for the next of these messages, whatever TimeoutStopSec= says."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1_000_000)}", keep=True)

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send(f"STATUS={printable(text)}")

    def watchdog(self) -> None:
        """A sign of life; due every ``watchdog_interval`` seconds."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Close the socket; a later message opens a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *assignments: str, keep: bool = False) -> None:
        """Send one datagram, after those that wait. With `keep` it waits itself if the queue is full."""
        if self._address is None:
            return
        message = "\n".join(assignments).encode("utf-8")
        if self._waiting:
            self._send_waiting()
        try:
            if self._waiting:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            self._send_now(message)
            self._failed = False
        except OSError as error:
            if keep and isinstance(error, BlockingIOError):
                self._waiting = [*self._waiting, message][-MAX_WAITING_MESSAGES:]
                self._try_again()
            self._tell(error)

    def _send_now(self, message: bytes) -> None:
        assert self._address is not None
        address = _socket_address(self._address)
        if self._socket is None:
            # Kept open: a watchdog message must not fail because there are no descriptors left.
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        self._socket.sendto(message, address)

    def _send_waiting(self) -> None:
        try:
            while self._waiting:
                self._send_now(self._waiting[0])
                del self._waiting[0]
        except BlockingIOError:
            self._try_again()
        except OSError as error:
            self._waiting.clear()
            self._tell(error)

    def _try_again(self) -> None:
        if not self._timer:
            self._timer = self._later(RETRY_SECONDS, self._retry) is not False

    def _retry(self) -> None:
        self._timer = False
        self._send_waiting()

    def _tell(self, error: OSError) -> None:
        if not self._failed:
            self._failed = True
            self._log.warn("cannot tell systemd at {address}: {problem}", address=self._address, problem=error.strerror or str(error))


def _call_later(delay: float, callback: Callable[[], None]) -> object:
    """The running loop's timer; False when no loop runs."""
    try:
        return asyncio.get_running_loop().call_later(delay, callback)
    except RuntimeError:
        return False


def _status(text: str) -> tuple[str, ...]:
    return (f"STATUS={printable(text)}",) if text else ()


def _socket_address(name: str) -> bytes:
    """The address in the form the kernel wants. Raises OSError for a kind that we do not speak, such as ``vsock:``."""
    if name.startswith("@"):
        return b"\0" + os.fsencode(name[1:])
    if not name.startswith("/"):
        raise OSError(errno.EAFNOSUPPORT, "expected an absolute path or @name")
    return os.fsencode(name)


def watchdog_interval(environ: Mapping[str, str], process_id: int) -> float | None:
    """Seconds between signs of life: half of what systemd allows. None if it expects none from this process."""
    meant_for = environ.get("WATCHDOG_PID")
    if meant_for and meant_for != str(process_id):
        return None
    allowed = _number(environ.get("WATCHDOG_USEC", ""))
    return allowed / 2_000_000 if allowed else None


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


@dataclass(frozen=True, slots=True)
class Activated:
    """One descriptor that systemd passed, with the name from FileDescriptorName= (by default the name of the socket unit)."""

    name: str
    descriptor: int


def initial_environment(environ: Mapping[str, str], source: Path = Path("/proc/self/environ")) -> dict[str, str]:
    """The environment with the LISTEN_ variables as the process was started with them.

    Importing ``twisted.internet.endpoints``, as many a plugin of twistd's does, takes LISTEN_PID and LISTEN_FDS out of ``os.environ``.
    The kernel still has them. Where it does not say, the environment is returned as it is.
    """
    try:
        block = source.read_bytes()
    except OSError:
        return dict(environ)
    pairs = (os.fsdecode(entry).partition("=") for entry in block.split(b"\0"))
    return {name: value for name, _, value in pairs if name.startswith("LISTEN_")} | dict(environ)


def listen_descriptors(environ: Mapping[str, str], process_id: int, first: int = FIRST_DESCRIPTOR) -> list[Activated]:
    """The descriptors that systemd passed to this process, in the order of the socket unit; none if there are none.

    Each is set to be closed on exec and not to block. LISTEN_PID names the process that systemd started: ask before twistd
    daemonizes, or run with ``--nodaemon``. The environment stays as it is. Raises SystemdError when the variables make no sense
    or a descriptor is not open. ``environ`` should come from ``initial_environment``.
    """
    if environ.get("LISTEN_PID") != str(process_id):
        return []
    count = _number(environ.get("LISTEN_FDS", ""))
    if count is None:
        raise SystemdError(f"LISTEN_FDS: expected a number of descriptors, got {environ.get('LISTEN_FDS', '')!r}")
    names = environ["LISTEN_FDNAMES"].split(":") if environ.get("LISTEN_FDNAMES") else ["unknown"] * count
    if len(names) != count:
        raise SystemdError(f"LISTEN_FDNAMES: expected {count} names, as many as LISTEN_FDS says, got {len(names)}: {':'.join(names)!r}")
    passed = [Activated(name, first + index) for index, name in enumerate(names)]
    for activated in passed:
        try:
            os.set_inheritable(activated.descriptor, False)
            os.set_blocking(activated.descriptor, False)
        except OSError as error:
            problem = f"descriptor {activated.descriptor} ({activated.name}) from systemd cannot be used: {error.strerror}"
            raise SystemdError(problem) from error
    return passed


def choose(passed: Sequence[Activated], which: str) -> list[Activated]:
    """The descriptors meant by an index ("0" is the first) or a name; all sockets of one unit bear the same name.

    Raises SystemdError, which lists the sockets that were passed.
    """
    index = _number(which)
    if index is not None and index < len(passed):
        return [passed[index]]
    chosen = [activated for activated in passed if activated.name == which]
    if chosen:
        return chosen
    listing = ", ".join(f"{position} ({activated.name})" for position, activated in enumerate(passed)) or "none"
    raise SystemdError(f"systemd passed no socket {which!r}; expected the index or the name of one that it passed: {listing}")


def adopt(activated: Activated) -> socket.socket:
    """The descriptor as a socket, once it is known to be a listening stream socket, IPv4, IPv6 or unix.

    The socket owns the descriptor. Raises SystemdError, and then the descriptor stays open.
    """
    label = f"descriptor {activated.descriptor} ({activated.name}) from systemd"
    expected = "expected a listening stream socket (ListenStream=, Accept=no)"
    try:
        is_socket = stat.S_ISSOCK(os.fstat(activated.descriptor).st_mode)
    except OSError as error:
        raise SystemdError(f"{label}: {expected}, got a descriptor that is not open") from error
    if not is_socket:
        raise SystemdError(f"{label}: {expected}, got something that is not a socket")
    adopted = socket.socket(fileno=activated.descriptor)
    problem = _unfit(adopted)
    if problem is not None:
        adopted.detach()
        raise SystemdError(f"{label}: {expected}, got {problem}")
    adopted.setblocking(False)
    adopted.set_inheritable(False)
    return adopted


def _unfit(candidate: socket.socket) -> str | None:
    """The kind of a socket that cannot accept connections; None for one that can."""
    if candidate.family not in _FAMILIES:
        return f"a socket of address family {int(candidate.family)}"
    kind = _KINDS.get(candidate.type, f"type {int(candidate.type)}")
    if candidate.type != socket.SOCK_STREAM:
        return f"{_FAMILIES[candidate.family]} {kind} socket"
    if not candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return f"{_FAMILIES[candidate.family]} {kind} socket that does not listen"
    return None
