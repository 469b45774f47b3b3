"""A child is started with its inheritance and nothing else, and gives its stack when it hangs."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.inside import descriptors as count_descriptors
from tests.support.inside import run_inside, until
from wsdaemon.daemon import children
from wsdaemon.daemon.channel import Message
from wsdaemon.daemon.children import AdoptedProcess, LaunchedChild, name_of, start_child
from wsdaemon.daemon.inheritance import InheritedLog, Manifest, Role
from wsdaemon.settings.inherited import InheritedFile


@dataclass
class Started:
    """A child, and everything that it told."""

    child: LaunchedChild
    told: list[Message] = field(default_factory=list)
    ends: int = 0


def start(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, program: str) -> Started:
    monkeypatch.setattr(children, "MODULES", {Role.WORKER: "tests.support.child_program"})

    def make_manifest(descriptors: Mapping[str, int]) -> Manifest:
        return Manifest(
            role=Role.WORKER, number=2, generation=1, supervisor=os.getpid(), workers=2, settings=program, source="ws.ini", directory="/",
            log=InheritedLog(destination="stdout", prefix=""), descriptors=descriptors,
            files={"/key": InheritedFile(b"very secret", 0o600, (1, 2, 3, 4, 5))},
        )  # fmt: skip

    def received(child: LaunchedChild, message: Message, descriptors: Sequence[int]) -> None:
        started.told.append(message)

    def ended(child: LaunchedChild) -> None:
        started.ends += 1

    with Path("/dev/null").open() as null:
        started = Started(start_child(loop, make_manifest, {"heartbeats": null.fileno()}, received=received, ended=ended))
    return started


async def reaped(child: LaunchedChild) -> None:
    await until(lambda: child.process.poll() is not None)
    child.forget()


def test_a_child_has_its_inheritance_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))

    async def main() -> None:
        started = start(asyncio.get_running_loop(), monkeypatch, "answer")
        await until(lambda: bool(started.told))
        told = started.told[0]
        assert told["number"] == 2
        assert told["key"] == "very secret"
        assert not {"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID"} & set(told["environ"])
        assert "very secret" not in repr(told["environ"]) + repr(told["arguments"])
        assert told["session"], "Ctrl-C on a terminal is the supervisor's alone"
        assert set(told["open"]) == {0, 1, 2, *told["named"]}
        started.child.channel.send("serve")
        await until(lambda: started.ends > 0)
        await reaped(started.child)
        assert started.child.how_it_ended() == "ended with status 3"

    run_inside(main())


def test_a_child_that_hangs_gives_the_stack_of_its_main_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        started = start(asyncio.get_running_loop(), monkeypatch, "hang")
        await until(lambda: bool(started.told))
        stack = await started.child.take_stack()
        assert "in spin_for_ever" in stack
        os.kill(started.child.process.pid, signal.SIGSTOP)
        assert await started.child.take_stack() == "", "a process that is stopped cannot"
        started.child.kill()
        await reaped(started.child)
        assert started.child.how_it_ended() == "was killed by SIGKILL"
        assert await started.child.take_stack() == ""

    run_inside(main())


def test_a_child_that_ends_while_its_stack_is_asked_for_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        started = start(asyncio.get_running_loop(), monkeypatch, "answer")
        await until(lambda: bool(started.told))
        os.kill(started.child.process.pid, signal.SIGSTOP)
        asked = asyncio.ensure_future(started.child.take_stack())
        await asyncio.sleep(0)
        started.child.kill()
        await reaped(started.child)
        assert not asked.done()
        assert await asked == ""

    run_inside(main())


def test_a_child_that_cannot_be_started_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        gc.collect()  # objects of earlier tests must not close their descriptors between the two counts
        before = count_descriptors()
        monkeypatch.setattr("wsdaemon.daemon.children.sys.executable", "/nowhere/python")
        with pytest.raises(FileNotFoundError):
            start(asyncio.get_running_loop(), monkeypatch, "answer")
        assert count_descriptors() == before

    run_inside(main())


@pytest.mark.parametrize(("role", "number", "name"), [(Role.WORKER, 3, "worker 3"), (Role.HUB, 0, "hub")])
def test_names(role: Any, number: int, name: str) -> None:
    assert name_of(role, number) == name


def test_a_child_that_the_program_before_has_started_is_reaped_once() -> None:
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
    child = AdoptedProcess(pid)
    assert child.poll() is None
    child.kill()
    while child.poll() is None:
        pass
    assert (child.returncode, child.poll()) == (-signal.SIGKILL, -signal.SIGKILL)
    child.kill()  # does nothing, whatever process has the number now
