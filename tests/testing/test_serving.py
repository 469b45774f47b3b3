"""testing/serving.py: an app that is served on the loop of its test, and clients of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from wsdaemon import Connection, CoroutineConnection, Handshake, HandshakeRefused, SettingsError
from wsdaemon.client import OpeningRefused
from wsdaemon.testing import AppServer, connect, reconnect_storm
from wsdaemon.testing.serving import is_asgi


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


async def greet(connection: CoroutineConnection) -> None:
    await connection.send(f"welcome to {connection.path} {connection.params}")
    async for message in connection:
        await connection.send(message)


class Counter:
    """A class with open() that refuses some."""

    async def admit(self, handshake: Handshake) -> None:
        if "x-refuse" in handshake.headers:
            raise HandshakeRefused(402, "pay first")

    def open(self, connection: Connection, handshake: Handshake) -> CounterSession:
        return CounterSession(connection)


class CounterSession:
    def __init__(self, connection: Connection) -> None:
        self.connection, self.count = connection, 0

    def received(self, message: str | bytes) -> Awaitable[None] | None:
        self.count += 1
        return self.connection.send(str(self.count))

    def closed(self, code: int, reason: str) -> None:
        """Nothing to do."""


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": scope["path"]})
        await receive()


def test_a_coroutine_with_any_path_and_with_parameters() -> None:
    async def test() -> None:
        async with connect(greet, "/chat/lobby") as ws:
            assert await ws.receive() == "welcome to /chat/lobby {'rest': 'chat/lobby'}"
            await ws.send(b"bytes")
            assert await ws.receive() == b"bytes"
        async with connect(greet, "/chat/lobby", mount="/chat/{room}") as ws:
            assert await ws.receive() == "welcome to /chat/lobby {'room': 'lobby'}"

    run(test)


def test_a_class_an_asgi_application_and_rooms() -> None:
    async def test() -> None:
        async with connect(Counter) as ws:
            await ws.send("a")
            await ws.send("b")
            assert [await ws.receive(), await ws.receive()] == ["1", "2"]
        async with connect(asgi, "/api/x") as ws:
            assert await ws.receive() == "/api/x"
        rooms = AppServer("rooms", "/rooms/{room}", history=10)
        async with rooms, rooms.connect("/rooms/lobby") as one, rooms.connect("/rooms/lobby") as two:
            await one.send("hello")
            assert await two.receive() == "hello"
            assert rooms.server is not None
            await asyncio.wrap_future(rooms.server.rooms["lobby"].publish("from the program"))
            assert await one.receive() == "from the program"

    run(test)


def test_a_refusal_and_options_of_the_client() -> None:
    async def test() -> None:
        async with AppServer(Counter, subprotocols="chat") as server:
            with pytest.raises(OpeningRefused) as caught:
                await server.open(headers={"X-Refuse": "1"})
            assert (caught.value.status, caught.value.body) == (402, b"pay first")
            async with server.connect(subprotocols="chat") as ws:
                assert ws.subprotocol == "chat"
                assert ws.headers is not None and ws.headers["sec-websocket-protocol"] == "chat"

    run(test)


def test_the_end_of_the_block_drains() -> None:
    async def test() -> None:
        async with AppServer(greet) as server:
            ws = await server.open()
        assert await ws.wait_closed() in (1001, 1012)
        assert server.server is None

    run(test)


def test_nothing_is_left_of_an_app_that_cannot_be_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def entries() -> int:
        return len(list(tmp_path.iterdir()))

    async def test() -> None:
        with pytest.raises(SettingsError, match="max_message"):
            async with AppServer(greet, max_message="much"):
                raise AssertionError("it does not start")
        async with connect(greet):
            assert entries() == 1
        assert entries() == 0

    run(test)


def test_a_reconnect_storm() -> None:
    async def test() -> None:
        async with AppServer(greet) as server:
            assert await reconnect_storm(server, clients=30) == 30
            assert server.server is not None and server.server.connections == []
        async with AppServer(greet, max_connections=10) as server:
            assert await reconnect_storm(server, clients=30) == 10

    run(test)


def test_asgi_is_known_by_its_arguments() -> None:
    assert is_asgi(asgi)
    for other in (greet, Counter, Counter(), "rooms", 5):
        assert not is_asgi(other)
