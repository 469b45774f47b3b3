"""When a child is started again, and when the daemon gives up."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.logger import capturedLogs, formatEvent

from tests.support.fakes import Loop
from tests.support.supervised import Process
from wsdaemon.daemon.inheritance import Role
from wsdaemon.daemon.keeper import END_SECONDS, FAILED_STARTS, LAST_RETRY_SECONDS, LONG_LIFE_SECONDS, REAP_SECONDS, Keeper


class Channel:
    """`ended` is called by `finish`, as a channel calls its owner at the end."""

    open = True

    def __init__(self) -> None:
        self.ended: Callable[[], None] = lambda: None

    def finish(self) -> None:
        self.open = False
        self.ended()


class FakeChild:
    """A child as the keeper knows it."""

    role, number = Role.WORKER, 2

    def __init__(self) -> None:
        self.process = Process()
        self.channel = Channel()
        self.ready_since: float | None = None
        self.reason = ""
        self.forgotten = False

    def how_it_ended(self) -> str:
        return f"ended with status {self.process.returncode}"

    def forget(self) -> None:
        self.forgotten = True

    def kill(self) -> None:
        if self.process.returncode is None:
            self.process.returncode = -9


class Kept:
    """A keeper, and everything that it did."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.started: list[FakeChild] = []
        self.waits: list[float] = []
        self.reasons: list[str] = []
        self.ready = 0
        self.ends = 0
        self.problem: OSError | None = None
        self.keeper = Keeper(
            Role.WORKER, 2, loop, launch=self.launch, ready=self.became_ready, lost=lambda child, wait: self.waits.append(wait),
            gave_up=self.reasons.append,
        )  # fmt: skip

    def launch(self) -> Any:
        if self.problem is not None:
            raise self.problem
        child: Any = FakeChild()
        child.channel.ended = lambda: self.told_of_the_end(child)
        self.started.append(child)
        return child

    def told_of_the_end(self, child: Any) -> None:
        """As the supervisor, which tells its gathering first."""
        self.ends += 1
        self.keeper.channel_ended(child)

    def became_ready(self, child: Any) -> None:
        self.ready += 1

    def end(self, status: int = 1, reason: str = "") -> None:
        """The child ends."""
        child = self.started[-1]
        child.reason, child.process.returncode = reason, status
        self.keeper.look()
        assert child.forgotten


@pytest.fixture
def kept() -> Iterator[Kept]:
    with Loop() as loop:
        yield Kept(loop)


def test_a_child_that_dies_is_started_again_at_once(kept: Kept) -> None:
    kept.keeper.start()
    kept.keeper.became_ready()
    kept.loop.advance(LONG_LIFE_SECONDS)
    kept.end(-9)
    kept.loop.settle()
    assert (len(kept.started), kept.waits, kept.ready, kept.keeper.ready) == (2, [0.0], 1, False)


def test_a_child_that_dies_again_and_again_is_started_later_and_later_but_for_ever(kept: Kept) -> None:
    kept.keeper.start()
    for _ in range(12):
        kept.keeper.became_ready()
        kept.end()
        kept.loop.advance(LAST_RETRY_SECONDS)
    assert kept.waits[:6] == [0, 0.25, 0.5, 1, 2, 4]
    assert kept.waits[-1] == LAST_RETRY_SECONDS
    assert not kept.reasons
    kept.keeper.became_ready()
    kept.loop.advance(LONG_LIFE_SECONDS)
    kept.end()
    assert kept.waits[-1] == 0, "it lived long in between"


def test_five_failed_starts_in_a_row_end_the_daemon(kept: Kept) -> None:
    kept.keeper.start()
    for _ in range(FAILED_STARTS):
        assert not kept.reasons
        kept.end(reason="no module named nope")
        kept.loop.advance(1)
    assert kept.waits == [0.1, 0.2, 0.4, 0.8]
    assert kept.reasons == ["worker 2 did not start 5 times in a row: no module named nope"]
    kept.loop.advance(60)
    assert len(kept.started) == FAILED_STARTS


def test_a_start_that_succeeds_begins_the_count_anew(kept: Kept) -> None:
    kept.keeper.start()
    for _ in range(3):
        for _ in range(FAILED_STARTS - 1):
            kept.end()
            kept.loop.advance(1)
        kept.keeper.became_ready()
        kept.loop.advance(LONG_LIFE_SECONDS)
        kept.end()
        kept.loop.settle()
    assert not kept.reasons


def test_while_others_serve_failed_starts_are_further_apart(kept: Kept) -> None:
    kept.keeper.later = True
    kept.keeper.start()
    for _ in range(FAILED_STARTS):
        kept.end()
        kept.loop.advance(5)
    assert kept.waits == [0.25, 0.5, 1, 2]


def test_a_system_without_room_for_a_process_counts_as_a_failed_start(kept: Kept) -> None:
    kept.problem = OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    kept.keeper.start()
    kept.loop.advance(5)
    reason = f"the system cannot start {sys.executable}: {os.strerror(errno.EAGAIN)}"
    assert kept.reasons == [f"worker 2 did not start 5 times in a row: {reason}"]


def test_the_reason_stands_in_the_log_once(kept: Kept) -> None:
    with capturedLogs() as events:
        kept.keeper.start()
        for _ in range(3):
            kept.end(reason="two problems:\na\nb")
            kept.loop.advance(1)
    lines = [formatEvent(event) for event in events]
    assert lines == [
        "worker 2 did not start (1 of 5): two problems:; the next attempt is in 0.1 s",
        "worker 2 did not start (2 of 5): the reason is the same; the next attempt is in 0.2 s",
        "worker 2 did not start (3 of 5): the reason is the same; the next attempt is in 0.4 s",
    ]
    assert events[0]["log_failure"].getTraceback() == "a\nb"


def test_the_end_of_a_channel_is_the_end_of_the_process_a_moment_later(kept: Kept) -> None:
    kept.keeper.start()
    kept.keeper.became_ready()
    child: Any = kept.started[0]
    child.channel.open = False
    kept.keeper.channel_ended(child)
    assert len(kept.started) == 1
    child.process.returncode = 1
    kept.loop.advance(0.1)
    assert len(kept.started) == 2


def test_a_child_that_lives_on_without_its_channel_is_killed(kept: Kept) -> None:
    kept.keeper.start()
    kept.keeper.became_ready()
    child: Any = kept.started[0]
    child.channel.open = False
    kept.keeper.channel_ended(child)
    kept.loop.advance(END_SECONDS + 0.1)
    assert child.process.returncode == -9
    assert len(kept.started) == 2


def test_a_child_that_is_released_is_not_started_again(kept: Kept) -> None:
    kept.keeper.start()
    kept.keeper.became_ready()
    kept.keeper.release()
    ended = kept.loop.create_task(kept.keeper.ended())
    kept.loop.settle()
    assert not ended.done()
    kept.end(0)
    kept.loop.settle()
    assert ended.done()
    kept.loop.advance(60)
    assert len(kept.started) == 1


def test_a_start_that_waits_is_cancelled_by_the_release(kept: Kept) -> None:
    kept.keeper.start()
    kept.end()
    kept.keeper.release()
    ended = kept.loop.create_task(kept.keeper.ended())
    kept.loop.advance(60)
    assert ended.done()
    assert len(kept.started) == 1


def test_a_death_that_is_seen_before_the_end_of_the_channel_is_told_as_that_end(kept: Kept) -> None:
    kept.keeper.start()
    kept.keeper.became_ready()
    kept.end(-9)
    assert kept.ends == 1
    kept.loop.settle()
    assert len(kept.started) == 2


def test_a_child_that_lives_on_is_looked_at_by_one_timer(kept: Kept) -> None:
    kept.keeper.start()
    kept.keeper.became_ready()
    child: Any = kept.started[0]
    child.channel.open = False
    polls = 0

    def poll() -> None:
        nonlocal polls
        polls += 1

    child.process.poll = poll
    for _ in range(20):
        kept.keeper.look()
    polls = 0
    kept.loop.advance(REAP_SECONDS)
    assert polls == 1
