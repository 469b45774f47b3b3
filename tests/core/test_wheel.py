"""core/wheel.py: never early, at most one bucket late, one timer of the loop for all."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import Loop
from wsdaemon.core.absence import AWAY_SECONDS
from wsdaemon.core.wheel import RESOLUTION_SECONDS, Due, Wheel


class Item:
    def __init__(self, loop: Loop, *, fails: bool = False) -> None:
        self.due_bucket = 0
        self.times: list[float] = []
        self._loop = loop
        self._fails = fails

    def due(self) -> None:
        self.times.append(self._loop.time())
        if self._fails:
            raise RuntimeError("mine")


class Bench:
    """A wheel on a loop of its own, and what failed on it."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.failed: list[tuple[Due, Exception]] = []
        self.now = 0.0
        self.wheel = Wheel(loop, lambda item, error: self.failed.append((item, error)), now=lambda: self.now)

    def item(self, delay: float | None = None, *, fails: bool = False) -> Item:
        item = Item(self.loop, fails=fails)
        if delay is not None:
            self.wheel.set(item, delay)
        return item


@pytest.fixture
def bench() -> Iterator[Bench]:
    with Loop() as loop:
        yield Bench(loop)


def test_how_long_is_left(bench: Bench) -> None:
    item = bench.item(10.0)
    assert bench.wheel.left(item) == pytest.approx(10.0, abs=2 * RESOLUTION_SECONDS)
    bench.loop.advance(7.5)
    assert bench.wheel.left(item) == pytest.approx(2.5, abs=2 * RESOLUTION_SECONDS)
    bench.loop.advance(3.0)
    assert bench.wheel.left(item) == bench.wheel.left(bench.item()) == 0.0


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20))
def test_nothing_is_early_and_nothing_is_later_than_a_bucket(delays: list[float]) -> None:
    with Loop() as loop:
        bench = Bench(loop)
        start = loop.time()
        items = [bench.item(delay) for delay in delays]
        assert len(bench.wheel) == len(items)
        assert loop.timers == 1
        loop.advance(200)
        for item, delay in zip(items, delays, strict=True):
            [time] = item.times
            assert start + delay - 1e-6 <= time <= start + delay + RESOLUTION_SECONDS + 1e-6
        assert len(bench.wheel) == 0
        assert loop.timers == 0


def test_a_timer_at_the_very_time_of_a_bucket_does_not_turn_for_nothing() -> None:
    """In floating point, 0.05 times a number, divided by 0.05, is at times less than that number."""
    with Loop() as loop:
        bench = Bench(loop)
        for bucket in range(20_001, 20_400):
            item = bench.item(bucket * RESOLUTION_SECONDS - loop.time() - RESOLUTION_SECONDS / 2)
            loop.advance(RESOLUTION_SECONDS)
            assert len(item.times) == 1


def test_a_new_deadline_replaces_the_old(bench: Bench) -> None:
    item = bench.item(5)
    bench.wheel.set(item, 1)
    bench.loop.advance(2)
    assert len(item.times) == 1
    bench.wheel.set(item, 1)
    bench.wheel.set(item, 10)
    bench.loop.advance(9)
    assert len(item.times) == 1
    bench.loop.advance(2)
    assert len(item.times) == 2


def test_the_same_deadline_again_stays_the_only_one(bench: Bench) -> None:
    item = bench.item(1.0)
    bench.wheel.set(item, 1.0)
    bench.wheel.clear(item)
    bench.loop.advance(2.0)
    assert item.times == []
    bench.wheel.set(item, 1.0)
    bench.wheel.set(item, 1.0)
    bench.loop.advance(2.0)
    assert len(item.times) == 1


def test_an_earlier_deadline_than_all_others_is_met(bench: Bench) -> None:
    late, early = bench.item(50), bench.item(1)
    bench.loop.advance(1.1)
    assert (len(early.times), len(late.times)) == (1, 0)
    bench.loop.advance(50)
    assert len(late.times) == 1


def test_what_was_cleared_is_not_called(bench: Bench) -> None:
    one, other = bench.item(1), bench.item(1)
    bench.wheel.clear(one)
    bench.wheel.clear(one)
    assert len(bench.wheel) == 1
    bench.loop.advance(2)
    assert (one.times, len(other.times)) == ([], 1)


def test_clearing_the_last_leaves_a_wheel_that_still_works(bench: Bench) -> None:
    bench.wheel.clear(bench.item(1))
    assert len(bench.wheel) == 0
    later = bench.item(3)
    bench.loop.advance(4)
    assert len(later.times) == 1


def test_an_item_may_set_itself_anew_when_it_is_due(bench: Bench) -> None:
    class Again(Item):
        def due(self) -> None:
            super().due()
            if len(self.times) < 4:
                bench.wheel.set(self, 2)

    again = Again(bench.loop)
    bench.wheel.set(again, 2)
    bench.loop.advance(20)
    assert len(again.times) == 4
    assert all(2 - 1e-6 <= later - earlier <= 2.1 for earlier, later in pairwise(again.times))
    assert len(bench.wheel) == 0


def test_an_item_may_clear_another_that_is_due_at_the_same_time(bench: Bench) -> None:
    items: list[Item] = []

    class Alone(Item):
        def due(self) -> None:
            super().due()
            for other in items:
                bench.wheel.clear(other)

    items += [Alone(bench.loop) for _ in range(5)]
    for item in items:
        bench.wheel.set(item, 1)
    bench.loop.advance(2)
    assert sum(len(item.times) for item in items) == 1
    assert len(bench.wheel) == 0


def test_one_that_fails_hinders_no_other(bench: Bench) -> None:
    items = [bench.item(1, fails=number == 1) for number in range(3)]
    bench.loop.advance(2)
    assert [len(item.times) for item in items] == [1, 1, 1]
    assert [(item, str(error)) for item, error in bench.failed] == [(items[1], "mine")]


def test_many_at_once_are_done_in_slices(bench: Bench) -> None:
    class Slow(Item):
        def due(self) -> None:
            super().due()
            bench.now += 0.002

    items = [Slow(bench.loop) for _ in range(10)]
    for item in items:
        bench.wheel.set(item, 1)
    turns: list[int] = []

    def look() -> None:
        turns.append(sum(len(item.times) for item in items))
        if turns[-1] < len(items):
            bench.loop.call_soon(look)

    bench.loop.call_later(1.05, look)
    bench.loop.advance(1.2)
    assert all(len(item.times) == 1 for item in items)
    assert len(set(turns)) > 3, "the loop had its turn in between"


def test_clearing_and_setting_what_waits_for_the_next_slice(bench: Bench) -> None:
    items: list[Item] = []

    class Slow(Item):
        def due(self) -> None:
            super().due()
            bench.now += 1
            for item in items:
                if not item.times:
                    bench.wheel.set(item, 5)

    items += [Slow(bench.loop) for _ in range(3)]
    for item in items:
        bench.wheel.set(item, 1)
    bench.loop.advance(2)
    assert sum(len(item.times) for item in items) == 1
    bench.loop.advance(30)
    assert all(len(item.times) == 1 for item in items)
    assert len(bench.wheel) == 0


def test_stop_forgets_everything(bench: Bench) -> None:
    items = [bench.item(delay) for delay in (1, 2, 3)]
    bench.wheel.stop()
    assert bench.loop.timers == 0
    bench.loop.advance(5)
    assert [item.times for item in items] == [[], [], []]
    bench.wheel.set(items[0], 1)
    bench.loop.advance(2)
    assert len(items[0].times) == 1


# -- while the loop is away


def test_a_deadline_moves_by_the_time_in_which_the_loop_was_away(bench: Bench) -> None:
    """A process that was stopped reads what waits in its sockets before a deadline counts."""
    first, second = bench.item(10.0), bench.item(40.0)
    start = bench.loop.time()
    bench.loop.advance(9.0)
    bench.loop.jump(3600.0)
    assert first.times == [] and second.times == []
    bench.loop.advance(2 * RESOLUTION_SECONDS)
    [time] = first.times
    assert time - start == pytest.approx(3609.0, abs=3 * RESOLUTION_SECONDS)
    assert bench.wheel.away == pytest.approx(3599.0, abs=3 * RESOLUTION_SECONDS)
    bench.loop.advance(29.0)
    assert second.times == []
    bench.loop.advance(1.5)
    assert len(second.times) == 1


def test_what_is_read_first_takes_its_deadline_back(bench: Bench) -> None:
    """The pong that waited in the socket clears the deadline in the turn of the loop that the wheel leaves to it."""
    item = bench.item(10.0)
    bench.loop.advance(1.0)
    bench.loop.call_later(3600.0, bench.wheel.clear, item)  # the socket becomes readable while the process is stopped
    bench.loop.jump(3600.0)
    bench.loop.advance(60.0)
    assert item.times == []


def test_a_loop_that_is_always_late_holds_off_no_deadline_for_ever(bench: Bench) -> None:
    items = [bench.item(float(seconds)) for seconds in range(1, 6)]
    for _ in range(12):
        bench.loop.jump(AWAY_SECONDS * 2)
    assert all(item.times for item in items)


def test_a_timer_that_is_a_little_late_moves_nothing(bench: Bench) -> None:
    item = bench.item(1.0)
    bench.loop.jump(1.0 + AWAY_SECONDS)
    assert len(item.times) == 1
    assert bench.wheel.away == 0.0
