"""An app of a user's whose connections go along: its session needs a while to go on, and is told when the other process has it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from wsdaemon.core.connection import Connection
from wsdaemon.core.handshake import Handshake

EVENTS: list[str] = []
FAILS: list[Exception] = []


class Moving:
    def open(self, connection: Connection, handshake: Handshake) -> MovingSession:
        return MovingSession(connection, 0)

    def resume(self, connection: Connection, handshake: Handshake, state: bytes) -> MovingSession:
        EVENTS.append(f"resumed {state.decode()}")
        return MovingSession(connection, int(state))


class MovingSession:
    def __init__(self, connection: Connection, count: int) -> None:
        self._connection = connection
        self._count = count

    def received(self, message: str | bytes) -> None:
        self._count += 1
        EVENTS.append(f"received {self._count}")
        self._connection.send(f"{self._count}")

    def hand_over(self) -> bytes:
        EVENTS.append("left")
        return str(self._count).encode()

    def handed_over(self) -> None:
        EVENTS.append("handed over")

    def resumed(self) -> Awaitable[None]:
        return self._come()

    async def _come(self) -> None:
        await asyncio.sleep(0.05)
        EVENTS.append("goes on")
        if FAILS:
            raise FAILS.pop()

    def closed(self, code: int, reason: str) -> None:
        EVENTS.append(f"closed {code}")
