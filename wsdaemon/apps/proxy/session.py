"""Both sides of a connection through the proxy.

A message that came alone leaves at once, because a turn of the loop more would be a third of its cost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ...core.closing import ABNORMAL, GOING_AWAY, INTERNAL_ERROR, NO_STATUS, NORMAL, ConnectionClosed, may_be_sent
from ...core.connection import READY, Connection, reading_of, writer_of
from ...core.waiting import until_done
from ...core.wire_halves import ReadingSide, Writer
from .contract import Answered, Upstream


class ProxySession:
    """The client's side. `left` is called once, at the end."""

    __slots__ = ("_connection", "_left", "_reading", "_upstream", "_writer")

    def __init__(self, connection: Connection, answered: Answered, left: Callable[[], None]) -> None:
        self._connection = connection
        self._reading = reading_of(connection)
        self._left = left
        self._upstream: Upstream | None = None
        self._writer: Writer | None = None
        """The target's."""
        try:
            self._upstream = answered.open(TargetSession(self, connection))
        except RuntimeError:
            connection.close(INTERNAL_ERROR, "the connection to the target is lost")

    def opened(self, upstream: Upstream) -> None:
        """The target's side is open; its first messages may follow at once."""
        self._upstream, self._writer = upstream, upstream.writer

    def received_payload(self, payload: bytes, text: bool) -> Awaitable[object] | None:
        writer = self._writer
        if writer is None:
            return None
        try:
            waiting = writer.send_payload(payload, text) if self._reading.many else writer.send_at_once(payload, text)
        except ConnectionClosed:
            return None
        return None if waiting is None or waiting is READY else until_done(asyncio.ensure_future(waiting), self._connection)

    def closed(self, code: int, reason: str) -> None:
        upstream, self._upstream, self._writer = self._upstream, None, None
        if upstream is not None:
            if code == NO_STATUS:
                upstream.close(None, "")
            elif may_be_sent(code):
                upstream.close(code, reason)
            else:
                upstream.close(GOING_AWAY, "the client has gone")
        self._left()

    def target_closed(self, code: int, reason: str) -> None:
        """The target's side is over."""
        self._upstream = self._writer = None
        if code == ABNORMAL:
            self._connection.close(INTERNAL_ERROR, "the connection to the target is lost")
        elif may_be_sent(code):
            self._connection.close(code, reason)
        else:
            self._connection.close(NORMAL, "")


class TargetSession:
    """The target's side."""

    __slots__ = ("_reading", "_session", "_writer")

    def __init__(self, session: ProxySession, connection: Connection) -> None:
        self._session = session
        self._reading: ReadingSide | None = None
        self._writer = writer_of(connection)
        """The client's."""

    def opened(self, upstream: Upstream) -> None:
        self._reading = upstream.reading
        self._session.opened(upstream)

    def received_payload(self, payload: bytes, text: bool) -> Awaitable[object] | None:
        assert self._reading is not None
        writer = self._writer
        try:
            return writer.send_payload(payload, text) if self._reading.many else writer.send_at_once(payload, text)
        except ConnectionClosed:
            return None

    def closed(self, code: int, reason: str) -> None:
        self._session.target_closed(code, reason)
