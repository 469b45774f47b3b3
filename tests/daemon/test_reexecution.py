"""daemon/reexecution.py: until the new program runs, everything stays as it was."""

from __future__ import annotations

import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.daemon.test_supervisor_state import STATE, TEXT
from tests.support.fakes import Loop
from wsdaemon.daemon import reexecution
from wsdaemon.daemon.control import OperationFailed
from wsdaemon.daemon.reexecution import Reexecution, found_problems, fresh_command
from wsdaemon.daemon.signals import HELD, Signals
from wsdaemon.daemon.supervisor_state import SupervisorState


class Supervisor:
    settings = SimpleNamespace(source="ws.ini", daemon=SimpleNamespace(start_timeout=60.0))

    def __init__(self, folder: Path, descriptors: dict[str, int]) -> None:
        self.directory = folder
        self.descriptors = descriptors
        self.failed: list[str] = []
        self.busy = False
        self.notifier, self.signs = self, 0

    def watchdog(self) -> None:
        self.signs += 1

    def check_upgradable(self) -> None:
        if self.busy:
            raise OperationFailed("generation 1 has not ended yet")

    async def until_quiet(self, seconds: float) -> None: ...

    def leave_state(self, text: str, control: object, pidfile: str) -> SupervisorState:
        assert (text, pidfile) == (TEXT, "/run/ws.pid")
        return replace(STATE, descriptors=self.descriptors)

    def log_failed_upgrade(self, reason: object) -> None:
        self.failed.append(str(reason).partition("\n")[0])


@pytest.fixture
def world(tmp_path: Path) -> Any:
    (tmp_path / "ws.ini").write_text(TEXT)
    return Supervisor(tmp_path, {})


def run(world: Supervisor, signals: Signals | None = None) -> Any:
    """The upgrade until it fails; its exception."""
    supervisor: Any = world
    control: Any = None
    with Loop() as loop:
        reexecution = Reexecution(supervisor, control, "/run/ws.pid", lambda: None, signals or Signals())
        task = loop.create_task(reexecution.run({}, lambda line: None))
        loop.settle()
        return task.exception()


def without_check(monkeypatch: pytest.MonkeyPatch) -> None:
    async def good(self: Reexecution, text: str) -> None:
        assert text == TEXT

    monkeypatch.setattr(Reexecution, "_check", good)


def test_the_new_program_gets_all_descriptors_and_no_signal_is_lost(world: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    world.descriptors["channel:0"] = reading
    without_check(monkeypatch)
    seen: list[Any] = []

    def execve(program: str, line: list[str], environ: dict[str, str]) -> None:
        assert world.signs == 1, "systemd hears of the daemon before the new program needs its time"
        assert os.get_inheritable(reading) and "LISTEN_FDS" not in environ
        seen.append((program, line[-1], signal.pthread_sigmask(signal.SIG_BLOCK, ()) >= HELD))
        raise OSError(8, "Exec format error")

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setenv("LISTEN_FDS", "1")
    error = run(world)
    assert seen[0][0] == sys.executable and "from wsdaemon.daemon.successor import main" in seen[0][1] and seen[0][2]
    assert "cannot start" in str(error) and len(world.failed) == 1
    assert not os.get_inheritable(reading), "the daemon goes on: no child may inherit it by chance"
    assert not HELD & signal.pthread_sigmask(signal.SIG_BLOCK, ())
    os.close(reading)
    os.close(writing)


def test_a_signal_whose_work_still_waits_is_there_for_the_new_program(world: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    without_check(monkeypatch)
    pending: list[set[int]] = []
    came: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda number, frame: came.append(number))

    def execve(program: str, line: list[str], environ: dict[str, str]) -> None:
        pending.append(set(signal.sigpending()))
        raise OSError(8, "Exec format error")

    monkeypatch.setattr(os, "execve", execve)
    signals = Signals()
    signals.owed.add(signal.SIGHUP)
    done = threading.Event()
    other = threading.Thread(target=done.wait)  # it blocks no signal
    other.start()
    try:
        run(world, signals)
    finally:
        done.set()
        other.join()
        signal.signal(signal.SIGHUP, before)
    assert (pending, came) == ([{signal.SIGHUP}], [signal.SIGHUP])


def test_a_stop_that_the_loop_has_not_heard_of_wins(world: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    without_check(monkeypatch)
    monkeypatch.setattr(os, "execve", lambda *told: pytest.fail("the new program would never hear of the signal"))
    signals = Signals()
    signals._stop_asked(signal.SIGTERM, None)
    assert str(run(world, signals)) == "the daemon stops"
    assert not HELD & signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_settings_file_that_is_gone_is_told(world: Supervisor) -> None:
    (world.directory / "ws.ini").unlink()
    assert "ws.ini" in str(run(world)) and len(world.failed) == 1


def test_a_settings_file_that_is_no_utf_8_is_told(world: Supervisor) -> None:
    (world.directory / "ws.ini").write_bytes(b"\xff")
    assert "expected UTF-8 text" in str(run(world)) and len(world.failed) == 1


def test_one_upgrade_at_a_time(world: Supervisor) -> None:
    world.busy = True
    assert str(run(world)) == "generation 1 has not ended yet"


def test_the_system_may_lack_the_interpreter(world: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reexecution, "fresh_command", lambda module: ["/nowhere/python"])
    assert "the system cannot start" in str(run(world))


@pytest.mark.parametrize(
    ("written", "status", "expected"),
    [
        ('noise\n{"problems": []}\n', 0, []),
        ('\n{"problems": ["one", "two"]}\n', 1, ["one", "two"]),
        ("Traceback\nImportError: x\n", 1, ["the check of the new code ended with status 1\nTraceback\nImportError: x"]),
        ('{"problems": []}', -9, ["the check of the new code ended with status -9"]),
        ("", -11, ["the check of the new code ended with status -11\n"]),
    ],
)
def test_the_problems_of_a_check(written: str, status: int, expected: list[str]) -> None:
    assert found_problems(written, status) == expected


def test_a_new_interpreter_finds_its_own_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path), os.path.dirname(os.__file__), "/usr/lib/python311.zip"])  # noqa: PTH120
    command = fresh_command("some.module")
    assert command[0] == sys.executable and "-P" in command
    assert f"in [{str(tmp_path)!r}] if" in command[-1], "the places of this process, and no library of this version"
