"""ops/stalls.py: a thread that watches a loop, with real threads and calls that hold the loop until the test lets go."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, TypeVar

import pytest
import uvloop

from tests.support.lines import Lines
from wsdaemon.core.connection import Connection
from wsdaemon.ops.stalls import ELSEWHERE, StallWatch, mount_in

T = TypeVar("T")

SECONDS = 0.02
PATIENCE = 20.0


class Held:
    """A call that holds the loop until another thread has seen what it waits for."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def hold(self) -> None:
        assert self.let_go.wait(PATIENCE)


class Log(Lines):
    """The lines of the watch. `seen` is called with each in the watch's thread."""

    def __init__(self, seen: Callable[[str], None]) -> None:
        super().__init__()
        self.fields: list[dict[str, Any]] = []
        self._seen = seen

    def warn(self, format: str, **fields: Any) -> None:
        super().warn(format, **fields)
        self.fields.append(fields)
        self._seen(format.format(**fields))


def run(scene: Coroutine[Any, Any, T]) -> T:
    """On the loop of the daemon: it is compiled, so that it has no frames of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(scene)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - the watch's thread sets it, and has no way to wake the test
            await asyncio.sleep(0)


def connection_at(mount: str) -> Connection:
    connection = object.__new__(Connection)
    connection.handshake = type("Shake", (), {"mount": mount})()
    return connection


def test_a_call_that_holds_the_loop_is_told_with_its_mount_and_stack() -> None:
    held = Held()
    counts: dict[str, int] = {}
    log = Log(lambda line: held.let_go.set())

    def blocking_call(connection: Connection) -> None:
        held.hold()

    async def scene() -> None:
        watch = StallWatch(asyncio.get_running_loop(), SECONDS, {"/chat": "mine:chat"}.__getitem__, counts, log)
        await watch.start()
        try:
            asyncio.get_running_loop().call_soon(blocking_call, connection_at("/chat"))
            await until(lambda: len(log.lines) >= 2)
        finally:
            await watch.stop()

    run(scene())
    assert counts == {"/chat": 1}
    assert log.lines[0] == "the loop is held for more than 0.02 s by mine:chat at /chat and no client is served meanwhile"
    assert log.lines[1].startswith("the loop goes on: mine:chat at /chat held it for ")
    stack = log.fields[0]["log_stack"]
    assert "blocking_call" in stack and "asyncio/base_events" not in stack


def test_a_loop_that_waits_for_events_again_is_not_held() -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        watch = StallWatch(loop, 30.0, str, {}, Log(lambda line: None))
        watch._loop_thread = threading.get_ident()
        loop.call_soon(watch._give_sign)
        await until(watch._sign.is_set)

        def look() -> None:
            end = time.monotonic() + PATIENCE
            while watch._stall(False) is not None:  # the call that began this thread is about to return
                assert time.monotonic() < end

        await asyncio.to_thread(look)

    run(scene())


@pytest.mark.parametrize(("worked", "told"), [(0.0, False), (1.0, True)])
def test_a_watch_that_was_late_itself_believes_in_a_stall_only_if_the_process_worked(worked: float, told: bool) -> None:
    """After SIGSTOP or a suspended machine no time of a CPU passed; a call into C that kept the interpreter's lock used it all."""
    counts: dict[str, int] = {}
    log = Log(lambda line: None)

    async def scene() -> None:
        watch = StallWatch(asyncio.get_running_loop(), 0.25, str, counts, log, clock=lambda: 1.0, work=lambda: worked)
        watch._sign.set()
        watch._look(0.0, 0.0)

    run(scene())
    assert counts == ({ELSEWHERE: 1} if told else {})
    assert bool(log.lines) is told


def test_the_end_of_the_loop_ends_the_thread() -> None:
    async def scene() -> StallWatch:
        watch = StallWatch(asyncio.get_running_loop(), SECONDS, str, {}, Log(lambda line: None))
        await watch.start()
        return watch

    watch = run(scene())
    assert watch._thread is not None
    watch._thread.join(PATIENCE)
    assert not watch._thread.is_alive()


class Slotted:
    __slots__ = ("connection",)

    def __init__(self, connection: object) -> None:
        self.connection = connection


class Plain:
    def __init__(self, connection: object) -> None:
        self._connection = connection


class Trap:
    @property
    def connection(self) -> object:
        raise AssertionError("code of users is not run from the watch's thread")


@pytest.fixture
def connection() -> Connection:
    return connection_at("/there")


@pytest.mark.parametrize("make", [lambda one: one, Slotted, Plain])
def test_the_mount_is_found_by_a_local_variable(connection: Connection, make: Callable[[Connection], object]) -> None:
    def call(thing: object) -> FrameType:
        return sys._getframe()

    trap, empty = Trap(), object.__new__(Slotted)
    assert trap and empty
    assert mount_in(call(make(connection))) == "/there"
    assert mount_in(sys._getframe()) == "/there"
    assert mount_in(call(Trap())) is None
    assert mount_in(call(empty)) is None
    assert mount_in(call(object.__new__(Connection))) is None, "the loop's thread is held while it makes the connection"
