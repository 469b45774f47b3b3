"""One connection to a Redis server: many questions under way, answered in their order; or subscriptions and their messages.

The connection itself (TCP, TLS, unix socket, AUTH, SELECT) is redis-py's, with its retries off. The library's client is not used: it hides
reconnects, gives each question a connection of its own, and does not wait until a subscription is confirmed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError, ResponseError

MAX_UNSENT_BYTES = 64 << 20
"""Questions that wait until the socket takes them. With more of them the connection counts as lost."""

MAX_CHANNELS_PER_COMMAND = 512
"""Channels of one SUBSCRIBE: one command of 100,000 would hold up the server, and its confirmations our loop."""

MAX_REPLIES_PER_TURN = 256
"""Replies that are handled before the loop serves others."""

Argument = bytes | str | int | float


class Pipe:
    """A connection. It ends once: `ended` then has the reason, and every question without an answer fails with ConnectionError."""

    def __init__(self, connection: AbstractConnection) -> None:
        """`connection` is connected, and used by nothing else."""
        self._connection = connection
        self._loop = loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[str] = loop.create_future()
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._more = asyncio.Event()
        self._tasks = [loop.create_task(self._write()), loop.create_task(self._read())]

    def write(self, *arguments: Argument) -> None:
        """Send a command in this turn of the loop."""
        packed = hiredis.pack_command(arguments)  # type: ignore[arg-type]  # a tuple of any length
        self._unsent.append(packed)
        self._unsent_bytes += len(packed)
        if self._unsent_bytes > MAX_UNSENT_BYTES:
            self.end("the server takes no more questions")
        self._more.set()

    def end(self, reason: str) -> None:
        """Cut the connection: the server gets nothing more of it, because questions without an answer are asked again on the next one."""
        if not self.ended.done():
            self.ended.set_result(reason)
            for task in self._tasks:
                task.cancel()
            self._unsent.clear()
            self._abort()

    def _abort(self) -> None:
        """Drop all that is unsent, in the process and in the kernel. A close with grace would go on sending it for minutes after a cut."""
        writer = self._connection._writer
        if writer is None:
            return
        sock = writer.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            # If it is closed already, asyncio raises OSError, and uvloop ValueError.
            with contextlib.suppress(OSError, ValueError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def close(self) -> None:
        """Cut the connection, and wait until that is done."""
        self.end("closed")
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._connection.disconnect(nowait=True)

    async def _write(self) -> None:
        try:
            while True:
                await self._more.wait()
                self._more.clear()
                packed, self._unsent, self._unsent_bytes = self._unsent, [], 0
                await self._connection.send_packed_command(b"".join(packed), check_health=False)
        except (RedisError, OSError) as error:
            self.end(f"it cannot be written to: {error}")

    async def _read(self) -> None:
        replies = 0
        try:
            while True:
                try:
                    reply = await self._connection.read_response(disable_decoding=True, disconnect_on_error=False)
                except (ResponseError, BusyLoadingError, AuthenticationError) as error:
                    reply = error
                self._take(reply)
                replies += 1
                if replies % MAX_REPLIES_PER_TURN == 0:
                    await asyncio.sleep(0)
        except (RedisError, OSError) as error:
            self.end(f"the connection ended: {error}")
        except Exception as error:
            self.end(f"it sent an answer that cannot be read: {error}")

    def _take(self, reply: Any) -> None:
        raise NotImplementedError


class Questions(Pipe):
    """A connection for questions. Replies come in the order of the questions."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._waiting: deque[Callable[[Any], None]] = deque()
        super().__init__(connection)
        self.fence = ""
        """Passed to each script on this connection; see `redis_scripts`."""
        self.run_id = ""

    def __len__(self) -> int:
        """Questions without an answer."""
        return len(self._waiting)

    def tell(self, done: Callable[[Any], None], *arguments: Argument) -> None:
        """Ask. `done` is called with the answer or with an exception, once."""
        if self.ended.done():
            done(ConnectionError(self.ended.result()))
            return
        self._waiting.append(done)
        self.write(*arguments)

    def ask(self, *arguments: Argument) -> asyncio.Future[Any]:
        """Ask. The future has the answer, a ResponseError or a ConnectionError."""
        future: asyncio.Future[Any] = self._loop.create_future()

        def done(reply: Any) -> None:
            if future.done():
                return
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)

        self.tell(done, *arguments)
        return future

    def end(self, reason: str) -> None:
        super().end(reason)
        error = ConnectionError(reason)
        while self._waiting:
            self._waiting.popleft()(error)

    def _take(self, reply: Any) -> None:
        if not self._waiting:
            self.end("it answered without a question")
            return
        self._waiting.popleft()(reply)


class Subscriptions(Pipe):
    """A connection for subscriptions. `message` is called with a channel and the data, `dropped` with a channel that the server gave up."""

    def __init__(self, connection: AbstractConnection, message: Callable[[bytes, bytes], None], dropped: Callable[[bytes], None]) -> None:
        self._message = message
        self._dropped = dropped
        self._asked: dict[tuple[str, int], list[str]] = {}
        self._unconfirmed: dict[bytes, deque[asyncio.Future[None]]] = {}
        self._leaving: dict[bytes, int] = {}
        super().__init__(connection)

    def subscribe(self, channel: str, kind: str = "SUBSCRIBE", slot: int = 0) -> asyncio.Future[None]:
        """SUBSCRIBE, SSUBSCRIBE or PSUBSCRIBE. Done when the server has confirmed it, which is later than when the command was sent.

        `slot`: of an SSUBSCRIBE, because one command may not have channels of several.
        """
        future: asyncio.Future[None] = self._loop.create_future()
        if self.ended.done():
            future.set_exception(ConnectionError(self.ended.result()))
            return future
        self._unconfirmed.setdefault(channel.encode(), deque()).append(future)
        self._gather(kind, slot, channel)
        return future

    def unsubscribe(self, channel: str, kind: str = "UNSUBSCRIBE", slot: int = 0) -> None:
        """UNSUBSCRIBE, SUNSUBSCRIBE or PUNSUBSCRIBE."""
        if not self.ended.done():
            key = channel.encode()
            self._leaving[key] = self._leaving.get(key, 0) + 1
            self._gather(kind, slot, channel)

    def _gather(self, kind: str, slot: int, channel: str) -> None:
        """Commands of one kind in one turn of the loop become one; those of another kind keep their order."""
        if not self._asked:
            self._loop.call_soon(self._send)
        elif kind != next(iter(self._asked))[0]:
            self._send()
            self._loop.call_soon(self._send)
        self._asked.setdefault((kind, slot), []).append(channel)

    def _send(self) -> None:
        asked, self._asked = self._asked, {}
        if not self.ended.done():
            for (kind, _), channels in asked.items():
                for start in range(0, len(channels), MAX_CHANNELS_PER_COMMAND):
                    self.write(kind, *channels[start : start + MAX_CHANNELS_PER_COMMAND])

    def end(self, reason: str) -> None:
        super().end(reason)
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        for futures in unconfirmed.values():
            for future in futures:
                if not future.done():
                    future.set_exception(ConnectionError(reason))
                    future.exception()  # it may be that nothing waits for it

    def _take(self, reply: Any) -> None:
        if isinstance(reply, Exception):
            self.end(f"it refused a subscription: {reply}")
            return
        kind = reply[0]
        if kind in (b"message", b"smessage"):
            self._message(reply[1], reply[2])
        elif kind == b"pmessage":
            self._message(reply[2], reply[3])
        elif kind in (b"subscribe", b"ssubscribe", b"psubscribe"):
            self._confirm(reply[1])
        elif kind == b"sunsubscribe" and not self._left(reply[1]):
            self._dropped(reply[1])
        elif kind in (b"unsubscribe", b"punsubscribe"):
            self._left(reply[1])

    def _confirm(self, channel: bytes) -> None:
        futures = self._unconfirmed.get(channel)
        if futures:
            future = futures.popleft()
            if not future.done():
                future.set_result(None)
            if not futures:
                del self._unconfirmed[channel]

    def _left(self, channel: bytes) -> bool:
        """Whether this end of a subscription was asked for."""
        count = self._leaving.get(channel, 0)
        if count > 1:
            self._leaving[channel] = count - 1
        elif count:
            del self._leaving[channel]
        return count > 0
