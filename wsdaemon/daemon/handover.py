"""Open connections go from a worker of the old generation to one of the new: both sides, over a HandoverLink.

A connection that cannot go, or not within PATIENCE_SECONDS, stays with the old worker, which drains it.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from twisted.logger import Logger
from twisted.python.failure import Failure

from ..core.connection import Connection
from ..core.contract import HandedOverSession
from ..core.rare_lines import LineLog, RareLines
from ..core.registry import Connections, Place
from ..edge.gate import Gate
from ..edge.landing import land
from ..wire.handed import HandedOver, NotHandedOver, decode
from ..wire.handover import Obstacle, Parting, part, stay, wait
from ..wire.resumption import CannotResume, check, read_on, resume
from .handover_link import ALL, GIVE, HELLO, REFUSED, SETTLED, TAKEN, VERSION, HandoverLink

PATIENCE_SECONDS: Final = 2.0
"""A connection that cannot go now is tried again for so long."""

RETRY_SECONDS: Final = 0.02
"""Between two attempts."""

CREDIT: Final = 32
"""Connections that may be on their way at once."""

CREDIT_BYTES: Final = 4 * 1024 * 1024
"""Their content, before one more may follow."""

ANSWER_SECONDS: Final = 10.0
"""The link ends if the other worker answers nothing for so long."""

PARTINGS_PER_TURN: Final = 8
"""Connections that leave in one turn of the loop, about two milliseconds; then others have their turn."""

log = Logger(namespace="wsdaemon")


class Home:
    """The connections of one worker: how they leave, and how they come in."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, connections: Connections, gates: Mapping[str, Gate], line_log: LineLog = log
    ) -> None:  # fmt: skip
        """`gates` by the names of their listeners."""
        self.loop = loop
        self._lines = RareLines(line_log)
        self.connections = connections
        self._gates = gates

    def part(self, connection: Connection) -> Parting | Obstacle:
        """Take a connection out, or say why it cannot go now."""
        wire: Any = connection._wire
        place = wire.place
        parting = part(wire, place is not None and place.warned)
        if isinstance(parting, Parting):
            self.connections.remove(connection)
            if parting.place is not None:
                parting.place.wait_no_longer()
        else:
            wait(wire, parting)
        return parting

    def stay(self, connection: Connection) -> None:
        """The connection stays here."""
        wire: Any = connection._wire
        stay(wire)

    def check(self, handed: HandedOver) -> None:
        """CannotResume unless a listener here, and a mount of it, can go on with the connection."""
        gate = self._gates.get(handed.handshake.listener)
        if gate is None:
            raise CannotResume("listener")
        entrance = gate.entrance(handed.handshake)
        if entrance is None:
            raise CannotResume("mount")
        check(entrance.wires, handed)

    def place(self, handed: HandedOver) -> Place:
        """A place within the limits of this worker. CannotResume if one of them is reached."""
        gate = self._gates[handed.handshake.listener]
        place = gate.take_over(handed.handshake)
        if place is None:
            raise CannotResume("limits")
        return place

    async def go_on(self, handed: HandedOver, descriptor: int, place: Place) -> bool:
        """Go on with a connection, whose descriptor and place are given here. Done when its session goes on; False if it never had one."""
        gate = self._gates[handed.handshake.listener]
        entrance = gate.entrance(handed.handshake)
        assert entrance is not None
        sock = socket.socket(fileno=descriptor)
        try:
            landing = await land(self.loop, sock)
        except OSError:
            place.leave()
            return False
        try:
            wire, resumed = resume(entrance.wires, handed, landing.native, sock.fileno(), place, landing.early)
        except Exception:
            place.leave()
            landing.native.abort()
            self._lines.failure("resume", "a connection of another process was lost", Failure())
            return False
        has_session = wire.session is not None
        gate.opened(wire, entrance, handed.handshake.identity, place, handed.warned)
        try:
            if resumed is not None:
                await resumed
        except Exception as error:
            wire.app_failed("resuming", error)
        if landing.lost:
            wire.connection_lost(landing.why_lost)
        else:
            read_on(wire)
        return has_session


@dataclass(slots=True)
class Departures:
    """How many connections went along, and why the others stayed."""

    went: int = 0
    stayed: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _OnTheWay:
    parting: Parting
    taken: bool = False


class HandingOver:
    """The old worker's side."""

    def __init__(self, sock: socket.socket, home: Home) -> None:
        self._home = home
        self._loop = home.loop
        self.departures = Departures()
        """So far."""
        self._under_way: dict[int, _OnTheWay] = {}
        self._stayed: set[str] = set()
        self._bytes = 0
        self._last_number = 0
        self._greeted = False
        self._changed: asyncio.Future[None] | None = None
        self._returning: set[asyncio.Task[None]] = set()
        self._link = HandoverLink(sock, self._loop, self._received, self._ended)

    async def give_all(self) -> Departures:
        """Hand over all connections, those that open meanwhile too. Those that stay are in the registry afterwards."""
        try:
            return await self._give_all()
        finally:
            for connection in self._home.connections:
                self._home.stay(connection)

    async def _give_all(self) -> Departures:
        self._link.send(HELLO, 0, VERSION.to_bytes(2, "big"))
        await self._wait_while(lambda: not self._greeted)
        tried: set[str] = set()
        patient: dict[Connection, float] = {}
        while self._link.open:
            fresh = [connection for connection in self._home.connections if connection.id not in tried]
            if not fresh and not patient:
                break
            tried.update(connection.id for connection in fresh)
            await self._give(fresh, patient)
            await self._give(list(patient), patient)
            if patient:
                await asyncio.sleep(RETRY_SECONDS)
        self._link.send(ALL)
        await self._wait_while(lambda: bool(self._under_way))
        self._link.close()
        if self._returning:
            await asyncio.wait(self._returning)
        for connection in self._home.connections:
            if connection.id not in self._stayed:
                self._stays(connection, "link")
        return self.departures

    def _stays(self, connection: Connection, reason: str) -> None:
        self._stayed.add(connection.id)
        self.departures.stayed[reason] += 1
        self._home.stay(connection)

    def close(self) -> None:
        """Give no more connections. Those of which the new worker has not said that it has them come back."""
        self._link.close()

    async def _give(self, connections: list[Connection], patient: dict[Connection, float]) -> None:
        retry_at = self._loop.time() + RETRY_SECONDS
        for index, connection in enumerate(connections):
            if index % PARTINGS_PER_TURN == PARTINGS_PER_TURN - 1:
                await asyncio.sleep(0)
                if patient and connection not in patient and self._loop.time() >= retry_at:  # their clients may wait to be read
                    await self._give(list(patient), patient)
                    retry_at = self._loop.time() + RETRY_SECONDS
            await self._wait_while(lambda: len(self._under_way) >= CREDIT or self._bytes >= CREDIT_BYTES)
            if not self._link.open:
                return
            if connection not in self._home.connections or connection.id in self._stayed:
                patient.pop(connection, None)
                continue
            found = self._home.part(connection)
            if isinstance(found, Obstacle):
                deadline = patient.setdefault(connection, self._loop.time() + PATIENCE_SECONDS)
                if not found.passes or self._loop.time() >= deadline:
                    del patient[connection]
                    self._stays(connection, found.reason)
                continue
            patient.pop(connection, None)
            self._last_number += 1
            self._under_way[self._last_number] = _OnTheWay(found)
            self._bytes += len(found.content)
            self._link.send(GIVE, self._last_number, found.content, found.descriptor)

    async def _wait_while(self, waits: Callable[[], bool]) -> None:
        """Wait as long as `waits()` holds and the link is open; it ends if nothing is answered for ANSWER_SECONDS."""
        while self._link.open and waits():
            self._changed = self._loop.create_future()
            await asyncio.wait([self._changed], timeout=ANSWER_SECONDS)
            if not self._changed.done():
                log.error("the new worker has answered nothing for {n:g} s; the connections stay", n=ANSWER_SECONDS)
                self._link.close()

    def _received(self, kind: int, number: int, body: bytes, descriptor: int) -> None:
        if kind == HELLO:
            if int.from_bytes(body, "big") != VERSION:
                log.error(
                    "the new worker speaks version {theirs} of the hand-over's protocol, and this one {ours}; the connections stay",
                    theirs=int.from_bytes(body, "big"), ours=VERSION,
                )  # fmt: skip
                self._link.close()
            self._greeted = True
        elif (one := self._under_way.get(number)) is not None:
            if kind == TAKEN and not one.taken:
                one.taken = True
                self.departures.went += 1
                os.close(one.parting.descriptor)
                if one.parting.place is not None:
                    one.parting.place.leave()
            elif kind == SETTLED and one.taken:
                self._settle(number, one)
            elif kind == REFUSED and not one.taken:
                self._forget(number, one)
                self._take_back(one.parting, body.decode("ascii", "replace"))
        self._wake()

    def _settle(self, number: int, one: _OnTheWay) -> None:
        """The app's part of the connection is in the new worker."""
        self._forget(number, one)
        self._end_session(one.parting)

    def _end_session(self, parting: Parting) -> None:
        if isinstance(parting.session, HandedOverSession):
            try:
                parting.session.handed_over()
            except Exception as error:
                parting.wire.policy.watcher.app_failed(parting.wire.connection, "handing over", error)

    def _forget(self, number: int, one: _OnTheWay) -> None:
        del self._under_way[number]
        self._bytes -= len(one.parting.content)

    def _take_back_all(self) -> None:
        for number, one in list(self._under_way.items()):
            if one.taken:
                self._settle(number, one)
            else:
                self._forget(number, one)
                self._take_back(one.parting, "link")

    def _take_back(self, parting: Parting, reason: str) -> None:
        """The connection goes on here."""
        self._stays(parting.wire.connection, reason)
        task = self._loop.create_task(self._come_back(parting))
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)

    async def _come_back(self, parting: Parting) -> None:
        assert parting.place is not None
        if not await self._home.go_on(decode(parting.content), parting.descriptor, parting.place):
            self._end_session(parting)

    def _ended(self) -> None:
        self._take_back_all()
        self._wake()

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)


class TakingOver:
    """The new worker's side."""

    def __init__(self, sock: socket.socket, home: Home, line_log: LineLog = log) -> None:
        self._home = home
        self._lines = RareLines(line_log)
        self._tasks: set[asyncio.Task[None]] = set()
        self._no_more: asyncio.Future[None] = home.loop.create_future()
        self.taken = 0
        """Connections that have come."""
        self._link = HandoverLink(sock, home.loop, self._received, self._ended)
        self._link.send(HELLO, 0, VERSION.to_bytes(2, "big"))

    async def finished(self) -> None:
        """Done when the old worker has no more connections, or the link has ended, and all that came go on."""
        await self._no_more
        if self._tasks:
            await asyncio.wait(self._tasks)

    def close(self) -> None:
        """Take no more connections."""
        self._link.close()

    def _received(self, kind: int, number: int, body: bytes, descriptor: int) -> None:
        if kind == GIVE:
            task = self._home.loop.create_task(self._take(number, body, descriptor))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif kind == ALL or (kind == HELLO and int.from_bytes(body, "big") != VERSION):
            self._ended()

    async def _take(self, number: int, content: bytes, descriptor: int) -> None:
        try:
            if descriptor < 0:
                raise CannotResume("descriptors")
            handed = decode(content)
            self._home.check(handed)
            place = self._home.place(handed)
        except (CannotResume, NotHandedOver) as error:
            if descriptor >= 0:
                os.close(descriptor)
            if isinstance(error, NotHandedOver):
                self._lines.error("malformed", "a connection of the old generation cannot be read: {problem}", problem=str(error))
            self._link.send(REFUSED, number, b"format" if isinstance(error, NotHandedOver) else str(error).encode())
            return
        self._link.send(TAKEN, number)
        frame = self._link.frames
        left = self._link.frames_left >= frame
        while not left and self._link.open:  # the socket is the old worker's until this has left
            await asyncio.sleep(RETRY_SECONDS)
            left = self._link.frames_left >= frame
        if not left:
            os.close(descriptor)
            place.leave()
            return
        self.taken += 1
        await self._home.go_on(handed, descriptor, place)
        self._link.send(SETTLED, number)

    def _ended(self) -> None:
        if not self._no_more.done():
            self._no_more.set_result(None)
