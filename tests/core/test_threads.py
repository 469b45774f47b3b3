"""core/threads.py: one bounded queue from all threads to the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from tests.support.fakes import Loop
from wsdaemon.core.threads import SendQueueFull, ThreadCalls


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as loop:
        yield loop


def test_calls_come_in_their_order(loop: Loop) -> None:
    calls, seen = ThreadCalls(loop), list[int]()
    for number in range(100):
        calls.add(partial(seen.append, number))
    assert seen == [], "never inside add()"
    loop.settle()
    assert seen == list(range(100))
    assert len(calls) == 0


def test_the_number_of_calls_is_bounded(loop: Loop) -> None:
    calls = ThreadCalls(loop, max_calls=3)
    for _ in range(3):
        calls.add(lambda: None)
    with pytest.raises(SendQueueFull, match="3 messages with 0 bytes wait"):
        calls.add(lambda: None)
    loop.settle()
    calls.add(lambda: None)


def test_the_bytes_are_bounded_and_a_large_message_goes_alone(loop: Loop) -> None:
    calls, seen = ThreadCalls(loop, max_bytes=100), list[str]()
    calls.add(lambda: seen.append("large"), 1000)
    with pytest.raises(SendQueueFull, match="1 messages with 1000 bytes wait"):
        calls.add(lambda: seen.append("small"), 1)
    loop.settle()
    for _ in range(2):
        calls.add(lambda: seen.append("half"), 50)
    with pytest.raises(SendQueueFull):
        calls.add(lambda: seen.append("one more"), 1)
    loop.settle()
    assert seen == ["large", "half", "half"]


def test_the_loop_has_other_work_between_two_slices(loop: Loop) -> None:
    clock, seen = [0.0], list[str]()

    def work() -> None:
        clock[0] += 0.0015
        seen.append("call")

    calls = ThreadCalls(loop, now=lambda: clock[0])
    for _ in range(4):
        calls.add(work)
    loop.call_soon(seen.append, "other")
    loop.settle()
    assert seen == ["call", "call", "other", "call", "call"]


def test_a_call_with_more_to_do_is_called_again_before_later_ones(loop: Loop) -> None:
    calls, seen = ThreadCalls(loop), list[str]()
    steps = iter([True, True, False])

    def long() -> bool:
        seen.append("long")
        return next(steps)

    calls.add(long)
    calls.add(lambda: seen.append("later"))
    loop.settle()
    assert seen == ["long", "long", "long", "later"]


def test_a_call_that_fails_keeps_back_no_other(loop: Loop) -> None:
    calls, seen = ThreadCalls(loop), list[str]()
    calls.add(partial(int, "no number"))
    calls.add(lambda: seen.append("next"))
    loop.settle()
    assert seen == ["next"]
    assert [str(problem["message"]) for problem in loop.problems] == ["a call from another thread failed"]
    loop.problems.clear()


def test_a_closed_loop_takes_nothing() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    calls = ThreadCalls(loop)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="closed"):
            calls.add(lambda: None)
    assert len(calls) == 0


def test_threads_wake_a_loop_that_sleeps() -> None:
    """With a real loop: without the wake it would sleep for ever, and the test would run into its time limit."""

    async def main() -> list[int]:
        loop, done, seen = asyncio.get_running_loop(), asyncio.Event(), list[int]()
        calls = ThreadCalls(loop)

        def put(number: int) -> None:
            seen.append(number)
            if len(seen) == 2000:
                done.set()

        def send(base: int) -> None:
            for number in range(base, base + 1000):
                calls.add(partial(put, number))

        threads = [threading.Thread(target=send, args=(base,)) for base in (0, 10_000)]
        for thread in threads:
            thread.start()
        await done.wait()
        for thread in threads:
            thread.join()
        return seen

    seen = asyncio.run(main())
    assert [number for number in seen if number < 10_000] == list(range(1000))
    assert [number for number in seen if number >= 10_000] == list(range(10_000, 11_000))
