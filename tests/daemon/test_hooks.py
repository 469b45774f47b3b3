"""daemon/hooks.py: functions of the startup and of the shutdown, and lifespans."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

import pytest

from tests.support.inside import until
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


async def cancels_its_own_task() -> None:
    task = asyncio.ensure_future(asyncio.sleep(3600))
    await asyncio.sleep(0)
    task.cancel()
    await task


def test_a_function_that_awaits_a_task_which_it_cancelled_hinders_no_other() -> None:
    hooks, told = Hooks(), list[str]()

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        yield
        told.append("left")

    hooks.lifespans.append(lifespan)
    hooks.shutdown += [lambda: told.append("first"), cancels_its_own_task]

    async def life() -> None:
        await hooks.start()
        await hooks.stop()

    asyncio.run(life())
    assert told == ["first", "left"]


def test_a_stop_that_is_cancelled_leaves_the_lifespans() -> None:
    hooks, told = Hooks(), list[str]()

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        yield
        told.append("left")

    async def endless() -> None:
        told.append("stopping")
        await asyncio.Event().wait()

    hooks.lifespans.append(lifespan)
    hooks.shutdown.append(endless)

    async def life() -> None:
        await hooks.start()
        stopping = asyncio.ensure_future(hooks.stop())
        await until(lambda: bool(told))
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping

    asyncio.run(life())
    assert told == ["stopping", "left"]


def test_a_server_stops_although_a_function_awaits_a_task_which_it_cancelled(tmp_path: Path) -> None:
    server, told = WebSocketServer(address=f"unix:{tmp_path}/ws"), list[str]()
    server.mount("/echo", "echo")
    server.on_shutdown(lambda: told.append("end"))
    server.on_shutdown(cancels_its_own_task)
    with server:
        assert (tmp_path / "ws").is_socket()
    assert told == ["end"]
    assert not (tmp_path / "ws").exists()


def test_one_task_enters_and_leaves_the_lifespans_with_one_context() -> None:
    hooks, tasks, seen = Hooks(), list[object](), list[str]()
    variable = ContextVar[str]("variable")

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        tasks.append(asyncio.current_task())
        token = variable.set("mine")
        async with asyncio.timeout(3600):  # as a task group: it is entered and left in one task
            yield
        variable.reset(token)
        tasks.append(asyncio.current_task())

    hooks.lifespans.append(lifespan)
    hooks.startup.append(lambda: seen.append(variable.get()))

    async def life() -> None:
        await asyncio.ensure_future(hooks.start())
        await asyncio.ensure_future(hooks.stop())

    asyncio.run(life())
    assert len(tasks) == 2 and tasks[0] is tasks[1]
    assert seen == ["mine"]


def test_a_task_group_whose_task_fails_while_the_server_runs_is_told_at_once(logged: list[str]) -> None:
    hooks, told = Hooks(), list[str]()
    fail = asyncio.Event()

    async def failing() -> None:
        await fail.wait()
        raise ValueError("no")

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            group.create_task(failing())
            yield

    hooks.lifespans.append(lifespan)
    hooks.shutdown.append(lambda: told.append("end"))

    async def life() -> None:
        await hooks.start()
        fail.set()
        await until(lambda: bool(logged))
        await hooks.stop()

    asyncio.run(life())
    assert logged == ["a lifespan ended while the server runs"]
    assert told == ["end"]


def test_a_start_that_is_cancelled_leaves_the_lifespans() -> None:
    hooks, told = Hooks(), list[str]()

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        told.append("entered")
        try:
            yield
        finally:
            told.append("left")

    async def endless() -> None:
        await asyncio.Event().wait()

    hooks.lifespans.append(lifespan)
    hooks.startup.append(endless)

    async def life() -> None:
        starting = asyncio.ensure_future(hooks.start())
        await until(lambda: bool(told))
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    asyncio.run(life())
    assert told == ["entered", "left"]


def test_a_lifespan_cannot_hide_that_the_start_failed() -> None:
    hooks = Hooks()

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        with suppress(ValueError):
            yield

    def fail() -> None:
        raise ValueError("no")

    hooks.lifespans.append(lifespan)
    hooks.startup.append(fail)
    with pytest.raises(RuntimeError, match="suppressed the error"):
        asyncio.run(hooks.start())
