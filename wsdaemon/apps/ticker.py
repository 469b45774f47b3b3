"""Pushes a timestamped JSON line at a steady interval; one timer and one frame for all its connections."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

from ..core.connection import Connection
from ..core.handshake import Handshake
from ..core.perishable import push


class TickerApp:
    """The app behind `app = ticker`. `interval` in seconds."""

    keeps_handshake = False

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._sessions: dict[TickerSession, None] = {}
        self._handle: asyncio.TimerHandle | None = None
        self._count = 0

    def open(self, connection: Connection, handshake: Handshake) -> TickerSession:
        return self._enter(TickerSession(self, connection, 0), self._interval)

    def resume(self, connection: Connection, handshake: Handshake, state: bytes) -> TickerSession:
        """Go on after the last tick of the process that had the connection before."""
        last: dict[str, float] = json.loads(state)
        return self._enter(TickerSession(self, connection, int(last["tick"]) - self._count), min(last["wait"], self._interval))

    def _enter(self, session: TickerSession, wait: float) -> TickerSession:
        self._sessions[session] = None
        if self._handle is None:
            self._schedule(wait)
        return session

    def hand_over(self, session: TickerSession) -> bytes:
        """The number of the last tick, and the seconds until the next one."""
        wait = self._interval if self._handle is None else max(0.0, self._handle.when() - asyncio.get_running_loop().time())
        self.leave(session)
        return json.dumps({"tick": self._count + session.ahead, "wait": wait}).encode()

    def leave(self, session: TickerSession) -> None:
        self._sessions.pop(session, None)

    async def start(self) -> None:
        """Nothing to start: the timer runs while there are clients."""

    async def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _schedule(self, wait: float) -> None:
        self._handle = asyncio.get_running_loop().call_later(wait, self._tick)

    def _tick(self) -> None:
        self._handle = None
        if not self._sessions:
            return
        self._schedule(self._interval)
        self._count += 1
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        lines: dict[int, bytes] = {}  # more than one only if there are connections of other processes
        for session in list(self._sessions):
            line = lines.get(session.ahead)
            if line is None:
                line = lines[session.ahead] = json.dumps({"time": now, "tick": self._count + session.ahead}).encode()
            session.push(line)


class TickerSession:
    """`ahead`: the number of its client's ticks above the app's."""

    __slots__ = ("_app", "_connection", "ahead")

    def __init__(self, app: TickerApp, connection: Connection, ahead: int) -> None:
        self._app = app
        self.ahead = ahead
        self._connection = connection

    def push(self, line: bytes) -> None:
        if not push(self._connection, line):
            self._app.leave(self)

    def received_payload(self, payload: bytes, text: bool) -> None:
        """Messages of clients are ignored."""

    def hand_over(self) -> bytes:
        return self._app.hand_over(self)

    def closed(self, code: int, reason: str) -> None:
        self._app.leave(self)
