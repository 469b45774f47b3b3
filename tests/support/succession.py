"""Two hubs, of which one succeeds the other, and workers with real brokers: all in one process, on real socketpairs.

Every worker's members check what they are given against one naive model of the rooms: the list of all payloads in each.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Any

from tests.support.links import ShiftedLoop
from wsdaemon.brokers import Limits
from wsdaemon.brokers.contract import Member, Message, Notice, Published, Subscribed
from wsdaemon.brokers.remote import RemoteBroker
from wsdaemon.hub.client import HubClient
from wsdaemon.hub.link import HubLinks
from wsdaemon.hub.place_messages import PLACE, PLACE_LEFT, PLACES_HELD, pack_held, pack_left, pack_place, read_verdict
from wsdaemon.hub.places import GRANTED, HeldPlaces, KeyRate, NameLimit
from wsdaemon.hub.predecessor import Predecessor
from wsdaemon.hub.room_server import RoomServer
from wsdaemon.hub.server import HubServer
from wsdaemon.hub.shared import SharedCounts
from wsdaemon.hub.successor import Successor
from wsdaemon.hub.tickets import TicketServer

PATH = "/chat"
EVERYONE = b"all"


class HubInMemory:
    """The content of a hub's process. `silent`: numbers of workers without a heartbeat."""

    def __init__(self, loop: ShiftedLoop, instance: bytes) -> None:
        self.loop = loop
        self.lines: list[str] = []
        self.silent: set[int] = set()
        self.server = HubServer(loop, instance, lambda number, generation: number not in self.silent, self._report)
        self.rooms = RoomServer(self.server, clock=loop.time)
        self.counts = SharedCounts(self.server, 0, HeldPlaces(loop.time))
        self.counts.begin()
        self.tickets = TicketServer(self.server)

    def _report(self, line: str, error: BaseException | None) -> None:
        if error is not None:
            raise error
        self.lines.append(line)

    def attach(self, client: HubClient) -> None:
        ours, theirs = socket.socketpair()
        self.server.attach(ours)
        client.attach(theirs)

    def close(self) -> None:
        self.counts.close()
        self.rooms.close()
        self.server.close()


class MemberOfRooms:
    """A member that records the payloads it is given, and the members it knows of, by room."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.identity: Mapping[str, Any] = {"name": id}
        self.given: dict[str, list[bytes]] = {}
        self.known: dict[str, set[str]] = {}
        self.notices: list[Notice] = []
        self.breaks: list[Subscribed] = []

    def deliver(self, message: Message) -> None:
        self.given[message.room].append(message.payload)

    def presence_changed(self, notice: Notice) -> None:
        self.notices.append(notice)
        known = self.known[notice.room]
        for change in notice.changes:
            assert (change.who.id in known) is (change.kind == "left")
            known ^= {change.who.id}

    def interrupted(self, room: str, answer: Subscribed, pattern: str | None = None) -> None:
        self.breaks.append(answer)


class WorkerInMemory:
    """A worker with the rooms of one mount, and places that it holds in the hub."""

    def __init__(self, number: int, generation: int, loop: ShiftedLoop, limits: Limits) -> None:
        self.failed: list[Exception] = []
        self.client = HubClient(number, generation, loop, lambda line: None)
        self.broker = RemoteBroker(
            limits, HubLinks(self.client, lambda line: None).make(PATH, limits), self._fail, loop=lambda: loop, later=loop.call_later,
            clock=loop.time, timeout=60.0,
        )  # fmt: skip
        self.broker.open()
        self.client.returned.append(lambda same: self._declare())
        self.members: dict[str, MemberOfRooms] = {}
        self.places: set[int] = set()
        self._last_place = 0

    def _fail(self, member: Member, error: Exception) -> None:
        self.failed.append(error)

    async def join(self, room: str, id: str) -> None:
        member = self.members.setdefault(id, MemberOfRooms(id))
        answer = await self.broker.subscribe(room, member, presence=True)
        member.given[room] = []
        member.known[room] = {each.id for each in answer.present or ()}

    def leave(self, room: str, id: str) -> None:
        self.broker.unsubscribe(room, self.members[id])
        del self.members[id].given[room]

    def publish(self, room: str, payload: bytes, key: str | None = None) -> asyncio.Future[Published]:
        return self.broker.publish(room, payload, True, key=key, account=self.broker.account(f"user {payload[:1].decode()}"))

    async def take_place(self, most: int = 1000) -> bool:
        self._last_place += 1
        number = self._last_place
        rate = KeyRate(b"scope", b"192.0.2.1", 0.001, 1000)
        verdict = await self.client.ask(PLACE, pack_place(number, [NameLimit(EVERYONE, most)], [rate]), read_verdict)
        if verdict == GRANTED:
            self.places.add(number)
        return verdict == GRANTED

    def leave_place(self) -> None:
        self.client.tell(PLACE_LEFT, pack_left(self.places.pop()))

    def _declare(self) -> None:
        self.client.tell(PLACES_HELD, pack_held((number, [EVERYONE]) for number in self.places))

    def close(self) -> None:
        self.client.close()


class SuccessionInMemory:
    """The succession of two hubs, and how it ended on each side: None is a success."""

    def __init__(self, old: HubInMemory, new: HubInMemory) -> None:
        self.events: list[str] = []
        self.ends: dict[str, str | None] = {}
        ours, theirs = socket.socketpair()
        self.predecessor = Predecessor(ours, old.server, old.rooms, old.counts, old.tickets, self._ended("old"))
        self.successor = Successor(
            theirs, new.server, new.rooms, new.counts, new.tickets, lambda: self.events.append("caught up"), self._ended("new")
        )  # fmt: skip

    def _ended(self, side: str) -> Callable[[str | None], None]:
        def ended(reason: str | None) -> None:
            assert side not in self.ends
            self.ends[side] = reason

        return ended

    def close(self) -> None:
        self.predecessor.close()
        self.successor.close()
