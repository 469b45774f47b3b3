"""Members that go from one broker to another: random stories over a hub in memory, against the log of each room and its roster."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.inside import until
from tests.support.links import ShiftedLoop, run
from tests.support.one_process import one_process
from tests.support.succession import PATH, HubInMemory, WorkerInMemory
from wsdaemon.brokers import Limits
from wsdaemon.brokers.contract import Message, MovedSubscription, Notice, Position, Published, Subscribed
from wsdaemon.brokers.errors import BrokerUnavailable
from wsdaemon.brokers.followed.moving import MAX_OWED_BYTES
from wsdaemon.brokers.followed.room import FollowedRoom

ROOMS = ("a", "b", "c")


class MovingClient:
    """A client: what it was given in each room, the members that it knows of, and what it must not be told."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.given: dict[str, list[bytes]] = {}
        self.known: dict[str, set[str]] = {}
        self.wrong: list[object] = []
        self.session: MovingSession
        self.moves = 0


class MovingSession:
    """A client's member in one process. `here`: its connection is."""

    def __init__(self, client: MovingClient, worker: WorkerInMemory) -> None:
        self.client = client
        self.worker = worker
        self.id = client.id
        self.identity: Mapping[str, Any] = {"name": client.id}
        self.here = True
        client.session = self

    def deliver(self, message: Message) -> None:
        if self.here:
            self.client.given[message.room].append(message.payload)

    def presence_changed(self, notice: Notice) -> None:
        if self.here:
            known = self.client.known[notice.room]
            for change in notice.changes:
                if (change.who.id in known) is not (change.kind == "left"):
                    self.client.wrong.append(change)
                known ^= {change.who.id}

    def interrupted(self, room: str, answer: Subscribed, pattern: str | None = None) -> None:
        if self.here:
            self.client.wrong.append(answer)

    async def move_in(self, subscriptions: tuple[MovedSubscription, ...]) -> None:
        for moved in subscriptions:
            answer = await self.worker.broker.move_in(moved, self, self.worker.broker.account("user x"))
            assert not answer.gap
            for message in answer.messages:
                self.deliver(message)
            if moved.told is not None:
                assert answer.changes is not None
                self.presence_changed(Notice(moved.room, answer.changes))


class MovingWorld:
    """Two workers of a former generation and two of the next, at one hub."""

    def __init__(self, loop: ShiftedLoop, limits: Limits, chance: random.Random) -> None:
        self.loop = loop
        self.chance = chance
        self.hub = HubInMemory(loop, b"hub-one-")
        self.old, self.new = [[WorkerInMemory(number, generation, loop, limits) for number in (1, 2)] for generation in (1, 2)]
        self.clients: list[MovingClient] = []
        self.sent: list[tuple[str, bytes, str | None, asyncio.Future[Published]]] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.moves = self.failures = 0

    @property
    def workers(self) -> list[WorkerInMemory]:
        return [*self.old, *self.new]

    async def begin(self) -> None:
        for worker in self.workers:
            self.hub.attach(worker.client)
        await until(lambda: all(worker.broker.connected for worker in self.workers))
        self.hub.rooms.begin()
        for number in range(6):
            await self.come(number)

    async def come(self, number: int) -> None:
        client = MovingClient(f"m{number}")
        session = MovingSession(client, self.chance.choice(self.old))
        for room in self.chance.sample(ROOMS, self.chance.randrange(1, 4)):
            answer = await session.worker.broker.subscribe(room, session, presence=self.chance.random() < 0.5)
            client.given[room] = []
            if answer.present is not None:
                client.known[room] = {each.id for each in answer.present}
        self.clients.append(client)

    async def turn(self, most: int) -> None:
        for _ in range(self.chance.randrange(most)):
            await asyncio.sleep(0)

    def publish(self, client: MovingClient | None = None) -> None:
        worker = client.session.worker if client is not None else self.chance.choice(self.workers)
        room, payload = self.chance.choice(ROOMS), b"%d" % len(self.sent)
        publisher = None if client is None else client.id
        answer = worker.broker.publish(room, payload, True, publisher=publisher, echo=client is None)
        self.sent.append((room, payload, publisher, answer))

    def leave(self, client: MovingClient) -> None:
        """Leave one room of several."""
        session = client.session
        if session.here and len(client.given) > 1 and session.id in session.worker.broker._local.holders:
            room = self.chance.choice(list(client.given))
            session.worker.broker.unsubscribe(room, session)
            del client.given[room]
            client.known.pop(room, None)

    async def move(self, client: MovingClient) -> None:
        """Hand a member over; sometimes it comes back."""
        session, client.moves = client.session, 1
        while not session.worker.broker.is_settled(session) or self.is_publishing(client):
            await self.turn(3)
        subscriptions = session.worker.broker.take_leave(session)
        assert subscriptions is not None
        session.here = False
        await self.turn(20)
        fails = self.chance.random() < 0.3
        self.failures += fails
        self.moves += not fails
        successor = MovingSession(client, session.worker if fails else self.chance.choice(self.new))
        await successor.move_in(subscriptions)
        await self.turn(5)
        session.worker.broker.remove(session)  # which changes nothing if the member has come back
        client.moves = 0 if fails else 2

    def is_publishing(self, client: MovingClient) -> bool:
        return any(publisher == client.id and not answer.done() for _, _, publisher, answer in self.sent[-20:])

    async def story(self, length: int) -> None:
        for _ in range(length):
            client = self.chance.choice(self.clients)
            match self.chance.randrange(8):
                case 0 | 1 | 2:
                    self.publish()
                case 3 if client.moves != 1:
                    self.publish(client)
                case 4 | 5 if not client.moves:
                    client.moves = 1
                    self.tasks.append(asyncio.ensure_future(self.move(client)))
                case 6 if client.moves != 1:
                    self.leave(client)
                case 7 if len(self.clients) < 12:
                    await self.come(len(self.clients) + 6)
            await self.turn(4)

    async def end(self) -> None:
        while not all(task.done() for task in self.tasks) or not all(answer.done() for *_, answer in self.sent):
            self.loop.shift += 0.02
            await asyncio.sleep(0)
        for task in self.tasks:
            task.result()
        for _ in range(30):
            self.loop.shift += 0.4
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    def check(self) -> None:
        logs: dict[str, dict[int, tuple[bytes, str | None]]] = {room: {} for room in ROOMS}
        for room, payload, publisher, answer in self.sent:
            logs[room][answer.result().offset] = payload, publisher
        order = self.hub.rooms.order(PATH)
        assert order is not None
        for client in self.clients:
            assert client.wrong == []
            for room, given_here in client.given.items():
                log = [payload for _, (payload, publisher) in sorted(logs[room].items()) if publisher != client.id]
                assert given_here == log[len(log) - len(given_here) :]
        for room in ROOMS:
            inside = {client.id for client in self.clients if room in client.given}
            assert {each.id for each in order.presence(room, None).members} == inside
            for client in self.clients:
                assert room not in client.known or client.known[room] == inside

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
        self.hub.close()


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32), history=st.sampled_from([0, 3, 100]), latest=st.booleans())
def test_members_that_go_along_miss_nothing_and_no_member_is_told(seed: int, history: int, latest: bool) -> None:
    async def work(loop: ShiftedLoop) -> None:
        world = MovingWorld(loop, Limits(history=history, latest=latest, inline=0), random.Random(seed))
        await world.begin()
        await world.story(80)
        await world.end()
        world.check()
        world.close()
        await asyncio.sleep(0)

    run(work)


def test_over_an_order_that_lets_no_member_go_it_stays() -> None:
    """Redis, for example."""
    with one_process() as made:
        (a,) = made.join("a")
        assert made.broker.is_settled(a)
        assert made.broker.take_leave(a) is None
        coming = made.broker.move_in(MovedSubscription("lobby", Position("e", 0), None), a, made.broker.account("user x"))
        with pytest.raises(BrokerUnavailable):
            coming.send(None)
        made.publish("1")
        made.settle()
        assert a.told == ["1"]


def test_a_member_is_not_settled_while_messages_may_be_missing() -> None:
    """It is not, from a loss of the link until all positions were compared, nor while much waits for the members of its room."""

    async def work(loop: ShiftedLoop) -> None:
        world = MovingWorld(loop, Limits(history=100, inline=0), random.Random(1))
        await world.begin()
        client = world.clients[0]
        worker = client.session.worker
        await until(lambda: worker.broker.is_settled(client.session))
        worker.client.begin_anew("slow")
        assert not worker.broker.is_settled(client.session)
        await until(lambda: worker.broker.connected)
        assert not worker.broker.is_settled(client.session), "the positions were not compared yet"
        await until(lambda: worker.broker.is_settled(client.session))
        room = next(iter(worker.broker._local.holders[client.id].rooms))
        assert isinstance(room, FollowedRoom)
        for offset in range(room.offset + 1, room.offset + 4):
            worker.broker.message(Message(room.name, room.epoch, offset, bytes(MAX_OWED_BYTES // 2), False, 0.0))
        assert room.pending and not worker.broker.is_settled(client.session)
        await until(lambda: not room.pending)
        assert worker.broker.is_settled(client.session)
        world.close()
        await asyncio.sleep(0)

    run(work)
