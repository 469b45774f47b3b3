"""core/rare_lines.py: what clients can make the daemon log is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.lines import Lines
from wsdaemon.core.rare_lines import MINUTE, LineBudget, RareLines


def test_one_line_a_minute_for_each_reason_and_a_count_of_the_rest() -> None:
    now, log = [0.0], Lines()
    lines = RareLines(log, now=lambda: now[0])
    for second in range(130):
        now[0] = second
        lines.warn("full", "{name} is full", name="web")
        lines.info("other", "something else")
    assert log.all == [
        ("warn", "web is full"),
        ("info", "something else"),
        ("warn", "web is full (59 more like this since then were left out)"),
        ("info", "something else (59 more like this since then were left out)"),
        ("warn", "web is full (59 more like this since then were left out)"),
        ("info", "something else (59 more like this since then were left out)"),
    ]


@pytest.mark.parametrize("level", ["debug", "info", "warn"])
def test_each_level(level: str) -> None:
    log = Lines()
    lines = RareLines(log, now=lambda: 5.0)
    for _ in range(3):
        getattr(lines, level)(("reason", 1), "told")
        lines.failure("boom", "failed", None)
    assert log.all == [(level, "told"), ("failure", "failed")]


def test_so_many_for_each_key_and_so_many_in_all() -> None:
    now = [0.0]
    budget = LineBudget(per_key=10, in_all=600, now=lambda: now[0])
    logged = {address: sum(budget.take(address) is not None for _ in range(50)) for address in range(100)}
    assert logged == {address: 10 if address < 60 else 0 for address in range(100)}
    assert budget.left_out == 40 * 50
    now[0] = MINUTE
    assert budget.take(0) == 40, "the next line of a key says how many were left out"
    assert budget.take(70) == 0 and budget.take_left_out() == 2000 and budget.left_out == 0


def test_keys_that_no_line_told_of_are_counted_by_the_next_line() -> None:
    now, log = [0.0], Lines()
    lines = RareLines(log, in_all=2, now=lambda: now[0])
    for reason in range(5):
        lines.warn(reason, "no")
    now[0] = MINUTE
    lines.warn(9, "no")
    assert log.lines == ["no", "no", "no (3 others since then were left out)"]


def test_lines_that_are_left_out_without_a_question_are_counted() -> None:
    now, log = [0.0], Lines()
    lines = RareLines(log, now=lambda: now[0])
    lines.leave_out("full", 2)
    lines.warn("full", "no")
    lines.leave_out("full", 3)
    now[0] = MINUTE
    lines.warn("full", "no")
    assert log.lines == ["no (2 others since then were left out)", "no (3 more like this since then were left out)"]


@given(st.lists(st.tuples(st.floats(0, 90), st.integers(0, 40)), max_size=400), st.integers(1, 3), st.integers(1, 8))
def test_bounded_whatever_comes(events: list[tuple[float, int]], per_key: int, in_all: int) -> None:
    now = [0.0]
    budget = LineBudget(per_key, in_all, now=lambda: now[0])
    lines: list[tuple[float, int]] = []
    told = 0
    for pause, key in events:
        now[0] += pause
        left_out = budget.take(key)
        if left_out is not None:
            lines.append((now[0], key))
            told += left_out
        assert len(budget) <= 3 * in_all
    for at, key in lines:
        assert sum(1 for other, one in lines if one == key and at <= other < at + MINUTE) <= 2 * per_key
    per_minute = {at: sum(1 for other, _ in lines if at <= other < at + MINUTE) for at, _ in lines}
    assert all(count <= 2 * in_all for count in per_minute.values())
    waiting = sum(minute.left_out for minute in budget._keys.values())
    assert len(lines) + told + budget.left_out + waiting == len(events), "each line is logged, or counted"
