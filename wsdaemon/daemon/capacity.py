"""The settings beside the limits of the system: each setting that asks for more than the system gives has one line, with its mend."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from twisted.logger import Logger

from ..core.descriptors import RESERVED_DESCRIPTORS, without_reserve
from ..settings.addresses import SystemdAddress
from ..settings.broker import BrokerKind
from ..settings.form import DurationForm, SizeForm
from ..settings.model import MountSettings, Settings
from ..settings.problems import Problem
from ..settings.rooms import RoomsOptions
from .cgroups import MEMBERSHIP, figures, memberships
from .drain import grace_of

KIB: Final = 1024
MIB: Final = 1024 * KIB

IDLE_BYTES: Final = 10 * KIB
"""An idle connection, with its kernel memory; docs/performance.md."""

IDLE_TLS_BYTES: Final = 32 * KIB

SLOW_BYTES: Final = 128 * KIB
"""A client that does not read, besides send_backlog and one message; docs/slow-clients.md."""

SLOW_TLS_BYTES: Final = 512 * KIB

PROCESS_BYTES: Final = 64 * MIB
"""A process without clients: Python, its modules and OpenSSL."""

NO_LIMIT: Final = 1 << 60
"""Version 1 of cgroups writes a number of this size if there is no limit."""

ASK_SECONDS: Final = 2.0
"""How long the service manager may take to answer."""

log = Logger(namespace="wsdaemon")


@dataclass(frozen=True, slots=True)
class System:
    """The limits of the system on this process. None: there is no limit, or the system does not tell it."""

    open_files: int | None = None
    """The most files that the process may have open at once."""
    cgroup_memory: int | None = None
    """Bytes; beyond them the kernel kills the process."""
    machine_memory: int | None = None
    """Bytes."""
    queue: int | None = None
    """net.core.somaxconn: how many connections the kernel queues for one listening socket."""
    stop_seconds: float | None = None
    """TimeoutStopSec of the unit that systemd runs this process as: it is killed that long after SIGTERM."""


def read_system(environ: Mapping[str, str] = os.environ) -> System:
    """The limits as they are now. `environ` tells whether systemd has started this process."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return System(
        open_files=None if hard == resource.RLIM_INFINITY else hard,
        cgroup_memory=min(figures("memory", _memory_2, _memory_1), default=None),
        machine_memory=_machine_memory(),
        queue=_number(Path("/proc/sys/net/core/somaxconn")),
        stop_seconds=stop_timeout(environ),
    )


def tell_doubts(settings: Settings) -> None:
    """Log the settings that work, but look like a mistake, at level warn."""
    for warning in settings.warnings:
        log.warn("{source}: {warning}", source=settings.source, warning=warning)


def tell(settings: Settings, system: System, workers: int | None = None) -> None:
    """Log each doubt and each shortfall at level warn. `workers` is their number, if there are any."""
    tell_doubts(settings)
    for problem in shortfalls(settings, system, workers):
        log.warn("{problem}", problem=str(problem))


def shortfalls(settings: Settings, system: System, workers: int | None = None) -> list[Problem]:
    """A problem for each setting that asks for more than the system gives. None of them keeps a daemon from starting."""
    return [
        *_files(settings, system.open_files, workers),
        *_memory(settings, system, workers),
        *_queues(settings, system.queue),
        *_stop(settings, system.stop_seconds),
    ]


# -- open files


def app_descriptors(settings: Settings) -> int:
    """The most descriptors that all apps need, besides those of the connections."""
    most = settings.daemon.max_connections
    return sum(each.options.descriptors(each.max_connections or most) for each in settings.mounts if each.options is not None)


def _files(settings: Settings, limit: int | None, workers: int | None) -> Iterator[Problem]:
    if limit is None:
        return
    processes, connections = workers or 1, settings.daemon.max_connections
    apps = app_descriptors(settings)
    left = max(limit - -(-apps // processes), 0)
    if left >= -(-connections // processes) + RESERVED_DESCRIPTORS:
        return
    clients = without_reserve(left) * processes
    for_apps = f" beside {apps} for apps" if apps else ""
    message = (
        f"only {limit} files may be open{' in each worker' if workers else ''}{for_apps}, so fewer than {clients} of max_connections = "
        f"{connections} clients can be connected, and the others are answered 503: raise the hard limit "
        f"(LimitNOFILE={-(-(connections + apps) // processes) + 1024} in a unit of systemd, ulimit -n in a shell), or set "
        f"max_connections = {max(clients, 1)}"
    )
    yield settings.problem("daemon", message, "max_connections", str(connections))


# -- memory


def _memory(settings: Settings, system: System, workers: int | None) -> Iterator[Problem]:
    """At most one line about rooms, and one about connections: idle ones if those alone are too much, else slow ones.

    Slow clients are compared with the limit of a cgroup only, because they take their memory only if all are slow at once, and a machine
    can swap; at the limit of a cgroup the kernel kills the daemon.
    """
    known = [limit for limit in (system.cgroup_memory, system.machine_memory) if limit is not None]
    if not known:
        return
    limit, connections = min(known), settings.daemon.max_connections
    text = f"{'its cgroup allows' if limit == system.cgroup_memory else 'this machine has'} {_size(limit)} of memory"
    processes = 1 if workers is None else workers + 2  # the hub and the supervisor
    left = limit - processes * PROCESS_BYTES
    rooms, problem = _rooms_memory(settings, workers, left, text)
    if problem is not None:
        yield problem
    idle = connections * _per_connection(settings, IDLE_BYTES, IDLE_TLS_BYTES)
    if idle > left:
        each, reason = idle // connections, "idle clients alone take up to"
    elif system.cgroup_memory is not None and system.cgroup_memory == limit:
        slow = _slow_bytes(settings)
        each, reason = -(-slow // connections), "if no client reads (send_backlog and one of max_message for each), they take up to"
    else:
        return
    if (most := each * connections) > left - rooms:
        fitting = (left - rooms) // each
        message = (
            f"{reason} {_size(most)}, and {text}: {_set('max_connections', str(fitting), fitting > 0)}"
            + ("" if idle > left else ", or lower send_backlog and max_message of the mounts")
        )
        yield settings.problem("daemon", message, "max_connections", str(connections))


def _rooms_memory(settings: Settings, workers: int | None, left: int, text: str) -> tuple[int, Problem | None]:
    """The memory that rooms may take, or 0 with a problem if that is more than is `left`. `text` tells how much there is."""
    mounts = [(each, each.options) for each in settings.mounts if isinstance(each.options, RoomsOptions)]
    in_redis = settings.broker is not None and settings.broker.kind is BrokerKind.REDIS
    holders = 1 if workers is None else workers if in_redis else workers + 1
    rooms = holders * sum(options.memory for _, options in mounts)
    if not mounts or rooms <= left:
        return rooms, None
    mount, options = max(mounts, key=lambda each: each[1].memory)
    fitting = left // 2 // holders // len(mounts)
    of_each = f", {holders} processes counted" if holders > 1 else ""
    message = f"the rooms of all mounts may hold {_size(rooms)}{of_each}, and {text}: {_set('memory', _even(fitting), fitting >= MIB)}"
    return 0, settings.problem(f"mount:{mount.path}", message, "memory", SizeForm().show(options.memory))


def _per_connection(settings: Settings, plain: int, secure: int) -> int:
    return secure if any(listener.secure for listener in settings.listeners) else plain


def _slow_bytes(settings: Settings) -> int:
    """The most that max_connections clients can take, on those mounts where they take the most."""
    left, total = settings.daemon.max_connections, 0
    besides = _per_connection(settings, SLOW_BYTES, SLOW_TLS_BYTES)
    for mount in sorted(settings.mounts, key=_message_bytes, reverse=True):
        here = min(left, mount.max_connections or left)
        total += here * (_message_bytes(mount) + besides)
        left -= here
    return total


def _message_bytes(mount: MountSettings) -> int:
    return mount.send_backlog + mount.max_message


def _set(key: str, value: str, possible: bool) -> str:
    """The mend: a line for the settings, if one is enough."""
    return f"set {key} = {value}, or raise the limit (MemoryMax= in a unit of systemd)" if possible else "raise the limit of memory"


def _even(size: int) -> str:
    return f"{size // MIB}MiB"


def _size(size: int) -> str:
    return f"{size / (1024 * MIB):.1f} GiB" if size >= 1024 * MIB else f"{-(-size // MIB)} MiB"


# -- the queue of a listening socket


def _queues(settings: Settings, most: int | None) -> Iterator[Problem]:
    if most is None:
        return
    for each in settings.listeners:
        if each.backlog > most and not isinstance(each.address, SystemdAddress):
            message = f"the kernel queues at most {most} connections: sysctl -w net.core.somaxconn={each.backlog}, or set backlog = {most}"
            yield settings.problem(f"listener:{each.name}", message, "backlog", str(each.backlog))


# -- the end


def _stop(settings: Settings, allowed: float | None) -> Iterator[Problem]:
    """All the time of a stop together. The daemon asks systemd for more time while it drains, and the unit should agree with it."""
    daemon = settings.daemon
    patience = grace_of(settings) + daemon.drain_over + daemon.drain_timeout
    if allowed is None or patience < allowed:
        return
    left = allowed - (patience - daemon.drain_timeout)
    mend = f"drain_timeout = {left / 2:g}s" if left > 1 else "shorter times for drain_grace, drain_over and drain_timeout"
    message = (
        f"a stop may take {patience:g} s, and systemd kills the daemon after {allowed:g} s: set TimeoutStopSec={patience + 10:.0f} in the "
        f"unit, or {mend}"
    )
    yield settings.problem("daemon", message, "drain_timeout", DurationForm().show(daemon.drain_timeout))


# -- the system


def stop_timeout(environ: Mapping[str, str], membership: Path = MEMBERSHIP, program: str | None = None) -> float | None:
    """TimeoutStopSec in seconds of the unit that runs this process. None without systemd, without a limit, or without an answer.

    systemd puts no such figure into the environment. The name of the unit is that of the process' cgroup, as sd_pid_get_unit(3) finds it,
    and busctl(1) reads the property TimeoutStopUSec that org.freedesktop.systemd1(5) describes. `program` is busctl by default.
    """
    if "INVOCATION_ID" not in environ or (name := _unit(membership)) is None or (busctl := program or shutil.which("busctl")) is None:
        return None
    unit, of_user = name
    command = [
        busctl, *(["--user"] if of_user else []), "get-property", "org.freedesktop.systemd1",
        f"/org/freedesktop/systemd1/unit/{_object_name(unit)}", "org.freedesktop.systemd1.Service", "TimeoutStopUSec",
    ]  # fmt: skip
    try:
        answer = subprocess.run(  # noqa: S603 - the unit's name is encoded
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ASK_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError, UnicodeError):
        return None
    found = re.fullmatch(r"t ([0-9]{1,20})\n?", answer, re.ASCII)
    microseconds = int(found[1]) if found else 0
    return microseconds / 1_000_000 if 0 < microseconds < NO_LIMIT else None


def _unit(membership: Path) -> tuple[str, bool] | None:
    """The service of the process, and whether it belongs to a user's own systemd."""
    for controllers, path in memberships(membership):
        if controllers in ("", "name=systemd"):
            names = path.split("/")
            services = [name for name in names if name.endswith(".service")]
            if services and not services[-1].startswith("user@"):
                return services[-1], any(name.startswith("user@") for name in names)
    return None


def _object_name(unit: str) -> str:
    """The unit's name in an object path: sd_bus_path_encode(3)."""
    plain = [
        chr(byte) if chr(byte).isalnum() and byte < 128 and (at or not chr(byte).isdigit()) else f"_{byte:02x}"
        for at, byte in enumerate(unit.encode())
    ]
    return "".join(plain)


def _machine_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None


def _memory_2(folder: Path) -> int | None:
    """The lower of the limits at which the kernel slows the cgroup down and kills in it."""
    return min(_limits(folder / "memory.max", folder / "memory.high"), default=None)


def _memory_1(folder: Path) -> int | None:
    return min(_limits(folder / "memory.limit_in_bytes"), default=None)


def _limits(*files: Path) -> Iterable[int]:
    return [number for file in files if (number := _number(file)) is not None and number < NO_LIMIT]


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
