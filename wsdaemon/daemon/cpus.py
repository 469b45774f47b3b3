"""The number of workers of `workers = auto`: the CPUs that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

from .cgroups import CGROUPS, MEMBERSHIP, figures


def usable_cpus(allowed: int | None = None, membership: Path = MEMBERSHIP, cgroups: Path = CGROUPS) -> int:
    """CPUs that the process may run on, and no more than the quota of its cgroups gives it time for, rounded up; at least 1.

    `allowed` is the number of CPUs in its affinity mask.
    """
    if allowed is None:
        allowed = len(os.sched_getaffinity(0))
    quotas = figures("cpu", _version_2, _version_1, membership, cgroups)
    return max(1, min([allowed, *[math.ceil(quota) for quota in quotas]]))


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
