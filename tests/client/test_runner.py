"""A client's own thread and loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

from wsdaemon.client.runner import Runner, run


def test_the_result_of_the_work_is_raised() -> None:
    async def fail() -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        run(fail, lambda: None)


def test_an_interrupt_closes_in_good_order_and_goes_on() -> None:
    events: list[str] = []
    closing: list[asyncio.Future[None]] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        closing.append(loop.create_future())
        loop.call_soon(interrupt)
        await closing[0]
        events.append("closed in good order")

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(work, lambda: closing[0].set_result(None))
    assert events == ["closed in good order"]


def test_work_that_is_left_is_cancelled() -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("cancelled")

    async def work() -> None:
        work.task = asyncio.get_running_loop().create_task(forever())  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    run(work, lambda: None)
    assert ended == ["cancelled"]


def test_a_loop_within_a_loop_is_refused() -> None:
    async def outer() -> None:
        with pytest.raises(RuntimeError, match="async with"):
            run(outer, lambda: None)

    asyncio.run(outer())


def test_one_thread_at_a_time() -> None:
    runner, go = Runner(), threading.Event()

    def work() -> None:
        go.wait(30)

    runner.start(work)
    with pytest.raises(RuntimeError, match="already"):
        runner.start(lambda: None)
    go.set()
    runner.join()
    runner.start(runner.join)
    runner.join()
