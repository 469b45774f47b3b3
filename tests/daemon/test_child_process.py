"""The common part of a worker and the hub: without a supervisor there is none of it. tests/live/ shows the rest with real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import globalLogBeginner

from wsdaemon.daemon.channel import Channel
from wsdaemon.daemon.child_process import END, MAX_REASON_CHARACTERS, SUPERVISOR_DIED, ChildProcess
from wsdaemon.daemon.heartbeats import Heartbeats, SlotState
from wsdaemon.daemon.inheritance import InheritedLog, Manifest, Role, environment
from wsdaemon.settings.daemon import LoggingSettings


class Told:
    """A channel that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def send(self, kind: str, **fields: Any) -> None:
        self.sent.append((kind, fields))


@pytest.fixture
def child() -> Iterator[ChildProcess]:
    page = Heartbeats.make(2)
    manifest = Manifest(
        role=Role.WORKER, number=2, generation=1, supervisor=os.getpid(), workers=2, settings="", source="ws.ini", directory="/",
        log=InheritedLog(destination="stdout", prefix=""), descriptors={"heartbeats": page},
    )  # fmt: skip
    yield ChildProcess(manifest)
    os.close(page)


def test_no_other_program_can_start_a_worker() -> None:
    program = "from wsdaemon.daemon.worker import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "wsdaemon: this module is started by the supervisor of `twistd wsdaemon`, and by nothing else\n"


def test_a_child_tells_the_supervisor_that_it_is_ready(child: ChildProcess) -> None:
    told: Any = Told()
    child.channel = told
    child.ready()
    assert told.sent == [("ready", {})]
    assert child.heartbeats.worker(2).state is SlotState.READY


def test_a_long_reason_keeps_its_beginning_and_its_end(child: ChildProcess) -> None:
    told: Any = Told()
    child.channel = told
    child.failed("Traceback" + "x" * 100_000 + "ImportError: nope")
    ((kind, fields),) = told.sent
    assert kind == "failed"
    assert fields["reason"].startswith("Traceback") and fields["reason"].endswith("ImportError: nope")
    assert len(fields["reason"]) < MAX_REASON_CHARACTERS + 100


def test_the_death_of_the_supervisor_is_told_once_and_sets_an_end(child: ChildProcess) -> None:
    """The kernel's signal may come after the end of the channel, and must not end the process then."""
    deaths: list[int] = []
    child._orphaned = lambda: deaths.append(1)
    before = {number: signal.getsignal(number) for number in (SUPERVISOR_DIED, END)}
    signal.signal(SUPERVISOR_DIED, child._told_by_the_kernel)
    try:
        child._supervisor_died()
        signal.raise_signal(SUPERVISOR_DIED)
        child._supervisor_died()
        assert deaths == [1]
        assert signal.getsignal(END) is signal.SIG_DFL
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def test_an_observer_of_the_operators_own_takes_the_lines(child: ChildProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Any] = []
    monkeypatch.setattr(globalLogBeginner, "beginLoggingTo", lambda observers, **options: begun.extend(observers))
    log = InheritedLog(destination="stdout", prefix="", observer="builtins.list")
    object.__setattr__(child.manifest, "log", log)
    assert child.make_log(LoggingSettings()) is None
    assert begun == [[]]


def test_the_log_is_the_file_that_the_supervisor_opened(child: ChildProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    begun: list[Any] = []
    monkeypatch.setattr(globalLogBeginner, "beginLoggingTo", lambda observers, **options: begun.extend(observers))
    path = tmp_path / "ws.log"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    moved = path.rename(tmp_path / "moved.log")
    object.__setattr__(child.manifest, "log", InheritedLog(destination=str(path), prefix=""))
    object.__setattr__(child.manifest, "descriptors", {"log": descriptor})
    log = child.make_log(LoggingSettings())
    assert log is not None and begun == [log]
    log({"log_format": "hello", "log_namespace": "wsdaemon", "log_time": 0.0})
    assert moved.read_text() == "1970-01-01T00:00:00.000Z info  wsdaemon worker=2  hello\n"
    assert log.reopen()
    log({"log_format": "again", "log_namespace": "wsdaemon", "log_time": 0.0})
    assert "again" in path.read_text()
    log.close()


def test_a_child_that_fails_before_it_has_a_loop_tells_its_reason(child: ChildProcess) -> None:
    ours, theirs = Channel.pair()
    with ours, theirs:
        object.__setattr__(child.manifest, "descriptors", {"supervisor": theirs.fileno()})
        child.failed("no settings")
        assert json.loads(ours.recv(1000)) == {"kind": "failed", "reason": "no settings"}
        ours.close()
        child.failed("the supervisor has died")


@pytest.mark.parametrize(("role", "program"), [(Role.WORKER, "worker"), (Role.HUB, "hub")])
def test_a_child_whose_settings_cannot_be_read_tells_the_traceback(role: Role, program: str) -> None:
    page, (ours, theirs) = Heartbeats.make(2), Channel.pair()
    heritage = Manifest(
        role=role, number=0 if role is Role.HUB else 1, generation=1, supervisor=os.getpid(), workers=2, settings="\ud800",
        source="ws.ini", directory="/", log=InheritedLog(destination="stdout", prefix=""),
        descriptors={"heartbeats": page, "supervisor": theirs.fileno()},
    )  # fmt: skip
    memory = heritage.write()
    with ours:
        code = f"from wsdaemon.daemon.{program} import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment(os.environ, memory), pass_fds=[memory, page, theirs.fileno()], check=False,
            capture_output=True, timeout=60,
        )  # fmt: skip
        theirs.close()
        for descriptor in (memory, page):
            os.close(descriptor)
        assert done.returncode == 1
        told = json.loads(ours.recv(100_000))
    assert told["kind"] == "failed"
    assert "read_settings" in told["reason"] and "UnicodeEncodeError" in told["reason"]
