"""Daemons with workers: their processes, and the connections of each."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.support.daemon import SECONDS, Daemon

ECHO = """
[daemon]
workers = {workers}

[listener:web]
address = tcp:0:interface=127.0.0.1

[mount:/echo]
app = echo
"""


def children(pid: int) -> dict[str, int]:
    """The children of a process: their names in `ps` after "wsdaemon: ", with their process ids."""
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - thousands of paths are made for nothing
        try:
            if name.isdigit() and int(Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                title = Path("/proc", name, "cmdline").read_bytes().rstrip(b"\0").decode()
                found[title.removeprefix("wsdaemon: ")] = int(name)
        except (OSError, IndexError):
            continue
    return found


def worker_ids(daemon: Daemon) -> dict[str, int]:
    """The process of each worker, by its name."""
    return {name: pid for name, pid in children(daemon.pid).items() if name.startswith("worker ")}


def is_running(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for_ends(pids: list[int], seconds: float = SECONDS) -> float:
    """Until none of these processes runs; the seconds that it took."""
    began = time.monotonic()
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() - began < seconds, f"still there: {[pid for pid in pids if is_running(pid)]}"
        time.sleep(0.01)
    return time.monotonic() - began
