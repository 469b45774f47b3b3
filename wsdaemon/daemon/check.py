"""`--check`: the steps of a start, without serving. A daemon that runs beside it notices nothing."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..core.connection import Connection
from ..ops.log_destinations import LogError, check_file
from ..settings.addresses import Address, TcpAddress, UnixAddress
from ..settings.model import Settings
from ..settings.problems import Problem
from .capacity import System, read_system, shortfalls
from .resources import Resources
from .sockets import NO_PRIVILEGE, Bound, ListenError, SocketSource, check_owner, check_place, is_socket, open_tcp

CAP_NET_BIND_SERVICE = 10
"""The number of the capability; capabilities(7)."""

LISTENS = "0A"
"""The state of a listening socket in /proc/net/tcp; proc_pid_net(5)."""

ACCEPTS = 1 << 16
"""The flag of a listening socket in /proc/net/unix."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The findings of a check. Problems keep a daemon from starting. Without them there are warnings; `workers` is None for one process."""

    problems: Sequence[Problem] = ()
    warnings: Sequence[str] = ()
    workers: int | None = None


def check(settings: Settings, directory: Path, system: System | None = None) -> int:
    """Print the listeners and mounts, or every problem; the exit status, 0 or 1. `directory` is the one that the process was started in.

    `system` has the limits that the settings are compared with, by default those of this process.
    """
    checked = examine(settings, directory, system)
    for problem in checked.problems:
        print(f"wsdaemon: {problem}", file=sys.stderr)
    if checked.problems:
        return 1
    for warning in checked.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for listener in settings.listeners:
        scheme = "wss" if listener.secure else "ws"
        print(f"listener {listener.name}: {scheme} on {listener.address}")
        for mount in settings.mounts:
            if not listener.mounts or mount.path in listener.mounts:
                print(f"  {mount.path}  {mount.app}")
    if settings.admin is not None:
        print(f"admin: {'https' if settings.admin.secure else 'http'} on {settings.admin.address}")
    if checked.workers is not None:
        print(f"workers: {checked.workers}")
    print(f"{settings.source} is good")
    return 0


def examine(settings: Settings, directory: Path, system: System | None = None) -> Checked:
    """Check the modules, files and addresses of `settings`, and compare these with the limits of the system, as check() does."""
    trial = Trial()
    tried = _tried(settings, directory, trial)
    if problems := [*log_problems(settings), *tried.problems]:
        return Checked(sorted(problems, key=_place))
    workers = None
    if settings.daemon.workers is not None:
        from .supervisor import worker_count

        workers = worker_count(settings)
    busy = [f"{address} is in use: a daemon can start only after the process that listens there has ended" for address in trial.in_use]
    short = [str(shortfall) for shortfall in shortfalls(settings, system or read_system(), workers)]
    of_files = [warning for certificates in tried.certificates.values() for warning in certificates.warnings]
    return Checked((), [*settings.warnings, *of_files, *busy, *short], workers)


def problems_beyond(usable: Settings, directory: Path) -> list[Problem]:
    """Problems of modules, files and addresses, of those settings that can be used while others cannot."""
    return problems_with(usable, directory, Trial())


def log_problems(settings: Settings) -> list[Problem]:
    """The problem of a log file that cannot be opened."""
    destination = settings.logging.destination
    if not isinstance(destination, Path):
        return []
    try:
        check_file(destination)
    except LogError as error:
        return [settings.problem("logging", str(error), "destination")]
    return []


def problems_with(settings: Settings, directory: Path, sockets: SocketSource) -> list[Problem]:
    """Problems of modules, files and addresses, with sockets from elsewhere."""
    return _tried(settings, directory, sockets).problems


def _tried(settings: Settings, directory: Path, sockets: SocketSource) -> Resources:
    """The resources of these settings, closed again, with their problems in the order of the file."""
    resources = Resources(settings, sockets, _ignored, directory)
    resources.close()
    resources.problems.sort(key=_place)
    return resources


def _place(problem: Problem) -> int:
    return problem.line or 0


def _ignored(connection: Connection, doing: str, error: BaseException) -> None:
    """No connection is ever made."""


class Trial:
    """Tries addresses: a TCP address with port 0 on the same interface, a unix socket by its directory and its owner.

    Nothing listens, and no file is made or removed. An address in use is no problem, because it may be the running daemon's: it is noted.
    """

    def __init__(self) -> None:
        self.in_use: list[Address] = []

    def take(self, section: str, address: Address, backlog: int) -> Bound:
        """A socket that is good for nothing but to be closed. ListenError if a start could not listen on the address."""
        match address:
            case TcpAddress():
                if address.port and not may_bind(address.port):
                    raise ListenError(NO_PRIVILEGE)
                tried = open_tcp(replace(address, port=0), None)
                if address.port and tcp_in_use(address):
                    self.in_use.append(address)
                return Bound(tried)
            case UnixAddress():
                check_place(address.path)
                check_owner(address)
                if is_socket(address.path) and unix_in_use(address.path):
                    self.in_use.append(address)
        return Bound(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))


def may_bind(port: int) -> bool:
    """Whether this process may listen on a port, as far as the system says; ip(7), ip_unprivileged_port_start."""
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
        status = Path("/proc/self/status").read_text()
        effective = int(next(line for line in status.splitlines() if line.startswith("CapEff:")).split()[1], 16)
    except (OSError, ValueError, StopIteration):
        return port >= 1024 or os.geteuid() == 0
    return port >= first or bool(effective >> CAP_NET_BIND_SERVICE & 1)


def tcp_in_use(address: TcpAddress, proc: Path = Path("/proc/net")) -> bool:
    """Whether a socket of this machine listens on the port, on the same interface or on all. False if the system does not say."""
    wanted = {address.interface, "0.0.0.0", "::"} if address.interface else None  # noqa: S104 - compared with, not bound to
    return any(port == address.port and (wanted is None or host in wanted) for host, port in _listening(proc))


def _listening(proc: Path) -> Iterator[tuple[str, int]]:
    """The addresses and ports that listen."""
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        try:
            lines = (proc / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if len(fields) > 3 and fields[3] == LISTENS:
                host, _, port = fields[1].partition(":")
                words = bytes.fromhex(host)
                packed = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4)) if sys.byteorder == "little" else words
                yield socket.inet_ntop(family, packed), int(port, 16)


def unix_in_use(path: str, proc: Path = Path("/proc/net")) -> bool:
    """Whether a socket listens under this path. False if the system does not say."""
    try:
        lines = (proc / "unix").read_text(errors="surrogateescape").splitlines()[1:]
    except OSError:
        return False
    fields = (line.split(maxsplit=7) for line in lines)
    return any(len(each) == 8 and each[7] == path and int(each[3], 16) & ACCEPTS for each in fields)
