"""edge/opening.py: transports for accepted sockets, made without a task for each."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import uvloop

from wsdaemon.edge.opening import open_transport

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [uvloop.new_event_loop, asyncio.new_event_loop]


class Upper(asyncio.Protocol):
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.made: asyncio.Future[Any] = loop.create_future()
        self.data: asyncio.Future[bytes] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made.set_result(transport)

    def data_received(self, data: bytes) -> None:
        self.data.set_result(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


def run(new_loop: Callable[[], asyncio.AbstractEventLoop], scenario: Callable[[socket.socket, socket.socket], Any]) -> list[Any]:
    """The contexts that the loop's exception handler received while `scenario` ran with both ends of a connection."""
    loop = new_loop()
    unhandled: list[Any] = []
    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    try:
        with near, far:
            loop.run_until_complete(asyncio.wait_for(scenario(near, far), 10))
    finally:
        loop.close()
    return unhandled


@pytest.mark.parametrize("new_loop", LOOPS)
def test_the_transport_is_made_without_a_task_and_reads(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def scenario(near: socket.socket, far: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        upper, failed = Upper(loop), list[BaseException]()
        before = asyncio.all_tasks()
        open_transport(loop, upper, near, failed.append)
        assert asyncio.all_tasks() == before
        assert not upper.made.done(), "connection_made is called in a later turn"
        far.send(b"hello")
        assert await upper.data == b"hello"
        transport = await upper.made
        transport.write(b"back")
        assert await loop.sock_recv(far, 10) == b"back"
        transport.close()
        await upper.lost
        assert failed == []

    assert run(new_loop, scenario) == []


@pytest.mark.parametrize("new_loop", LOOPS)
def test_giving_up_at_once_ends_the_connection_and_tells_once(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def scenario(near: socket.socket, far: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        upper, failed = Upper(loop), loop.create_future()
        give_up = open_transport(loop, upper, near, failed.set_result)
        give_up()
        assert isinstance(await failed, asyncio.CancelledError)
        near.close()
        assert await loop.sock_recv(far, 10) == b""

    assert run(new_loop, scenario) == []


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_fault_of_the_loop_is_given_to_the_caller(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def scenario(near: socket.socket, far: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            failed: list[BaseException] = []
            give_up = open_transport(loop, Upper(loop), datagrams, failed.append)
            give_up()
            assert [type(error) for error in failed] == [ValueError]

    assert run(new_loop, scenario) == []


@pytest.mark.parametrize("new_loop", LOOPS)
def test_nothing_of_it_stays_in_a_cycle(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def scenario(near: socket.socket, far: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        upper = Upper(loop)
        open_transport(loop, upper, near, partial(setattr, upper, "failure"))
        transport, gone = await upper.made, weakref.ref(upper)
        transport.abort()
        await upper.lost
        del transport, upper
        await asyncio.sleep(0)
        assert gone() is None

    gc.disable()
    try:
        assert run(new_loop, scenario) == []
    finally:
        gc.enable()
