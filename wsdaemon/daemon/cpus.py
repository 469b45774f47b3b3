"""The number of workers of `workers = auto`: the CPUs that this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

CGROUPS: Final = Path("/sys/fs/cgroup")
MEMBERSHIP: Final = Path("/proc/self/cgroup")


def usable_cpus(allowed: int | None = None, membership: Path = MEMBERSHIP, cgroups: Path = CGROUPS) -> int:
    """CPUs that the process may run on, and no more than the quota of its cgroups gives it time for, rounded up; at least 1.

    `allowed` is the number of CPUs in its affinity mask.
    """
    if allowed is None:
        allowed = len(os.sched_getaffinity(0))
    return max(1, min([allowed, *[math.ceil(quota) for quota in _quotas(membership, cgroups)]]))


def _quotas(membership: Path, cgroups: Path) -> Iterator[float]:
    """The quotas in CPUs of the process' cgroup and of those above it (cgroups(7)). None if there is no limit, or no cgroup to be seen."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            yield from _along(cgroups, path, _version_2)
        elif "cpu" in controllers.split(","):
            yield from _along(cgroups / "cpu", path, _version_1)


def _along(root: Path, path: str, read: Callable[[Path], float | None]) -> Iterator[float]:
    """The quotas from a cgroup up to the root. In a container its own cgroup is often mounted as the root."""
    names = [name for name in path.split("/") if name not in ("", "..")]
    for depth in range(len(names), -1, -1):
        quota = read(root.joinpath(*names[:depth]))
        if quota is not None:
            yield quota


def _version_2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _version_1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        return quota / int((folder / "cpu.cfs_period_us").read_text()) if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
