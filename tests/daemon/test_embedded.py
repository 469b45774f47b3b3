"""daemon/embedded.py: a server inside an asyncio program that runs already, on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.support.inside import descriptors, until
from wsdaemon import CoroutineConnection, StartError, WebSocketServer
from wsdaemon.client import WebSocketClient
from wsdaemon.daemon.embedded import GuestReactor, reactor_on

SECONDS = 30.0
LOOPS = pytest.mark.parametrize("make_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


def run(make_loop: Callable[[], asyncio.AbstractEventLoop], test: Callable[[], Awaitable[None]]) -> None:
    async def with_a_limit() -> None:
        await asyncio.wait_for(test(), SECONDS)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(with_a_limit())


def is_as_before(count: int) -> bool:
    """Whether no more descriptors are open; 0 is any number. Objects of other tests may close some meanwhile."""
    return count == 0 or descriptors() <= count


async def upper(connection: CoroutineConnection) -> None:
    async for message in connection:
        assert isinstance(message, str)
        await connection.send(message.upper())


def make_server(folder: Path, **options: Any) -> WebSocketServer:
    server = WebSocketServer(address=f"unix:{folder}/ws", **options)
    server.mount("/upper", upper)
    return server


async def ask(folder: Path, text: str) -> str | bytes:
    async with WebSocketClient("ws://localhost/upper", unix=folder / "ws", reconnect="off") as client:
        await client.connect()
        client.send(text)
        return await client.receive()


@LOOPS
def test_a_block_serves_and_leaves_nothing(make_loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(handler)
        server = make_server(tmp_path)
        before = 0
        for _ in range(3):  # one object serves again and again; what the first time needs stays, such as the loop's own
            async with server as entered:
                assert entered is server and await ask(tmp_path, "hello") == "HELLO"
                assert loop.get_exception_handler() is handler
                with pytest.raises(RuntimeError, match="runs already"):
                    await server.__aenter__()
                for again in (server.start, server.run_forever):
                    with pytest.raises(RuntimeError, match="runs already"):
                        again()
                assert await ask(tmp_path, "hello") == "HELLO"
            assert server.connections == [] and not (tmp_path / "ws").exists()
            await until(partial(is_as_before, before))
            before = descriptors()

    def handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        raise AssertionError(context)

    run(make_loop, test)


@LOOPS
def test_serve_ends_when_it_is_cancelled_and_with_stop(make_loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path) -> None:
    async def test() -> None:
        server = make_server(tmp_path)
        for end in ("cancel", "stop", "stop in a thread"):
            ready = asyncio.Event()
            serving = asyncio.create_task(server.serve(ready.set))
            await ready.wait()
            async with WebSocketClient("ws://localhost/upper", unix=tmp_path / "ws", reconnect="off") as client:
                await client.connect()
                if end == "cancel":
                    serving.cancel()
                elif end == "stop":
                    server.stop()
                else:
                    await asyncio.to_thread(server.stop)
                await client.wait_closed()  # the drain says goodbye
                with contextlib.suppress(asyncio.CancelledError):
                    await serving
            assert serving.cancelled() == (end == "cancel")
        server.stop()

    run(make_loop, test)


def test_a_second_cancellation_drops_the_connections(tmp_path: Path) -> None:
    async def deaf(connection: CoroutineConnection) -> None:
        begun.set()
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                cancelled.set()
                return

    async def test() -> None:
        server = WebSocketServer(address=f"unix:{tmp_path}/ws", drain_timeout="3600s")
        server.mount("/", deaf)
        ready = asyncio.Event()
        serving = asyncio.create_task(server.serve(ready.set))
        await ready.wait()
        reader, writer = await asyncio.open_unix_connection(tmp_path / "ws")
        writer.write(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        await begun.wait()
        serving.cancel()
        await reader.readuntil(b"\x88")  # the drain has begun: the client answers no Close frame
        assert not serving.done()
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        assert serving.cancelled() and cancelled.is_set()
        writer.close()

    begun, cancelled = asyncio.Event(), asyncio.Event()
    run(uvloop.new_event_loop, test)


@LOOPS
def test_a_start_that_fails_leaves_nothing(make_loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path) -> None:
    async def test() -> None:
        server = make_server(tmp_path)

        @server.on_startup
        async def fail() -> None:
            raise ValueError("no database")

        before = 0
        for _ in range(3):
            with pytest.raises(StartError, match="no database"):
                async with server:
                    raise AssertionError("it does not start")
            await until(partial(is_as_before, before))
            before = descriptors()
            assert not (tmp_path / "ws").exists()

    run(make_loop, test)


def test_workers_are_refused() -> None:
    async def test() -> None:
        server = WebSocketServer(workers=2)
        server.mount("/echo", "echo")
        with pytest.raises(RuntimeError, match=r"run_forever\(\)"):
            await server.serve()

    run(uvloop.new_event_loop, test)


def test_without_a_running_loop_there_is_no_server(tmp_path: Path) -> None:
    server = make_server(tmp_path)
    entering = server.__aenter__()
    with pytest.raises(RuntimeError, match="no running event loop"):
        entering.send(None)


@LOOPS
def test_twisteds_side_works_and_leaves_the_loop_alone(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def test() -> None:
        loop, told = asyncio.get_running_loop(), list[str]()
        reactor: Any = reactor_on(loop)
        assert type(reactor).__name__ == GuestReactor.__name__
        timer, thread = asyncio.Event(), asyncio.Event()
        reactor.callLater(0.0, timer.set)
        reactor.callInThread(lambda: reactor.callFromThread(thread.set))
        await asyncio.gather(timer.wait(), thread.wait())
        reactor.callLater(3600.0, told.append, "never")
        reactor.leave()
        assert reactor.getDelayedCalls() == []
        await until(lambda: reactor.threadpool is None or not reactor.threadpool.threads)

    run(make_loop, test)


def test_a_reactor_of_the_loop_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        reactor = reactor_on(asyncio.get_running_loop())
        monkeypatch.setitem(sys.modules, "twisted.internet.reactor", reactor)
        assert reactor_on(asyncio.get_running_loop()) is reactor
        reactor.leave()

    run(uvloop.new_event_loop, test)
