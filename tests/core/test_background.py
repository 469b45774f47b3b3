"""core/background.py: at a stop all work of apps has until `drain_timeout`; then it is cancelled, and the log says which."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.fakes import LOCAL, PEER, Loop
from tests.support.lines import Lines
from wsdaemon.core.background import CANCEL_SECONDS, MAX_LINES, Background, ThreadWork
from wsdaemon.core.connection import Connection
from wsdaemon.core.handshake import Handshake, Headers


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as loop:
        yield loop


def connection(number: int = 1) -> Connection:
    handshake = Handshake(
        target="/chat", path="/chat", raw_path=b"/chat", query_string=b"", headers=Headers([]), peer=PEER, local=LOCAL, mount="/chat"
    )
    wire: Any = type("Wire", (), {"writer": None})()
    return Connection(wire, handshake, f"ab12-{number}")


def start(loop: Loop, background: Background, seconds: float, number: int = 1) -> asyncio.Task[None]:
    task = loop.create_task(asyncio.sleep(seconds))
    background.add(task, connection(number))
    return task


def test_work_is_forgotten_when_it_is_done(loop: Loop) -> None:
    background, one = Background(), connection()
    for seconds in (1, 2):
        background.add(loop.create_task(asyncio.sleep(seconds)), one)
    assert len(background) == len(one._work) == 2
    loop.advance(1)
    assert len(background) == len(one._work) == 1
    loop.advance(1)
    assert len(background) == len(one._work) == 0


def test_a_future_that_several_connections_wait_for(loop: Loop) -> None:
    background, one, other = Background(), connection(1), connection(2)
    future = loop.create_future()
    background.add(future, one, own=False)
    background.add(future, other, own=False)
    assert one._work == other._work == ()
    future.set_result(None)
    loop.settle()
    assert len(background) == 0


def test_saving_to_a_database_is_finished_at_a_stop(loop: Loop) -> None:
    background, log = Background(), Lines()
    saving = start(loop, background, 8)
    stopping = loop.create_task(background.finish(10, log))
    loop.advance(7.9)
    assert not stopping.done()
    loop.advance(0.2)
    assert stopping.done() and saving.done() and not saving.cancelled()
    assert log.lines == []


def test_work_that_begins_meanwhile_is_waited_for(loop: Loop) -> None:
    """A closing callback that the end of other work calls."""
    background, log, begun = Background(), Lines(), []

    start(loop, background, 3).add_done_callback(lambda done: begun.append(start(loop, background, 4)))
    stopping = loop.create_task(background.finish(10, log))
    loop.advance(6.9)
    assert not stopping.done()
    loop.advance(0.2)
    assert stopping.done() and not begun[0].cancelled()


def test_what_takes_longer_is_cancelled_and_named(loop: Loop) -> None:
    background, log = Background({"/chat": "good:chat"}), Lines()
    task = start(loop, background, 1000)
    stopping = loop.create_task(background.finish(10, log))
    loop.advance(9.9)
    assert not task.done()
    loop.advance(0.2)
    assert task.cancelled() and stopping.done()
    assert log.lines == ["cancelled, because drain_timeout is over: good:chat at /chat, connection ab12-1"]


def test_the_lines_are_bounded(loop: Loop) -> None:
    background, log = Background(), Lines()
    for number in range(100):
        start(loop, background, 1000, number)
    loop.create_task(background.finish(0, log))
    loop.settle()
    assert len(log.lines) == MAX_LINES + 1
    assert log.lines[-1] == f"cancelled, because drain_timeout is over: {100 - MAX_LINES} more"
    assert len(background) == 0


def test_threads_are_named_in_one_line_and_left(loop: Loop) -> None:
    background, log = Background({"/chat": "good:chat"}), Lines()
    works = [ThreadWork(loop=loop) for _ in range(100)]
    for number, work in enumerate(works):
        background.add(work, connection(number), own=False)
    stopping = loop.create_task(background.finish(10, log))
    loop.advance(9.9)
    assert not stopping.done()
    loop.advance(0.2)
    assert stopping.done() and not any(work.done() for work in works)
    assert len(log.lines) == 1
    assert log.lines[0].startswith("left running in threads, because drain_timeout is over: good:chat at /chat, connection ab12-0, ")
    assert log.lines[0].endswith(f"connection ab12-{MAX_LINES - 1} and {100 - MAX_LINES} more")
    for work in works:
        work.set_result(None)
    loop.settle()
    assert len(background) == 0


def test_work_that_does_not_end_when_it_is_cancelled(loop: Loop) -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(3 * CANCEL_SECONDS)
            except asyncio.CancelledError:
                continue
            return

    background, log = Background({"/chat": "good:chat"}), Lines()
    background.add(loop.create_task(stubborn()), connection())
    stopping = loop.create_task(background.finish(1, log))
    loop.advance(1 + CANCEL_SECONDS + 0.1)
    assert stopping.done()
    assert log.lines[1:] == ["1 of them did not end, good:chat at /chat, connection ab12-1 among them"]


@pytest.mark.parametrize("before", [True, False])
def test_a_second_signal_waits_no_longer(loop: Loop, before: bool) -> None:
    background, log = Background(), Lines()
    task = start(loop, background, 1000)
    if before:
        background.hurry()
    loop.create_task(background.finish(10, log))
    loop.settle()
    background.hurry()
    loop.settle()
    assert task.cancelled()
