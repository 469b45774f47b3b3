"""testing/client.py: a client that reads slowly, vanishes, and knows how its connection ended."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.inside import until
from tests.testing.test_serving import run
from wsdaemon import ConnectionClosed, CoroutineConnection
from wsdaemon.testing import AppServer, connect


async def answer(connection: CoroutineConnection) -> None:
    async for message in connection:
        if message == "close":
            await connection.close(4000, "enough")
        await connection.send(message)


def test_how_it_ended() -> None:
    async def test() -> None:
        async with connect(answer) as ws:
            assert ws.close_code is None
            await ws.send("close")
            with pytest.raises(ConnectionClosed) as caught:
                await ws.receive()
            assert (caught.value.code, caught.value.reason) == (4000, "enough")
            assert await ws.wait_closed() == 4000
            assert [ws.close_code, ws.close_reason] == [4000, "enough"]
            with pytest.raises(ConnectionClosed):
                await ws.send("late")
            with pytest.raises(ConnectionClosed):
                ws.stop_reading()

    run(test)


def test_messages_until_the_end() -> None:
    async def test() -> None:
        async with connect(answer) as ws:
            for message in ("one", "two", "close"):
                await ws.send(message)
            assert [message async for message in ws] == ["one", "two"]

    run(test)


def test_json() -> None:
    async def test() -> None:
        async with connect(answer) as ws:
            await ws.send_json({"a": [1, None]})
            assert await ws.receive_json() == {"a": [1, None]}
            await ws.send("no JSON")
            with pytest.raises(ValueError, match="Expecting value"):
                await ws.receive_json()

    run(test)


def test_a_client_that_vanishes() -> None:
    ends: list[int | None] = []

    async def watch(connection: CoroutineConnection) -> None:
        async for _ in connection:
            """Wait for the end."""
        ends.append(connection.close_code)

    async def test() -> None:
        async with connect(watch) as ws:
            await ws.vanish()
            await until(lambda: ends)

    run(test)
    assert ends == [1006]


def test_a_slow_client() -> None:
    dropped: list[int] = []

    async def flood(connection: CoroutineConnection) -> None:
        async for _ in connection:
            for _ in range(100):
                for _ in range(10):
                    connection.send(b"x" * 10_000)
                await asyncio.sleep(0)
            dropped.append(connection.counts().dropped)

    async def test() -> None:
        async with AppServer(flood, slow_client="drop_oldest", send_backlog="64KiB", compression="off") as server, server.connect() as ws:
            ws.stop_reading()
            await ws.send("begin")
            await until(lambda: dropped)
            ws.read_again()
            assert await ws.receive() == b"x" * 10_000

    run(test)
    assert 0 < dropped[0] < 1000
