"""core/drain.py: closes that are spread evenly, each with a hint."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import pytest

from tests.support.fakes import App, Loop, house
from wsdaemon.core.drain import CLOSES_PER_TURN, close_evenly, restart
from wsdaemon.core.registry import Connections


class Closed:
    """A connection that says when it was closed, and how."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.at: float | None = None
        self.told = (0, "")

    def close(self, code: int, reason: str) -> Awaitable[None] | None:
        assert self.at is None
        self.at, self.told = self._loop.time(), (code, reason)
        return None


def close_all_over(loop: Loop, count: int, seconds: float, retry: tuple[float, float] = (1.0, 30.0)) -> list[Any]:
    connections: list[Any] = [Closed(loop) for _ in range(count)]
    task = loop.create_task(close_evenly(connections, seconds, restart(retry)))
    loop.settle()
    for _ in range(int(seconds * 20)):
        loop.advance(0.05)
    loop.settle()
    assert task.done()
    return connections


def test_two_hundred_close_evenly_in_random_order_each_with_a_hint() -> None:
    with Loop() as loop:
        began = loop.time()
        connections = close_all_over(loop, 200, 10.0)
        per_second = Counter(min(int(each.at - began), 9) for each in connections)
        assert len(per_second) == 10
        assert all(16 <= count <= 24 for count in per_second.values()), per_second
        assert sorted(connections, key=lambda each: each.at) != connections
        hints = [re.fullmatch(r"restart; retry=(\d+)", each.told[1]) for each in connections]
        assert {each.told[0] for each in connections} == {1012}
        assert all(hint and 1 <= int(hint[1]) <= 30 for hint in hints)
        assert len({hint[1] for hint in hints if hint}) > 10, "drawn for each client"


def test_without_a_time_all_close_at_once() -> None:
    with Loop() as loop:
        began = loop.time()
        assert {each.at for each in close_all_over(loop, 100, 0.0)} == {began}


def test_more_than_the_loop_can_close_in_time_do_not_hold_it() -> None:
    """2,000 in a hundredth of a second: the loop turns in between."""
    with Loop() as loop:
        connections: list[Any] = [Closed(loop) for _ in range(2000)]
        task = loop.create_task(close_evenly(connections, 0.01, restart((1.0, 1.0))))
        loop.settle()
        loop._now += 1.0  # the loop comes back late
        closed = [1]
        while not task.done():
            loop.turn()
            closed.append(sum(each.at is not None for each in connections))
        assert max(now - before for before, now in itertools.pairwise(closed)) <= CLOSES_PER_TURN


@pytest.mark.parametrize(
    ("retry", "drawn"), [((1.0, 30.0), (1, 30)), ((1.5, 3.5), (2, 3)), ((5.0, 5.0), (5, 5)), ((2.2, 2.8), (3, 3))], ids=str
)
def test_hints_are_whole_seconds_within_the_range(retry: tuple[float, float], drawn: tuple[int, int]) -> None:
    asked = []
    restart(retry, lambda least, most: asked.append((least, most)) or least)()  # type: ignore[func-returns-value]
    assert asked == [drawn]


def test_a_drain_that_is_hurried_closes_the_rest_at_once() -> None:
    with house() as made:
        connections = Connections()
        clients = [made.make_wire(App(), close_timeout=60.0) for _ in range(10)]
        for client in clients:
            client.watcher.closed = lambda connection, counts: connections.remove(connection)  # type: ignore[method-assign]
            connections.add(client.connection)
        task = made.loop.create_task(connections.drain(60.0, restart((1.0, 1.0)), over=100.0))
        made.loop.settle()
        made.loop.advance(15)
        assert sum(bool(client.frames()) for client in clients) == 2
        connections.hurry(3.0)
        made.loop.settle()
        assert sum(bool(client.frames()) for client in clients) == 8, "those that were not closed yet"
        made.loop.advance(2.9)
        assert not task.done()
        made.loop.advance(0.2)
        assert task.result() == 10


def test_the_patience_begins_when_the_last_is_closed() -> None:
    with house() as made:
        connections = Connections()
        for _ in range(2):
            client = made.make_wire(App(), close_timeout=600.0)
            client.watcher.closed = lambda connection, counts: connections.remove(connection)  # type: ignore[method-assign]
            connections.add(client.connection)
        task = made.loop.create_task(connections.drain(10.0, restart((1.0, 1.0)), over=20.0))
        made.loop.settle()
        made.loop.advance(10.1)
        made.loop.advance(9.7)
        assert not task.done()
        made.loop.advance(0.5)
        assert task.result() == 2
