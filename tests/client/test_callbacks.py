"""Callbacks: functions and coroutine functions, and their exceptions."""

from __future__ import annotations

import asyncio

from tests.support.fake_loop import Loop
from wsdaemon.client.callbacks import FINISH_SECONDS, Callbacks


def test_functions_and_coroutines_are_called_with_their_arguments() -> None:
    with Loop() as loop:
        seen: list[object] = []

        async def later(value: int) -> None:
            await asyncio.sleep(1.0)
            seen.append(value)

        callbacks = Callbacks(seen.append)
        callbacks.call(seen.append, 1)
        callbacks.call(later, 2)
        callbacks.call(None, 3)
        loop.advance(1.0)
        assert seen == [1, 2]


def test_exceptions_are_told() -> None:
    with Loop() as loop:
        failures: list[BaseException] = []

        async def fail_later() -> None:
            raise RuntimeError("later")

        def fail() -> None:
            raise RuntimeError("now")

        callbacks = Callbacks(failures.append)
        callbacks.call(fail_later)
        callbacks.call(fail)
        assert callbacks.result(fail) is None
        loop.settle()
        assert [str(error) for error in failures] == ["now", "now", "later"]


def test_work_that_does_not_end_is_cancelled() -> None:
    with Loop() as loop:
        ended: list[object] = []

        async def work(seconds: float) -> None:
            try:
                await asyncio.sleep(seconds)
                ended.append("done")
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

        callbacks = Callbacks(ended.append)
        callbacks.keep(work(FINISH_SECONDS / 2))
        callbacks.keep(work(100.0))
        finish = loop.create_task(callbacks.finish())
        loop.advance(FINISH_SECONDS)
        assert finish.done()
        assert ended == ["done", "cancelled"]
