"""The queue between a connection and an iteration."""

from __future__ import annotations

import pytest

from tests.support.fake_loop import Loop
from wsdaemon.client.arrived import MAX_WAITING, Arrived


def test_it_asks_for_a_pause_when_it_is_full_and_ends_it_when_half_is_taken() -> None:
    with Loop() as loop:
        inbox = Arrived(loop)
        pauses = [inbox.put(str(number)) for number in range(MAX_WAITING)]
        assert pauses[:-1] == [None] * (MAX_WAITING - 1)
        pause = pauses[-1]
        assert pause is not None
        assert inbox.put("more") is pause
        for _ in range(MAX_WAITING // 2):
            loop.create_task(inbox.get())
            loop.settle()
        assert not pause.done()
        loop.create_task(inbox.get())
        loop.create_task(inbox.get())
        loop.settle()
        assert pause.done()


def test_the_end_comes_after_all_messages() -> None:
    with Loop() as loop:
        inbox = Arrived(loop)
        inbox.put("last")
        inbox.end(RuntimeError("over"))
        first, second = loop.create_task(inbox.get()), loop.create_task(inbox.get())
        loop.settle()
        assert first.result() == "last"
        assert str(second.exception()) == "over"


def test_one_task_at_a_time_may_wait() -> None:
    with Loop() as loop:
        inbox = Arrived(loop)
        first, second = loop.create_task(inbox.get()), loop.create_task(inbox.get())
        loop.settle()
        with pytest.raises(RuntimeError, match="one task"):
            second.result()
        inbox.put("x")
        loop.settle()
        assert first.result() == "x"


def test_a_cancelled_wait_loses_no_message() -> None:
    with Loop() as loop:
        inbox = Arrived(loop)
        first = loop.create_task(inbox.get())
        loop.settle()
        inbox.put("x")
        first.cancel()
        loop.settle()
        second = loop.create_task(inbox.get())
        loop.settle()
        assert second.result() == "x"
