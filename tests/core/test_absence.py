"""core/absence.py: how long the loop was away, for rates."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fake_loop import Loop
from wsdaemon.core.absence import GRACE_SECONDS, Absence


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as loop:
        yield loop


@pytest.fixture
def absence(loop: Loop) -> Absence:
    absence = Absence(loop)
    absence.start()
    return absence


def test_a_loop_that_turns_is_never_away(loop: Loop, absence: Absence) -> None:
    for _ in range(1000):
        loop.advance(0.37)
        assert absence.grace() == 0
    assert absence.time() == loop.time()


def test_an_absence_counts_before_the_late_timer_runs(loop: Loop, absence: Absence) -> None:
    """The loop reads its sockets first, and timers run afterwards."""
    loop.advance(10.25)
    loop._now += 60
    assert absence.grace() == pytest.approx(60.25)
    loop.settle()
    assert absence.grace() == pytest.approx(60.25), "the late timer keeps it"


def test_the_grace_ends(loop: Loop, absence: Absence) -> None:
    loop.jump(3600)
    loop.advance(GRACE_SECONDS - 0.1)
    assert absence.grace() == pytest.approx(3600)
    loop.advance(0.2)
    assert absence.grace() == 0


def test_a_short_delay_is_no_absence(loop: Loop, absence: Absence) -> None:
    loop.jump(1.4)
    assert absence.grace() == 0


def test_a_second_absence_counts_by_itself(loop: Loop, absence: Absence) -> None:
    loop.jump(60)
    loop.jump(5)
    assert absence.grace() == pytest.approx(5)


def test_after_the_stop_no_timer_stays(loop: Loop, absence: Absence) -> None:
    absence.stop()
    assert loop.timers == 0
    loop._now += 60
    assert absence.grace() == 0


def test_without_a_start_there_is_no_grace(loop: Loop) -> None:
    absence = Absence(loop)
    loop.jump(60)
    assert absence.grace() == 0
    absence.stop()
