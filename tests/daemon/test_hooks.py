"""daemon/hooks.py: functions of the startup and of the shutdown, and lifespans."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from wsdaemon import WebSocketServer
from wsdaemon.daemon.hooks import Hooks


def test_the_order() -> None:
    hooks, told = Hooks(), list[str]()
    assert not hooks

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        told.append("enter")
        yield
        told.append("leave")

    async def later() -> None:
        await asyncio.sleep(0)
        told.append("second")

    hooks.lifespans.append(lifespan)
    hooks.startup += [lambda: told.append("first"), later]
    hooks.shutdown += [lambda: told.append("last"), lambda: told.append("last but one")]
    assert hooks

    async def life() -> None:
        for _ in range(2):
            await hooks.start()
            await hooks.stop()

    asyncio.run(life())
    assert told == ["enter", "first", "second", "last but one", "last", "leave"] * 2


def test_a_startup_that_fails_leaves_the_lifespans() -> None:
    hooks, told = Hooks(), list[str]()

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        try:
            yield
        finally:
            told.append("left")

    def fail() -> None:
        raise ValueError("no")

    hooks.lifespans.append(lifespan)
    hooks.startup.append(fail)
    with pytest.raises(ValueError, match="no"):
        asyncio.run(hooks.start())
    assert told == ["left"]


def test_in_a_thread(tmp_path: Path) -> None:
    server, told = WebSocketServer(address=f"unix:{tmp_path}/ws"), list[str]()
    server.mount("/echo", "echo")

    @server.on_startup
    async def begin() -> None:
        told.append("begin")
        assert not (tmp_path / "ws").is_socket() or server.connections == []

    @server.on_shutdown
    def end() -> None:
        told.append("end")

    with server:
        assert told == ["begin"]
    assert told == ["begin", "end"]


def test_a_server_with_workers_has_none() -> None:
    server = WebSocketServer(workers=2)
    server.on_startup(lambda: None)
    with pytest.raises(RuntimeError, match="leave workers out"):
        server.mount("/echo", "echo")


