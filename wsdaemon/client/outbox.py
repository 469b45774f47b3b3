"""A client's messages on their way out: at once on the open connection, else through the bounded queue; from any thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any

from ..core.connection import READY, payload_of
from .backlog import Backlog, closed_error
from .errors import ClientClosed

if TYPE_CHECKING:
    from ..settings.client import ClientSettings
    from ..wire.client import ClientWire

_NOTHING: tuple[tuple[bytes, bool], ...] = ()

_MAKING = threading.Lock()
"""Held while a client makes its queue, which any thread may be the first to need."""


class ClientOutbox:
    """Messages of one client. The queue is made when a message has to wait for the first time.

    `ends` says whether the client was closed, so that a queue that is made then takes nothing. `writer` is the open connection's, None
    while there is none; `messages` are those that wait.
    """

    __slots__ = ("_backlog", "_ends", "_flushing", "_loop", "_roomful", "_settings", "_thread", "_wire", "messages", "writer")

    def __init__(self, settings: ClientSettings, ends: Callable[[], bool]) -> None:
        self._settings = settings
        self._ends = ends
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._wire: ClientWire | None = None
        self.writer: Any = None
        self.messages: Any = _NOTHING
        self._backlog: Backlog | None = None
        self._flushing = False
        self._roomful: asyncio.Future[None] | None = None

    @property
    def dropped(self) -> int:
        """Messages that the queue has dropped."""
        return 0 if self._backlog is None else self._backlog.dropped

    # -- sending

    def send(self, message: str | bytes | bytearray | memoryview) -> Awaitable[None]:
        """As WebSocketClient.send()."""
        if isinstance(message, bytes):
            payload, text = message, False
        elif isinstance(message, str):
            payload, text = message.encode(), True
        else:
            payload, text = payload_of(message)
        if get_ident() != self._thread:
            return self._send_from_elsewhere(payload, text)
        writer = self.writer
        if writer is not None and writer.live and not self.messages and not (writer.queued and writer.congested):
            return writer.send_payload(payload, text) or READY
        if self._queue().put(payload, text):
            return READY
        return self._wait_for_room(payload, text)

    def send_now(self, text: str) -> None:
        """Send past the queue, on the loop; nothing is sent while there is no open connection."""
        writer = self.writer
        if writer is not None and writer.live:
            writer.send_payload(text.encode("utf-8", "surrogatepass"), True)

    def _queue(self) -> Backlog:
        if self._backlog is None:
            with _MAKING:
                if self._backlog is None:
                    settings = self._settings
                    made = Backlog(settings.queue, settings.queue_messages, settings.queue_bytes)
                    self.messages = made.messages
                    self._backlog = made  # before the look: if the client ends in between, end() closes this queue
                    if self._ends():
                        made.close(closed_error)
        return self._backlog

    def _send_from_elsewhere(self, payload: bytes, text: bool) -> Awaitable[None]:
        """A message of another thread, or of before the start. A thread with a loop of its own must not be blocked."""
        if asyncio._get_running_loop() is None:
            self._queue().put_and_wait(payload, text)
        elif not self._queue().put(payload, text):
            return self._wait_elsewhere(payload, text)
        self._flush_soon()
        return READY

    async def _wait_elsewhere(self, payload: bytes, text: bool) -> None:
        await asyncio.to_thread(self._queue().put_and_wait, payload, text)
        self._flush_soon()

    async def _wait_for_room(self, payload: bytes, text: bool) -> None:
        while not self._queue().put(payload, text):
            if self._roomful is None or self._roomful.done():
                self._roomful = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._roomful)
        self.flush()

    def _flush_soon(self) -> None:
        loop = self._loop
        if loop is not None and not self._flushing:
            self._flushing = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: the client has ended
                loop.call_soon_threadsafe(self.flush)

    def flush(self) -> None:
        """Send the messages that wait, as far as the server takes them."""
        self._flushing = False
        if self.messages and self._wire is not None:
            self._wire.together(self._send_waiting)
            self._wake()

    def _send_waiting(self) -> None:
        backlog, writer = self._queue(), self.writer
        while writer is not None and writer.live and not writer.congested:
            taken = backlog.take()
            if taken is None:
                return
            writer.send_payload(*taken)

    def _wake(self) -> None:
        if self._roomful is not None and not self._roomful.done():
            self._roomful.set_result(None)

    # -- the life of the client

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """The client begins on this loop, in this thread."""
        self._loop, self._thread = loop, get_ident()

    def take_again(self) -> None:
        """Let the queue take messages again, after end()."""
        if self._backlog is not None:
            self._backlog.open()

    def opened(self, wire: ClientWire) -> None:
        """A connection is open. flush() sends the messages that wait."""
        self._wire, self.writer = wire, wire.writer

    def lost(self) -> None:
        """The open connection is over."""
        self._wire = self.writer = None

    def end(self, error: BaseException | None) -> None:
        """The client has ended: each message is refused, with the final failure if there was one."""
        self.lost()
        if self._backlog is not None:
            self._backlog.close(closed_error if error is None else partial(_failed_error, error))
        self._wake()

    def forget_loop(self) -> None:
        """The loop of run_forever() is over."""
        self._loop, self._thread = None, 0


def _failed_error(error: BaseException) -> BaseException:
    made = ClientClosed(f"the client has ended: {error}")
    made.__cause__ = error
    return made
