"""daemon/capacity.py: settings that ask for more than the system gives."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest
from twisted.logger import capturedLogs, formatEvent

from wsdaemon.daemon.capacity import MIB, System, read_system, shortfalls, stop_timeout, tell
from wsdaemon.settings.build import build, section
from wsdaemon.settings.model import Settings

AMPLE = System(open_files=1 << 20, cgroup_memory=1 << 40, machine_memory=1 << 40, queue=1 << 16, stop_seconds=3600.0)


Given = Mapping[str, object]


def settings(daemon: Given | None = None, listener: Given | None = None, *mounts: Given) -> Settings:
    sections = [section("daemon", **(daemon or {})), section("listener:web", **{"address": "tcp:0", **(listener or {})})]
    paths = [section(f"mount:/{at}", **{"app": "echo", **each}) for at, each in enumerate(mounts or ({},))]
    return build([*sections, *paths], "test")


def lines(of: Settings, system: System, workers: int | None = None) -> list[str]:
    return [str(problem).removeprefix("test: ") for problem in shortfalls(of, system, workers)]


@pytest.mark.parametrize("workers", [None, 4])
def test_the_defaults_fit_an_ample_machine_and_one_that_does_not_say(workers: int | None) -> None:
    assert lines(settings(), AMPLE, workers) == lines(settings(), System(), workers) == []


def test_open_files() -> None:
    assert lines(settings(), System(open_files=10_064)) == []
    [line] = lines(settings(), System(open_files=1024))
    assert line == (
        "[daemon] max_connections = 10000: only 1024 files may be open, so fewer than 960 of max_connections = 10000 clients can be "
        "connected, and the others are answered 503: raise the hard limit (LimitNOFILE=11024 in a unit of systemd, ulimit -n in a "
        "shell), or set max_connections = 960"
    )


def test_open_files_of_workers_and_apps() -> None:
    assert lines(settings(), System(open_files=2564), workers=4) == []
    [line] = lines(settings(), System(open_files=1024), workers=4)
    assert "only 1024 files may be open in each worker, so fewer than 3840 of" in line and "LimitNOFILE=3524" in line
    bridge = {"app": "bridge", "target": "tcp:127.0.0.1:1", "max_connections": "100"}
    assert lines(settings({"max_connections": "100"}, None, bridge), System(open_files=264)) == []
    [line] = lines(settings({"max_connections": "100"}, None, bridge), System(open_files=263))
    assert "beside 100 for apps" in line


def test_idle_clients_alone_are_too_many_for_the_machine() -> None:
    many = {"max_connections": "1000000"}
    [line] = lines(settings(many), System(machine_memory=1024 * MIB))
    assert line == (
        "[daemon] max_connections = 1000000: idle clients alone take up to 9.5 GiB, and this machine has 1.0 GiB of memory: set "
        "max_connections = 98304, or raise the limit (MemoryMax= in a unit of systemd)"
    )
    assert lines(settings({"max_connections": "98304"}), System(machine_memory=1024 * MIB)) == [], "the mend is one"


def test_slow_clients_are_too_many_for_the_cgroup() -> None:
    [line] = lines(settings(), System(cgroup_memory=1024 * MIB, machine_memory=1 << 40))
    assert "if no client reads" in line and "20.8 GiB, and its cgroup allows 1.0 GiB" in line
    assert line.endswith(", or lower send_backlog and max_message of the mounts")
    fitting = line.partition("set max_connections = ")[2].partition(",")[0]
    assert lines(settings({"max_connections": fitting}), System(cgroup_memory=1024 * MIB)) == [], "the mend is one"
    assert lines(settings({"max_connections": str(int(fitting) + 1)}), System(cgroup_memory=1024 * MIB)) != []
    small = {"send_backlog": "16KiB", "max_message": "4KiB"}
    assert lines(settings({"max_connections": "5000"}, None, small), System(cgroup_memory=1024 * MIB)) == []
    assert lines(settings(), System(machine_memory=1024 * MIB)) == [], "a machine can swap, and not all are slow at once"


def test_a_mount_with_few_clients_counts_for_those_alone() -> None:
    large, small = {"max_message": "100MiB", "max_connections": "2"}, {"max_message": "1KiB", "send_backlog": "1KiB"}
    of = settings({"max_connections": "1000"}, None, small, large)
    assert lines(of, System(cgroup_memory=512 * MIB)) == []
    assert len(lines(of, System(cgroup_memory=256 * MIB))) == 1


def test_no_number_is_suggested_where_none_fits() -> None:
    [line] = lines(settings(), System(cgroup_memory=32 * MIB))
    assert line.endswith(": raise the limit of memory")


def test_rooms_hold_more_than_there_is() -> None:
    rooms = {"app": "rooms", "memory": "1GiB"}
    of = settings({"max_connections": "100"}, None, {}, rooms)
    assert lines(of, System(machine_memory=2048 * MIB)) == []
    [line] = lines(of, System(machine_memory=2048 * MIB), workers=3)
    assert line.startswith("[mount:/1] memory = 1GiB: the rooms of all mounts may hold 4.0 GiB, 4 processes counted, and this machine has")
    fitting = line.partition("set memory = ")[2].partition(",")[0]
    mended = settings({"max_connections": "100"}, None, rooms | {"memory": fitting})
    assert lines(mended, System(machine_memory=2048 * MIB), workers=3) == []


def test_the_queue_of_a_listener() -> None:
    assert lines(settings(), System(queue=4096)) == []
    assert lines(settings(), System(queue=128)) == [
        "[listener:web] backlog = 4096: the kernel queues at most 128 connections: sysctl -w net.core.somaxconn=4096, or set backlog = 128"
    ]
    passed = {"address": "systemd:index=0"}
    assert lines(settings(None, passed), System(queue=128)) == [], "its backlog stands in the socket unit"


def test_the_time_for_a_stop() -> None:
    assert lines(settings({"drain_timeout": "89s"}), System(stop_seconds=90.0)) == []
    [line] = lines(settings({"drain_timeout": "2m"}), System(stop_seconds=90.0))
    assert line == (
        "[daemon] drain_timeout = 2m: a stop may take 120 s, and systemd kills the daemon after 90 s: set TimeoutStopSec=130 in the unit, "
        "or drain_timeout = 45s"
    )
    spread = {"drain_timeout": "10s", "drain_over": "1m"}
    assert lines(settings(spread), System(stop_seconds=71.0)) == []
    [line] = lines(settings(spread), System(stop_seconds=70.0))
    assert "a stop may take 70 s" in line and line.endswith("or drain_timeout = 5s")
    [line] = lines(settings(spread), System(stop_seconds=60.0))
    assert line.endswith("or shorter times for drain_grace, drain_over and drain_timeout")



# -- the system


def test_this_system() -> None:
    system = read_system({})
    assert system.machine_memory is not None and system.machine_memory > 64 * MIB
    assert system.stop_seconds is None


def fake_busctl(folder: Path, answer: str, status: int = 0) -> str:
    program = folder / "busctl"
    program.write_text(f"#!/bin/sh\necho \"$@\" > {folder}/asked\nprintf '{answer}'\nexit {status}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


def asked(folder: Path, answer: str, membership: str = "0::/system.slice/ws-1.service\n", status: int = 0) -> float | None:
    (folder / "cgroup").write_text(membership)
    return stop_timeout({"INVOCATION_ID": "1"}, folder / "cgroup", fake_busctl(folder, answer, status))


def test_systemd_tells_how_long_a_stop_may_take(tmp_path: Path) -> None:
    assert asked(tmp_path, "t 90000000\\n") == 90.0
    assert (tmp_path / "asked").read_text().split() == [
        "get-property", "org.freedesktop.systemd1", "/org/freedesktop/systemd1/unit/ws_2d1_2eservice", "org.freedesktop.systemd1.Service",
        "TimeoutStopUSec",
    ]  # fmt: skip


def test_the_systemd_of_a_user(tmp_path: Path) -> None:
    assert asked(tmp_path, "t 5000000\\n", "1:name=systemd:/user.slice/user@1000.service/app.slice/2ws.service\n") == 5.0
    assert (tmp_path / "asked").read_text().split()[:4:3] == ["--user", "/org/freedesktop/systemd1/unit/_32ws_2eservice"]


@pytest.mark.parametrize("answer", ["t 18446744073709551615\\n", "", "nonsense", "t -1", "s 5"])
def test_no_limit_or_no_answer(tmp_path: Path, answer: str) -> None:
    assert asked(tmp_path, answer) is None


def test_where_systemd_does_not_run_it(tmp_path: Path) -> None:
    assert asked(tmp_path, "t 5000000\\n", status=1) is None
    assert asked(tmp_path, "t 5000000\\n", "0::/user.slice/user@1000.service/session.scope\n") is None
    assert asked(tmp_path, "t 5000000\\n", "0::/docker/1\n") is None
    assert stop_timeout({}, tmp_path / "cgroup", fake_busctl(tmp_path, "t 1")) is None
    assert stop_timeout({"INVOCATION_ID": "1"}, tmp_path / "nothing", fake_busctl(tmp_path, "t 1")) is None
    (tmp_path / "cgroup").write_text("0::/a.service\n")
    assert stop_timeout({"INVOCATION_ID": "1"}, tmp_path / "cgroup", os.devnull) is None


def test_settings_that_look_like_a_mistake_are_told_at_a_start() -> None:
    with capturedLogs() as lines:
        tell(settings(None, None, {"ping_interval": "1s", "ping_timeout": "5s"}), AMPLE)
    text = "test: [mount:/0] ping_timeout is longer than ping_interval: a silent client is pinged once per ping_timeout"
    assert [formatEvent(line) for line in lines] == [text]
