"""Both ends of a bridge: a client's connection, and the stream to its target."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from ...core.closing import INTERNAL_ERROR, NORMAL, UNSUPPORTED_DATA, ConnectionClosed
from ...core.connection import READY, Connection, writer_of
from ...core.handshake import Handshake
from ...core.waiting import until_done
from ...core.wire_halves import Writer

HIGH_WATER_BYTES = 64 * 1024
"""Bytes for the target that wait in the daemon; above it, the client is not read."""

END_SECONDS = 5.0
"""After the client has left: until the target must have ended the stream, too."""

BYTES_ONLY = frozenset({"mqtt", "mqttv3.1"})
"""Subprotocols that allow no text messages (MQTT 5.0, 6.0.0-1)."""


class TargetStream(asyncio.Protocol):
    """The stream to a target. One read of it may come before the client's connection is open; more waits in the kernel.

    Each side is read no further than the other one follows: at most a message waits here for the target, and what the mount's
    `send_backlog` allows for the client.
    """

    __slots__ = (
        "_connection", "_early", "_end_before", "_ends", "_half_closed", "_loop", "_paused", "_room", "_timer", "_transport", "_writer",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._connection: Connection | None = None
        self._writer: Writer | None = None
        self._room: asyncio.Future[None] | None = None
        self._early = b""
        self._paused = False
        self._end_before: int | None = None
        """The close code for a target that has ended before the client's connection is open."""
        self._ends = False
        self._half_closed = False
        self._timer: asyncio.TimerHandle | None = None

    def open(self, connection: Connection, handshake: Handshake) -> BridgeSession:
        """The client's connection is open."""
        self._connection = connection
        self._writer = writer_of(connection)
        if self._transport is not None and not self._half_closed:
            self._transport.resume_reading()
        early, self._early = self._early, b""
        if early:
            self.data_received(early)
        if self._end_before is not None:
            self._close_client(self._end_before if early else INTERNAL_ERROR)  # without a word, the target has refused the client
        return BridgeSession(self, connection, handshake.subprotocol in BYTES_ONLY)

    def abort(self) -> None:
        """There is no connection after all."""
        if self._transport is not None:
            self._transport.abort()

    # -- from the target

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        assert self._transport is not None
        self._transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self._transport.pause_reading()  # uvloop may read once nevertheless

    def data_received(self, data: bytes) -> None:
        if self._ends:
            return
        writer = self._writer
        if writer is None:
            self._early += data
            if self._transport is not None:
                self._transport.pause_reading()
            return
        try:
            waiting = writer.send_at_once(data, False)
        except ConnectionClosed:
            return
        if waiting is not None and waiting is not READY and self._transport is not None:
            self._transport.pause_reading()
            asyncio.ensure_future(waiting).add_done_callback(self._client_caught_up)

    def _client_caught_up(self, done: asyncio.Future[None]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def eof_received(self) -> bool:
        """The target sends no more: the client is closed with 1000. A WebSocket has no half that could stay open."""
        self._close_client(NORMAL)
        self._half_closed = not self._ends and self._transport is not None and self._transport.can_write_eof()
        return self._half_closed  # bytes that wait for the target are still written; the session ends the stream

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._wake()
        if self._timer is not None:
            self._timer.cancel()
        self._close_client(NORMAL if exc is None else INTERNAL_ERROR)

    def _close_client(self, code: int) -> None:
        """Close the client's connection after all that the target sent; if it is not open yet, as soon as it is."""
        if self._connection is None:
            if self._end_before is None:
                self._end_before = code
        elif self._connection.is_open:
            self._connection.close(code, "" if code == NORMAL else "the connection to the target is lost")

    # -- to the target

    def write(self, payload: bytes) -> asyncio.Future[None] | None:
        """Send bytes to the target. If it does not take them, the result is done as soon as it has."""
        if self._transport is None:
            return None
        self._transport.write(payload)
        if not self._paused:
            return None
        if self._room is None:
            self._room = self._loop.create_future()
        return self._room

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake()

    def _wake(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def end(self) -> None:
        """The client has gone: the target is told so after all that the client sent, and may end by itself."""
        self._ends = True
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if transport.can_write_eof() and not self._half_closed:
            transport.write_eof()
            transport.resume_reading()  # its last bytes are dropped, but its end is seen
        else:  # the target has ended already, or TLS, which has no half-close here; bytes that wait are written
            transport.close()
        self._timer = self._loop.call_later(END_SECONDS, self.abort)


class BridgeSession:
    """A client of a target."""

    __slots__ = ("_bytes_only", "_connection", "_stream")

    def __init__(self, stream: TargetStream, connection: Connection, bytes_only: bool) -> None:
        self._stream = stream
        self._connection = connection
        self._bytes_only = bytes_only

    def received_payload(self, payload: bytes, text: bool) -> Awaitable[object] | None:
        if text and self._bytes_only:
            self._connection.close(UNSUPPORTED_DATA, "binary messages alone")
            return None
        taken = self._stream.write(payload)
        return None if taken is None else until_done(taken, self._connection)

    def closed(self, code: int, reason: str) -> None:
        self._stream.end()
