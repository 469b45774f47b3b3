"""twistd's pidfile, if a process that was killed left it."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.logger import Logger

from ..settings.problems import printable

CLOCK_SECONDS = 2.0
"""By how much the start of a process, which the kernel counts from its boot, may be wrong as a time of day."""

log = Logger(namespace="wsdaemon")


def forget_stale(pidfile: str | None) -> None:
    """Remove the pidfile if the process that it names cannot have written it.

    twistd starts only if there is no process with that number. In a container the numbers are small and come again: the killed
    daemon was process 1, and so is the new one.
    """
    if not pidfile:
        return
    path = Path(pidfile)
    try:
        pid, written = int(path.read_text()), path.stat().st_mtime
    except (OSError, ValueError):
        return  # twistd says what is wrong with it
    reason = why_not_ours(pid, written)
    if reason is None:
        return
    try:
        path.unlink()
    except OSError as error:
        log.warn("{path} cannot be removed: {problem}", path=pidfile, problem=error.strerror)
    else:
        log.warn("{path}, which a killed daemon left, is removed: process {pid} {reason}", path=pidfile, pid=pid, reason=reason)


def why_not_ours(pid: int, written: float, proc: Path = Path("/proc")) -> str | None:
    """Why the process `pid` has not written a file at the time `written` (in seconds since 1970); None if it may have."""
    if pid == os.getpid():
        return "is this one"
    began = _began(pid, proc)
    if began is not None and began > written + CLOCK_SECONDS:
        return "is younger than the file"
    program = _program(pid, proc)
    if program and not any(word in argument.lower() for argument in program for word in (b"python", b"pypy", b"twist", b"wsdaemon")):
        return f"is {printable(program[0].decode(errors='replace'))}"
    return None


def _program(pid: int, proc: Path) -> list[bytes]:
    """The words of the process' command line; none if the system does not say. proc_pid_cmdline(5)"""
    try:
        return [word for word in (proc / str(pid) / "cmdline").read_bytes().split(b"\0") if word]
    except OSError:
        return []


def _began(pid: int, proc: Path) -> float | None:
    """When the process began, in seconds since 1970; None if the system does not say. proc_pid_stat(5)"""
    try:
        fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
        boot = next(line for line in (proc / "stat").read_text().splitlines() if line.startswith("btime "))
        return int(boot.split()[1]) + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, StopIteration):
        return None
