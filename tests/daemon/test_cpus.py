"""workers = auto: the CPUs that a process may use, with the quotas of its cgroups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wsdaemon.daemon.cpus import usable_cpus


def count(folder: Path, allowed: int, membership: str = "0::/a/b\n") -> int:
    (folder / "cgroup").write_text(membership)
    return usable_cpus(allowed, folder / "cgroup", folder / "sys")


def quota(folder: Path, cgroup: str, name: str, text: str) -> None:
    (folder / "sys" / cgroup).mkdir(parents=True, exist_ok=True)
    (folder / "sys" / cgroup / name).write_text(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8), ("max 100000", 8)]
)
def test_a_quota_counts_rounded_up(tmp_path: Path, text: str, expected: int) -> None:
    quota(tmp_path, "a/b", "cpu.max", text)
    assert count(tmp_path, 8) == expected


def test_the_quota_of_a_cgroup_above_counts_too(tmp_path: Path) -> None:
    quota(tmp_path, "a/b", "cpu.max", "max 100000")
    quota(tmp_path, "a", "cpu.max", "300000 100000")
    assert count(tmp_path, 8) == 3


def test_in_a_container_its_own_cgroup_is_the_root(tmp_path: Path) -> None:
    quota(tmp_path, "", "cpu.max", "200000 100000")
    assert count(tmp_path, 8, "0::/../../docker/abc\n") == 2


def test_cgroups_of_version_1(tmp_path: Path) -> None:
    quota(tmp_path, "cpu/x", "cpu.cfs_quota_us", "250000\n")
    quota(tmp_path, "cpu/x", "cpu.cfs_period_us", "100000\n")
    assert count(tmp_path, 8, "5:cpu,cpuacct:/x\n4:memory:/x\n") == 3
    quota(tmp_path, "cpu/x", "cpu.cfs_quota_us", "-1\n")
    assert count(tmp_path, 8, "5:cpu,cpuacct:/x\n") == 8


@pytest.mark.parametrize("text", ["", "nonsense", "1 0", "x y"])
def test_where_the_system_does_not_say_the_affinity_alone_counts(tmp_path: Path, text: str) -> None:
    quota(tmp_path, "a/b", "cpu.max", text)
    assert count(tmp_path, 8) == 8
    assert usable_cpus(3, tmp_path / "nothing", tmp_path) == 3


def test_this_machine() -> None:
    assert 1 <= usable_cpus() <= len(os.sched_getaffinity(0))
