"""apps/process/child.py, with real programs: pipes, backpressure, limits, process groups, and nothing that is left."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.inside import descriptors
from tests.support.processes import children, group_members, launch, run, until
from wsdaemon.apps.process.child import Child, Launch, limits

ENVIRONMENT: Mapping[bytes, bytes] = {b"PATH": os.environ.get("PATH", os.defpath).encode(), b"COLOR": b"red"}


class Parent:
    def __init__(self) -> None:
        self.out = b""
        self.err = b""
        self.status: int | None = None
        self.is_gone = False
        self.statuses = 0

    def output(self, data: bytes) -> None:
        self.out += data

    def errors(self, data: bytes) -> None:
        self.err += data

    def output_ended(self, status: int) -> None:
        self.status = status
        self.statuses += 1

    def gone(self) -> None:
        assert self.statuses == 1
        self.is_gone = True

    def out_of_reach(self) -> None:
        raise AssertionError("it can be killed")


def start(parent: Parent, how: Launch) -> Child:
    return Child(how, ENVIRONMENT, parent, asyncio.get_running_loop())


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", -9), ("kill -TERM $$", -15)])
def test_output_errors_and_status(script: str, status: int) -> None:
    async def story() -> None:
        parent = Parent()
        start(parent, launch(f"echo $COLOR; echo oops >&2; {script}"))
        await until(lambda: parent.is_gone)
        assert (parent.out, parent.err, parent.status) == (b"red\n", b"oops\n", status)

    run(story())


def test_all_output_of_a_program_that_ends_at_once() -> None:
    async def story() -> None:
        parent = Parent()
        start(parent, launch("head -c 3000000 /dev/zero; echo end"))
        await until(lambda: parent.is_gone)
        assert len(parent.out) == 3_000_004

    run(story())


def test_a_program_that_does_not_read_is_waited_for() -> None:
    async def story() -> None:
        parent = Parent()
        child = start(parent, launch("read line; echo got $line; cat | wc -c"))
        assert child.write(b"go\n") is None
        taken = child.write(bytes(2_000_000))
        more = child.write(b"more")
        assert taken is not None
        assert more is taken
        assert child.unwritten > 1_000_000
        await taken
        assert child.unwritten == 0
        assert child.taken() is None
        child._close_input()
        await until(lambda: parent.is_gone)
        assert parent.out.split() == [b"got", b"go", b"2000004"]

    run(story())


def test_input_that_waits_is_written_before_the_input_is_closed() -> None:
    async def story() -> None:
        parent = Parent()
        child = start(parent, launch("sleep 0.05; wc -c >&2"))
        child.write(bytes(500_000))
        child.end()
        assert child.write(b"late") is None
        await until(lambda: parent.is_gone)
        assert parent.err.strip() == b"500000"

    run(story())


def test_a_program_that_has_closed_its_input_misses_messages() -> None:
    async def story() -> None:
        parent = Parent()
        child = start(parent, launch("exec 0<&-; echo closed; sleep 100", stop_timeout=0.05))
        await until(lambda: parent.out)
        assert child.write(b"x") is None
        assert child.write(bytes(1_000_000)) is None
        child.end()
        await until(lambda: parent.is_gone)
        assert parent.status == -signal.SIGTERM

    run(story())


def test_a_paused_program_waits_with_its_output_and_loses_none() -> None:
    async def story() -> None:
        parent = Parent()
        child = start(parent, launch("head -c 1000000 /dev/zero; exit 5"))
        child.pause()
        child.pause()
        await asyncio.sleep(0.05)
        assert parent.out == b""
        child.resume()
        await until(lambda: parent.is_gone)
        assert (len(parent.out), parent.status) == (1_000_000, 5)

    run(story())


def test_a_paused_program_that_has_ended_still_has_its_output() -> None:
    async def story() -> None:
        parent = Parent()
        child = start(parent, launch("echo last"))
        child.pause()
        await until(lambda: child.status is not None)
        assert (parent.out, parent.status) == (b"", None)
        child.resume()
        await until(lambda: parent.is_gone)
        assert (parent.out, parent.status) == (b"last\n", 0)

    run(story())


def test_the_end_is_first_the_end_of_the_input() -> None:
    async def story() -> None:
        parent = Parent()
        child = start(parent, launch("cat >/dev/null; exit 7"))
        child.end()
        child.end()
        await until(lambda: parent.is_gone)
        assert parent.status == 7

    run(story())


def test_then_sigterm() -> None:
    async def story() -> None:
        parent = Parent()
        child = start(parent, launch("trap 'echo term >&2; exit 4' TERM; echo; while :; do sleep 0.02; done", stop_timeout=0.05))
        await until(lambda: parent.out)
        child.end()
        await until(lambda: parent.is_gone)
        assert parent.status == 4
        assert b"term\n" in parent.err

    run(story())


def test_then_sigkill_to_the_whole_group() -> None:
    async def story() -> None:
        parent = Parent()
        child = start(parent, launch("trap '' TERM; sleep 1000 & sleep 1000 & echo; while :; do sleep 0.02; done", stop_timeout=0.05))
        await until(lambda: parent.out)
        assert len(group_members(child.pid)) >= 3
        child.end()
        await until(lambda: parent.is_gone)
        assert parent.status == -signal.SIGKILL
        await until(lambda: not group_members(child.pid))

    run(story())


@pytest.mark.parametrize("trap", ["", "trap '' TERM; "])
def test_descendants_do_not_outlive_the_program(trap: str) -> None:
    async def story() -> None:
        parent = Parent()
        child = start(parent, launch(f"{trap}sleep 1000 & sleep 1000 </dev/null >/dev/null 2>&1 & exit 0", stop_timeout=0.1))
        await until(lambda: parent.is_gone)
        assert parent.status == 0
        await until(lambda: not group_members(child.pid))

    run(story())


def test_descendants_are_killed_while_the_output_waits_for_the_client() -> None:
    async def story() -> None:
        parent = Parent()
        script = "trap '' TERM; sleep 1000 </dev/null >/dev/null 2>&1 & read go; echo last"
        child = start(parent, launch(script, stop_timeout=0.05))
        child.pause()
        child.write(b"go\n")
        await until(lambda: child.status is not None)
        try:
            await until(lambda: not group_members(child.pid))
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        assert not parent.is_gone and parent.out == b""
        child.resume()
        await until(lambda: parent.is_gone)
        assert (parent.out, parent.status) == (b"last\n", 0)

    run(story())


def test_no_group_is_given_up_before_sigkill(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        parent, loop = Parent(), asyncio.get_running_loop()
        signals: list[int] = []

        def signalled(child: Child, number: int) -> bool:
            signals.append(number)
            return True

        child = start(parent, launch("exit 0", stop_timeout=1.0))
        await until(lambda: parent.is_gone)
        monkeypatch.setattr(Child, "_signal", signalled)
        child._group_left = loop.time() - 1000.0  # the loop stood still
        child._look_at_group(False)
        assert signals == [0, signal.SIGKILL]

    run(story())


def test_a_descendant_that_writes_on_does_not_hold_the_loop() -> None:
    async def story() -> None:
        parent = Parent()
        start(parent, launch("trap '' TERM; yes & echo first; exit 0", stop_timeout=0.05))
        await until(lambda: parent.is_gone)
        assert parent.out.startswith(b"first") or b"y\n" in parent.out
        assert parent.status == 0

    run(story())


def test_a_program_is_killed_at_once() -> None:
    async def story() -> None:
        parent = Parent()
        child = start(parent, launch("echo; sleep 1000"))
        await until(lambda: parent.out)
        child.kill()
        await until(lambda: parent.is_gone)
        assert parent.status == -signal.SIGKILL

    run(story())


def test_limits() -> None:
    assert limits(0, 0, 0) == ""

    async def story() -> None:
        parent = Parent()
        start(parent, launch("ulimit -t; ulimit -v; ulimit -n; ulimit -Hn", limits=limits(7, 1_000_000_001, 50)))
        await until(lambda: parent.is_gone)
        assert parent.out.split() == [b"7", b"976563", b"50", b"50"]

    run(story())


def test_limits_keep_the_words_of_the_command() -> None:
    async def story() -> None:
        parent = Parent()
        how = Launch(executable="/bin/echo", argv=("echo", "a b", "$COLOR", "'"), directory=None, stop_timeout=1, limits=limits(7, 0, 0))
        start(parent, how)
        await until(lambda: parent.is_gone)
        assert parent.out == b"a b $COLOR '\n"

    run(story())


def test_a_program_has_the_usual_limit_of_files_and_no_descriptor_of_ours() -> None:
    async def story() -> None:
        parent = Parent()
        start(parent, launch("while [ $(ulimit -Sn) -gt 1024 ]; do :; done; ulimit -Sn; ls /proc/self/fd"))
        await until(lambda: parent.is_gone)
        assert parent.out.split() == [b"1024", b"0", b"1", b"2", b"3"]

    run(story())


def test_a_program_that_cannot_be_started_leaves_nothing() -> None:
    async def story() -> None:
        before = descriptors()
        for how in (
            Launch(executable="/nowhere/program", argv=("program",), directory=None, stop_timeout=1),
            Launch(executable="/bin/sh", argv=("sh",), directory=Path("/nowhere"), stop_timeout=1),
        ):
            with pytest.raises(OSError, match="nowhere"):
                start(Parent(), how)
        assert descriptors() == before
        assert children() == []

    run(story())


def test_a_session_of_its_own() -> None:
    async def story() -> None:
        parent = Parent()
        child = start(parent, launch("ps -o pid=,pgid=,sid= -p $$ 2>/dev/null || cut -d' ' -f1,5,6 /proc/$$/stat"))
        await until(lambda: parent.is_gone)
        assert parent.out.split() == [str(child.pid).encode()] * 3

    run(story())
