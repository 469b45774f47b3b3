"""A daemon on a real loop with real sockets, in the test's own process: for tests that look at what clients leave behind in it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from twisted.internet.task import Clock

from tests.support.daemon import SECONDS
from wsdaemon.daemon.daemon import Daemon
from wsdaemon.edge.listeners import Listener
from wsdaemon.settings.ini import load

T = TypeVar("T")


def run_inside(coroutine: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(coroutine, 4 * SECONDS))  # hundreds of TLS handshakes, of both ends, in this process alone


@contextlib.asynccontextmanager
async def inside(folder: Path, text: str) -> AsyncIterator[Daemon]:
    """A daemon that serves an INI file on this loop."""
    (folder / "ws.ini").write_text(text)
    daemon = Daemon(load(folder / "ws.ini"), asyncio.get_running_loop(), Clock())
    daemon.open()
    await daemon.start()
    try:
        yield daemon
    finally:
        await daemon.stop()


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until it is so. The caller's time limit ends it otherwise."""
    while not condition():  # noqa: ASYNC110 - nothing in the daemon tells a test; no time passes between two looks
        await asyncio.sleep(0)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def alive(name: str) -> int:
    """Objects of a class of this name that something still refers to."""
    gc.collect()
    return sum(type(one).__name__ == name for one in gc.get_objects())


class RawClient:
    """A TCP client that says exactly what the test wants."""

    def __init__(self) -> None:
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None
        self._loop = asyncio.get_running_loop()

    async def connect(self, listener: Listener) -> RawClient:
        assert listener.port is not None
        await self._loop.sock_connect(self.sock, ("127.0.0.1", listener.port))
        return self

    async def send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            await self._loop.sock_sendall(self.sock, data)

    async def end(self) -> bytes:
        """All that the server sends until it ends the connection, with or without a reset."""
        received = b""
        with contextlib.suppress(ConnectionError):
            while data := await self._loop.sock_recv(self.sock, 65536):
                received += data
        return received

    def reset(self) -> None:
        """Go away the rude way."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


async def gather(awaitables: list[Awaitable[T]]) -> list[T]:
    return list(await asyncio.gather(*awaitables))
