"""Where a listening socket comes from: bound to an address of the settings, or passed by systemd. `--check` only tries addresses."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import pwd
import socket
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from twisted.logger import Logger

from ..ops.systemd import Activated, SystemdError, adopt, choose, initial_environment, listen_descriptors
from ..settings.addresses import Address, SystemdAddress, TcpAddress, UnixAddress
from ..settings.model import Settings
from ..settings.problems import Problem

MAX_PATH_BYTES = 107
"""sun_path of unix(7), without the final NUL."""

ADMIN_BACKLOG = 128
"""Connections that may wait at the admin listener to be accepted."""

LOCK_SECONDS = 1.0
"""How long the lock of a socket's directory is waited for. Its owners hold it for less than a millisecond."""

log = Logger(namespace="wsdaemon")


class ListenError(Exception):
    """An address cannot be listened on. The text is for the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftSocket:
    """A listening socket, and the file that it owns if it is a unix socket."""

    address: str
    path: str | None = None
    file: tuple[int, int] | None = None
    """Device and inode."""


class Bound:
    """A listening socket and, if it is a unix socket, the file that it owns."""

    def __init__(self, sock: socket.socket, path: str | None = None) -> None:
        self.sock = sock
        self._path = path
        self._file = None if path is None else _file_at(path)

    @classmethod
    def again(cls, descriptor: int, left: LeftSocket) -> Bound:
        """A socket that the program before a re-execution has bound, with the file that it owned then."""
        bound = cls(socket.socket(fileno=descriptor))
        bound._path, bound._file = left.path, left.file
        return bound

    @property
    def path(self) -> str | None:
        """The path of its file; None if it owns none."""
        return self._path

    @property
    def file(self) -> tuple[int, int] | None:
        """Device and inode of its file."""
        return self._file

    def release(self) -> None:
        """Remove the socket's file, unless it has become that of another daemon. Does nothing if called again.

        Call it before the socket is closed: the kernel keeps the inode of an open socket, so that no other file can have its number.
        """
        path, self._path = self._path, None
        if path is not None:
            with contextlib.suppress(OSError), locked(path):
                if _file_at(path) == self._file:
                    Path(path).unlink()

    def close(self) -> None:
        """Remove the file and close the socket."""
        self.release()
        self.sock.close()


ADMIN = "admin"
"""The section of the admin pages; a listener's is `listener:NAME`."""


def wanted_sockets(settings: Settings) -> list[tuple[str, Address, int]]:
    """Section, address and backlog of each socket that these settings listen on."""
    wanted: list[tuple[str, Address, int]] = [(f"listener:{each.name}", each.address, each.backlog) for each in settings.listeners]
    if settings.admin is not None:
        wanted.append((ADMIN, settings.admin.address, ADMIN_BACKLOG))
    return wanted


def addresses_of(settings: Settings) -> dict[str, Address]:
    """The address of each section that listens."""
    return {section: address for section, address, _ in wanted_sockets(settings)}


def take_sockets(settings: Settings, source: SocketSource, taken: dict[str, Bound], held: Mapping[str, Address]) -> list[Problem]:
    """Put the socket of each section into `taken`, but of those that `held` has at this address; a problem for each that cannot be had."""
    problems = []
    for section, address, backlog in wanted_sockets(settings):
        if held.get(section) != address:
            try:
                refuse_own(address, held)
                taken[section] = source.take(section, address, backlog)
            except ListenError as error:
                problems.append(settings.problem(section, str(error), "address", str(address)))
    return problems


def refuse_own(address: Address, held: Mapping[str, Address]) -> None:
    """ListenError if a section of `held` has this address: its socket can be neither bound nor adopted again while it is open."""
    for holder, own in held.items():
        match address, own:
            case TcpAddress(), TcpAddress():
                same = address == own and address.port != 0
            case UnixAddress(), UnixAddress():
                same = address.path == own.path
            case _:
                same = address == own
        if same:
            raise ListenError(f"this daemon listens there already, as [{holder}]; another name, mode or owner needs a restart")


class SocketSource(Protocol):
    """Gives the socket of a section, which has this address. ListenError if it cannot."""

    def take(self, section: str, address: Address, backlog: int) -> Bound: ...


class Sockets:
    """The sockets of a start: bound here, or passed by systemd."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._passed: Sequence[Activated] | None = None
        self._adopted: list[Activated] = []

    def take(self, section: str, address: Address, backlog: int) -> Bound:
        match address:
            case TcpAddress():
                return Bound(open_tcp(address, backlog))
            case UnixAddress():
                return open_unix(address, backlog)
            case SystemdAddress():
                try:
                    return Bound(self._adopt(str(address.index) if address.index is not None else str(address.name)))
                except SystemdError as error:
                    raise ListenError(str(error)) from error

    def _adopt(self, which: str) -> socket.socket:
        """The one socket that systemd passed under this index or name."""
        if self._passed is None:
            # Twisted's endpoints take the variables out of the environment when they are imported.
            self._passed = listen_descriptors(initial_environment(self._environ), os.getpid())
        found = choose(self._passed, which)
        if len(found) > 1:
            raise SystemdError(f"systemd passed {len(found)} sockets named {which}: give each its own FileDescriptorName")
        if found[0] in self._adopted:
            raise SystemdError("another listener has this socket already")
        self._adopted.append(found[0])
        return adopt(found[0])


class Inherited:
    """The sockets of a worker. The supervisor has bound them, and removes their files."""

    def __init__(self, descriptors: Mapping[str, int]) -> None:
        """`descriptors` by section."""
        self._descriptors = descriptors

    def take(self, section: str, address: Address, backlog: int) -> Bound:
        return Bound(socket.socket(fileno=self._descriptors[section]))


# -- TCP


def open_tcp(address: TcpAddress, backlog: int | None) -> socket.socket:
    """A TCP socket, listening unless `backlog` is None. Without an interface it takes IPv4 and IPv6 alike. ListenError if it cannot."""
    if address.interface:
        family = socket.AF_INET6 if ":" in address.interface else socket.AF_INET
        return _tcp(family, address.interface, address.port, backlog, False)
    if socket.has_dualstack_ipv6():
        try:
            return _tcp(socket.AF_INET6, "::", address.port, backlog, True)
        except ListenError as error:
            if not isinstance(error.__cause__, OSError) or error.__cause__.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
    return _tcp(socket.AF_INET, "0.0.0.0", address.port, backlog, False)  # noqa: S104 - asked for by leaving the interface out


def _tcp(family: socket.AddressFamily, host: str, port: int, backlog: int | None, both: bool) -> socket.socket:
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ListenError(_why(error)) from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
        sock.bind((host, port))
        if backlog is not None:
            sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise ListenError(_why(error)) from error
    sock.setblocking(False)
    return sock


# -- unix sockets


def open_unix(address: UnixAddress, backlog: int) -> Bound:
    """A listening unix socket with the mode and owner of the settings. A file that a dead daemon left is replaced; a live one is not."""
    check_place(address.path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound = None
    try:
        with locked(address.path):
            _remove_stale(address.path)
            before = os.umask(0o177)  # no client gets in between bind() and chmod()
            try:
                sock.bind(address.path)
            finally:
                os.umask(before)
            bound = Bound(sock, address.path)
            _own(address)
            Path(address.path).chmod(address.mode)
            sock.listen(backlog)
    except BaseException as error:
        if bound is not None:
            bound.release()
        sock.close()
        if isinstance(error, OSError):
            raise ListenError(_why(error)) from error
        raise
    sock.setblocking(False)
    return bound


def check_place(path: str) -> None:
    """ListenError if no unix socket can be made at `path`, whatever stands there now."""
    length = len(os.fsencode(path))
    if length > MAX_PATH_BYTES:
        raise ListenError(f"the path has {length} bytes; a unix socket's path may have {MAX_PATH_BYTES}")
    directory = Path(path).parent
    if not directory.is_dir():
        raise ListenError(f"there is no directory {directory}")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ListenError(f"permission denied: this user may not write to {directory}")


def owner_of(address: UnixAddress) -> tuple[int, int]:
    """The numbers of the address' user and group; -1 where it names none. ListenError if the system does not know them."""
    try:
        user = _number(address.user, lambda name: pwd.getpwnam(name).pw_uid)
    except KeyError:
        raise ListenError(f"there is no user {address.user} on this machine") from None
    try:
        group = _number(address.group, lambda name: grp.getgrnam(name).gr_gid)
    except KeyError:
        raise ListenError(f"there is no group {address.group} on this machine") from None
    return user, group


def check_owner(address: UnixAddress) -> None:
    """ListenError if this user cannot give the socket to the address' user or group (chown(2))."""
    user, group = owner_of(address)
    if os.geteuid() == 0:
        return
    if user not in (-1, os.geteuid()):
        raise ListenError(f"the socket cannot be given to user {address.user}: only root may do that")
    if group not in (-1, os.getegid(), *os.getgroups()):
        raise ListenError(f"the socket cannot be given to group {address.group}: this user is not in it")


def _own(address: UnixAddress) -> None:
    user, group = owner_of(address)
    if user == group == -1:
        return
    try:
        os.chown(address.path, user, group)
    except PermissionError:
        check_owner(address)
        raise


def _number(name: str | None, look_up: Callable[[str], int]) -> int:
    """The number of a user or group that is given by its name or its number; -1, for none, changes nothing. KeyError."""
    if not name:
        return -1
    return int(name) if name.isascii() and name.isdigit() else look_up(name)


def _remove_stale(path: str) -> None:
    if not is_socket(path):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # if the queue of a hung daemon is full, connect() would wait for ever
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                Path(path).unlink()
        except BlockingIOError:
            raise ListenError("another process listens there, and it accepts no connections: its queue is full") from None
        except FileNotFoundError:  # removed meanwhile
            return
        else:
            raise ListenError("another process listens there")


def is_socket(path: str) -> bool:
    """Whether a socket stands at `path`. ListenError if another kind of file does."""
    try:
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            return True
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ListenError(_why(error)) from error
    raise ListenError("a file that is not a socket has this name")


def _file_at(path: str) -> tuple[int, int]:
    """The file as the kernel knows it: device and inode. OSError if there is none."""
    found = os.lstat(path)
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold the lock of the directory of `path`, so that no other daemon replaces or removes the socket in between (flock(2)).

    If this user may not read the directory, or another program keeps the lock, the daemon goes on without it.
    """
    try:
        directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # noqa: PTH120
    except OSError:
        yield
        return
    try:
        _lock(directory, path)
        yield
    finally:
        os.close(directory)


def _lock(directory: int, path: str) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                log.warn("{path}: another program keeps its directory locked; the daemon goes on without the lock", path=path)
                return
            time.sleep(0.01)
        except OSError:  # a file system without locks
            return
        else:
            return


def _why(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "the port is in use by another process"
        case errno.EACCES:
            return NO_PRIVILEGE if not error.filename else "permission denied"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address"
    return os.strerror(error.errno) if error.errno else str(error)


NO_PRIVILEGE = "permission denied (ports below 1024 need root or CAP_NET_BIND_SERVICE)"
