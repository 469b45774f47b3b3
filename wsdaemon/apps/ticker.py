"""Pushes a timestamped JSON line at a steady interval; one timer and one frame for all its connections."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

from ..core.closing import ConnectionClosed
from ..core.connection import Connection, writer_of
from ..core.handshake import Handshake


class TickerApp:
    """The app behind `app = ticker`. `interval` in seconds."""

    keeps_handshake = False

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._sessions: dict[TickerSession, None] = {}
        self._handle: asyncio.TimerHandle | None = None
        self._count = 0

    def open(self, connection: Connection, handshake: Handshake) -> TickerSession:
        session = TickerSession(self, connection)
        self._sessions[session] = None
        if self._handle is None:
            self._schedule()
        return session

    def leave(self, session: TickerSession) -> None:
        self._sessions.pop(session, None)

    async def start(self) -> None:
        """Nothing to start: the timer runs while there are clients."""

    async def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _schedule(self) -> None:
        self._handle = asyncio.get_running_loop().call_later(self._interval, self._tick)

    def _tick(self) -> None:
        self._handle = None
        if not self._sessions:
            return
        self._schedule()
        self._count += 1
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "tick": self._count}).encode()
        for session in list(self._sessions):
            session.push(line)


class TickerSession:
    __slots__ = ("_app", "_connection")

    def __init__(self, app: TickerApp, connection: Connection) -> None:
        self._app = app
        self._connection = connection

    def push(self, line: bytes) -> None:
        # A slow client misses ticks, because old ticks are of no use.
        if self._connection.is_open and not writer_of(self._connection).congested:
            try:
                self._connection.send_payload(line, True)
            except ConnectionClosed:
                self._app.leave(self)

    def received_payload(self, payload: bytes, text: bool) -> None:
        """Messages of clients are ignored."""

    def closed(self, code: int, reason: str) -> None:
        self._app.leave(self)
