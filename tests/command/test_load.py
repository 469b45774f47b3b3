"""command/load.py: the timetable, on a clock of the test's own, with servers that stand still."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from wsdaemon.client import WebSocketClient
from wsdaemon.command.load import MOST_AT_ONCE, NUMBER_DIGITS, Line, LoadPlan, LoadTally


class Echo:
    """A client whose server answers at once, and stands still when message `stall_at` comes, for `stall` seconds."""

    def __init__(self, here: Here, stall_at: int = -1, stall: float = 0.0, change: Callable[[Any], Any] = lambda message: message) -> None:
        self.here, self.stall_at, self.stall, self.change = here, stall_at, stall, change
        self.number = 0
        self.line: Line

    async def send(self, message: str | bytes) -> None:
        if self.number == self.stall_at:
            self.here.time += self.stall
        self.number += 1
        self.line.received(self.change(message))


class Here:
    """A clock that moves when a task waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = 100.0
        self.waits: list[float] = []
        monkeypatch.setattr("wsdaemon.command.load.asyncio.sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += seconds

    def run(self, plan: LoadPlan, echo: Echo, index: int = 0) -> LoadTally:
        async def load() -> LoadTally:
            tally = LoadTally()
            echo.line = Line(plan, index, tally, lambda: self.time)
            echo.line.start(self.time)
            work: Awaitable[None] = echo.line.run(cast(WebSocketClient, echo))
            await asyncio.wait_for(work, 30)
            return tally

        return asyncio.run(load())


def test_a_server_that_stands_still_is_seen_by_every_message_that_was_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 messages a second and a second of silence: a hundred of a thousand messages were late, and p99 shows it."""
    here = Here(monkeypatch)
    tally = here.run(LoadPlan(connections=1, size=64, rate=100.0, seconds=10.0), Echo(here, stall_at=300, stall=1.0))
    assert (tally.sent, tally.received, tally.wrong) == (1000, 1000, 0)
    assert tally.latencies.percentile(50) < 0.001
    assert tally.latencies.percentile(99) == pytest.approx(0.91, abs=0.02)
    assert tally.latencies.longest == pytest.approx(1.0, abs=0.001)


def test_without_a_rate_the_same_second_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Here(monkeypatch)
    tally = here.run(LoadPlan(connections=1, size=64, messages=1000), Echo(here, stall_at=300, stall=1.0))
    assert tally.received == 1000
    assert tally.latencies.percentile(99) < 0.001
    assert tally.latencies.longest == 1.0


def test_connections_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Here(monkeypatch)
    plan = LoadPlan(connections=4, size=64, rate=8.0, messages=10)
    assert [plan.share(index) for index in range(4)] == [3, 3, 2, 2]
    line = Line(plan, 3, LoadTally())
    line.start(10.0)
    assert [line.due(number) for number in range(3)] == [10.375, 10.875, 11.375]
    assert here.run(plan, Echo(here), index=3).sent == 2


def test_a_connection_that_is_late_lets_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Here(monkeypatch)
    here.run(LoadPlan(connections=1, size=64, rate=1000.0, messages=1000), Echo(here, stall_at=0, stall=1.0))
    assert here.waits.count(0.0) >= 900 // MOST_AT_ONCE


@pytest.mark.parametrize("change", [lambda message: message + "x", lambda message: b"bytes", str.upper])
def test_answers_that_are_no_echo_are_counted(change: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    here = Here(monkeypatch)
    tally = here.run(LoadPlan(connections=1, size=NUMBER_DIGITS + 4, messages=5), Echo(here, change=change))
    assert (tally.received, tally.wrong, tally.latencies.count) == (5, 5, 0)
    assert tally.first_error


def test_an_answer_to_nothing_is_wrong() -> None:
    async def late() -> LoadTally:
        tally = LoadTally()
        Line(LoadPlan(connections=1, size=64, messages=1), 0, tally).received("hello")
        return tally

    assert asyncio.run(late()).wrong == 1
