"""A network between a client and a server, as a TCP proxy in a thread: it can be cut, stand still, and lead to another server."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

BLOCK_BYTES = 65536


class TroubledNetwork:
    """Listens on a free port of 127.0.0.1 for as long as the `with` block lasts."""

    def __init__(self, target: int = 0) -> None:
        """`target` is the server's port, for connections from now on."""
        self.target = target
        self.port = 0
        self._away = False
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._carrying: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        self._flowing.set()
        self._server = self._run(asyncio.start_server(self._carry, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._server.close()
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def cut(self) -> None:
        """Reset all connections, and each new one, until `mend()`."""

        async def cut() -> None:
            self._away = True
            for task in self._carrying:
                task.cancel()
            await asyncio.gather(*self._carrying, return_exceptions=True)

        self._run(cut())

    def stall(self) -> None:
        """Carry nothing more until `mend()`; connections stay open, and new ones are accepted."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def mend(self) -> None:
        """The network is back: whatever stood still goes on."""
        self._away = False
        self._loop.call_soon_threadsafe(self._flowing.set)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carrying.add(task)
        try:
            if not self._away:
                await self._to_target(reader, writer)
        except (OSError, asyncio.CancelledError):  # the other end is gone, or the network is cut
            pass
        finally:
            self._carrying.discard(task)
            writer.transport.abort()

    async def _to_target(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_target, to_target = await asyncio.open_connection("127.0.0.1", self.target)
        both = [asyncio.ensure_future(self._copy(reader, to_target)), asyncio.ensure_future(self._copy(from_target, writer))]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in both:
                each.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            to_target.transport.abort()

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(BLOCK_BYTES):
                await self._flowing.wait()
                target.write(data)
                await target.drain()
            await target.drain()
