"""testing/clock.py: time passes when a test says so."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from wsdaemon import CoroutineConnection
from wsdaemon.testing import TurnedClock, connect


async def remind(connection: CoroutineConnection) -> None:
    await asyncio.sleep(3600)
    await connection.send("an hour is over")
    await connection.wait_closed()


def test_an_hour_passes() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        before = loop.time()
        async with connect(remind, ping_interval=0) as ws:
            with TurnedClock() as clock:
                await clock.advance(3599)
                assert loop.time() - before >= 3599
                await clock.advance(1)
                assert await ws.receive() == "an hour is over"
        assert loop.time() - before < 60

    asyncio.run(test())  # without a limit of time, which would pass, too


async def listen(connection: CoroutineConnection) -> None:
    async for _ in connection:
        """Nothing to answer."""


def test_a_lifetime_ends() -> None:
    async def test() -> None:
        async with connect(listen, lifetime="10m") as ws:
            with TurnedClock() as clock:
                await clock.advance(300)
                assert ws.close_code is None
                await clock.advance(301)
                assert await ws.wait_closed() == 1001

    asyncio.run(test())  # without a limit of time, which would pass, too


def test_the_clock_of_uvloop_cannot_be_turned() -> None:
    async def test() -> None:
        with pytest.raises(RuntimeError, match="asyncio's own"):
            TurnedClock()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())
