"""brokers/waiters.py: all that wait go on together, and once."""

from __future__ import annotations

import asyncio

import pytest

from wsdaemon.brokers.waiters import Waiters


def test_all_that_wait_are_woken_once() -> None:
    async def story() -> None:
        waiters, loop = Waiters(), asyncio.get_running_loop()
        waiters.wake()
        first, left, second = [waiters.wait(loop) for _ in range(3)]
        left.cancel()
        assert len(waiters) == 3
        waiters.wake()
        assert (first.result(), second.result(), left.cancelled(), len(waiters)) == (None, None, True, 0)
        third = waiters.wait(loop)
        assert not third.done()
        waiters.wake(lambda: ValueError("no more"))
        with pytest.raises(ValueError, match="no more"):
            third.result()

    asyncio.run(story())
