"""Both sides of a connection through the proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ...core.closing import ABNORMAL, GOING_AWAY, INTERNAL_ERROR, NO_STATUS, NORMAL, ConnectionClosed, may_be_sent
from ...core.connection import READY, Connection, Writer, writer_of
from ...core.waiting import until_done
from .contract import Answered, Upstream


class ProxySession:
    """The client's side. `left` is called once, at the end."""

    __slots__ = ("_connection", "_left", "_upstream", "_writer")

    def __init__(self, connection: Connection, answered: Answered, left: Callable[[], None]) -> None:
        self._connection = connection
        self._writer: Writer = writer_of(connection)
        self._left = left
        self._upstream: Upstream | None = None
        try:
            self._upstream = answered.open(TargetSession(self))
        except RuntimeError:
            connection.close(INTERNAL_ERROR, "the connection to the target is lost")

    # -- from the client

    def received_payload(self, payload: bytes, text: bool) -> Awaitable[object] | None:
        if self._upstream is None:
            return None
        try:
            waiting = self._upstream.send(payload, text)
        except ConnectionClosed:
            return None
        if waiting is None or waiting is READY:
            return None
        return until_done(asyncio.ensure_future(waiting), self._connection)

    def closed(self, code: int, reason: str) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            if code == NO_STATUS:
                upstream.close(None, "")
            elif may_be_sent(code):
                upstream.close(code, reason)
            else:
                upstream.close(GOING_AWAY, "the client has gone")
        self._left()

    # -- from the target

    def send(self, payload: bytes, text: bool) -> Awaitable[object] | None:
        try:
            return self._writer.send_payload(payload, text)
        except ConnectionClosed:
            return None

    def target_closed(self, code: int, reason: str) -> None:
        self._upstream = None
        if code == ABNORMAL:
            self._connection.close(INTERNAL_ERROR, "the connection to the target is lost")
        elif may_be_sent(code):
            self._connection.close(code, reason)
        else:
            self._connection.close(NORMAL, "")


class TargetSession:
    """The target's side."""

    __slots__ = ("_session", "received_payload")

    def __init__(self, session: ProxySession) -> None:
        self._session = session
        self.received_payload = session.send

    def closed(self, code: int, reason: str) -> None:
        self._session.target_closed(code, reason)
