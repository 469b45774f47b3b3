"""A hub that succeeds another: everything that the former hub knew is there, and nothing is lost, doubled or told, wherever it is cut."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.inside import until
from tests.support.links import End, ShiftedLoop, run
from tests.support.succession import EVERYONE, HubInMemory, SuccessionInMemory, WorkerInMemory
from wsdaemon.brokers import Limits
from wsdaemon.brokers.contract import Published
from wsdaemon.hub import predecessor, room_server
from wsdaemon.hub.client import HubAway
from wsdaemon.hub.protocol import frame
from wsdaemon.hub.succession import UNWELCOME
from wsdaemon.hub.successor import FORMER_SECONDS, Successor

ROOMS = ("a", "b", "c")

PATIENCE_SECONDS = 30.0


@pytest.fixture(autouse=True, scope="module")
def patience() -> Iterator[None]:
    """The limits pass when the clock of a test is moved, however slow the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predecessor, "PAUSE_SECONDS", PATIENCE_SECONDS)
        patch.setattr(room_server, "GATHERING_SECONDS", PATIENCE_SECONDS)
        yield


class World:
    """Two old workers at the old hub, a new hub, and one model of the rooms."""

    def __init__(self, loop: ShiftedLoop, limits: Limits) -> None:
        self.loop = loop
        self.limits = limits
        self.old, self.new = HubInMemory(loop, b"hub-one-"), HubInMemory(loop, b"hub-two-")
        self.workers = [WorkerInMemory(number, 1, loop, limits) for number in (1, 2)]
        for worker in self.workers:
            self.old.attach(worker.client)
        self.succession = SuccessionInMemory(self.old, self.new)
        self.sent: list[tuple[str, bytes, str | None, asyncio.Future[Published]]] = []

    async def begin(self) -> None:
        await until(lambda: all(worker.broker.connected for worker in self.workers))

    def publish(self, worker: WorkerInMemory, room: str, key: str | None = None) -> None:
        payload = b"%d in %s" % (len(self.sent), room.encode())
        self.sent.append((room, payload, key, worker.publish(room, payload, key)))

    async def turn(self, times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(0)

    async def answered(self) -> None:
        """All publications have their answers; a question that is to be asked again is asked at once."""
        while not all(future.done() for *_, future in self.sent):
            self.loop.shift += 0.02
            await asyncio.sleep(0)

    def relink(self, order: list[WorkerInMemory]) -> None:
        for worker in order:
            self.new.attach(worker.client)

    async def rest(self) -> None:
        """Let everything that is under way come to its end."""
        for _ in range(60):
            self.loop.shift += 0.05
            await self.turn(3)

    def log(self, room: str) -> list[bytes]:
        """The payloads of a room in the order of their offsets. Each offset is given once."""
        found = {}
        for name, payload, _, future in self.sent:
            if name == room and not future.result().duplicate:
                offset = future.result().offset
                assert offset not in found
                found[offset] = payload
        assert sorted(found) == list(range(1, len(found) + 1))
        return [found[offset] for offset in sorted(found)]

    def close(self) -> None:
        self.succession.close()
        self.old.close()
        self.new.close()
        for worker in self.workers:
            worker.close()


def in_a_world(work: Callable[[World], Awaitable[None]], limits: Limits | None = None) -> None:
    async def all_of_it(loop: ShiftedLoop) -> None:
        world = World(loop, limits or Limits(history=100))
        await world.begin()
        await work(world)
        world.close()
        await world.turn(3)

    run(all_of_it)


async def succeed(world: World) -> None:
    world.succession.predecessor.switch()
    await until(lambda: world.succession.ends)
    await until(lambda: len(world.succession.ends) == 2)
    assert world.succession.ends == {"old": None, "new": None}


class Deeds:
    """Random deeds of the workers and their members, and the state that must come of them."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world = world
        self.chance = chance
        self.guests: dict[str, tuple[WorkerInMemory, int]] = {}  # members that come and go, each in room c, and the offset of their answer
        self.joins: list[asyncio.Task[None]] = []
        self.places: list[asyncio.Task[bool]] = []
        self._guests = 0

    async def begin(self) -> None:
        for number, worker in enumerate(self.world.workers):
            for room in ROOMS[:2]:
                await worker.join(room, f"m{number}")

    async def some(self) -> None:
        """Up to a dozen deeds, over some turns of the loop."""
        for _ in range(self.chance.randrange(12)):
            worker = self.chance.choice(self.world.workers)
            match self.chance.randrange(10):
                case 0 | 1 | 2 | 3 | 4:
                    self.world.publish(worker, self.chance.choice(ROOMS))
                case 5:
                    self.world.publish(worker, self.chance.choice(ROOMS), f"k{self.chance.randrange(5)}")
                case 6:
                    self._guests += 1
                    self.joins.append(asyncio.ensure_future(self._come(worker, f"g{self._guests}")))
                case 7 if self.guests:
                    id = self.chance.choice(list(self.guests))
                    self.guests.pop(id)[0].leave("c", id)
                case 8 if worker.client.is_there:
                    self.places.append(asyncio.ensure_future(worker.take_place()))
                case 9 if worker.places:
                    worker.leave_place()
            if self.chance.random() < 0.3:
                await self.world.turn(self.chance.randrange(4))

    async def _come(self, worker: WorkerInMemory, id: str) -> None:
        await worker.join("c", id)
        self.guests[id] = worker, len(worker.members[id].given["c"])

    async def end(self) -> None:
        while not all(each.done() for each in (*self.joins, *self.places)):
            self.world.loop.shift += 0.02
            await asyncio.sleep(0)
        await self.world.answered()
        for join in self.joins:
            join.result()
        for place in self.places:
            assert isinstance(place.exception(), HubAway | None)

    def check(self, hub: HubInMemory) -> None:
        logs = {room: self.world.log(room) for room in ROOMS}
        for worker in self.world.workers:
            for member in worker.members.values():
                assert not member.breaks
                for room, payloads in member.given.items():
                    assert payloads == (logs[room] if room != "c" else logs[room][len(logs[room]) - len(payloads) :])
                if member.id.startswith("m"):
                    assert member.known == {"a": {"m0", "m1"}, "b": {"m0", "m1"}}
                    assert not [change for notice in member.notices for change in notice.changes if change.kind == "left"]
        order = hub.rooms.order("/chat")
        assert order is not None
        assert {each.id for each in order.presence("c", None).members} == set(self.guests)
        assert hub.counts.places.count(EVERYONE) == sum(len(worker.places) for worker in self.world.workers)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32), history=st.sampled_from([0, 3, 100]), latest=st.booleans(),
    cut=st.sampled_from(["", "", "", "early", "late"]),
)  # fmt: skip
def test_nothing_is_lost_doubled_or_told(seed: int, history: int, latest: bool, cut: str) -> None:
    chance = random.Random(seed)

    async def work(world: World) -> None:
        deeds = Deeds(world, chance)
        await deeds.begin()
        await deeds.some()
        if cut == "early":
            world.succession.successor.close()
        await deeds.some()
        if cut == "late":
            await until(lambda: world.succession.events)
        await deeds.some()
        world.succession.predecessor.switch()
        if cut == "late":
            await world.turn(chance.randrange(3))
            world.succession.successor.close()
        while "old" not in world.succession.ends:
            await deeds.some()
            world.loop.shift += 0.01
            await world.turn(1)
        hub = world.old
        if world.succession.ends["old"] is None:
            hub = world.new
            await until(lambda: "new" in world.succession.ends or cut == "late")
            if cut == "late":  # the owner has died, which is the loss of a hub
                return
            await deeds.some()
            order = list(world.workers)
            chance.shuffle(order)
            for worker in order:
                world.relink([worker])
                await deeds.some()
        else:
            assert cut
        await deeds.some()
        await deeds.end()
        await world.rest()
        deeds.check(hub)

    in_a_world(work, Limits(history=history, latest=latest))


def test_the_successor_knows_everything() -> None:
    async def work(world: World) -> None:
        one, two = world.workers
        await one.join("a", "ada")
        await two.join("b", "bob")
        first = await one.publish("a", b"1", "k")
        for number in range(40):
            await two.publish("b", b"%d" % number * 100)
        await one.take_place()
        await two.take_place()
        await succeed(world)
        assert world.new.server.instance == world.old.server.instance
        order = world.new.rooms.order("/chat")
        assert order is not None
        assert [each.payload for each in order.history("b", None, 100, False).messages] == [b"%d" % number * 100 for number in range(40)]
        assert {each.id for each in order.presence("a", None).members} == {"ada"}
        assert len(world.new.counts.places) == 2
        world.relink(world.workers)
        await until(lambda: not order.awaited)
        again = asyncio.ensure_future(two.publish("a", b"other", "k"))
        await until(again.done)
        assert again.result() == Published(first.epoch, 1, True, 0)
        await until(lambda: one.client.is_there)
        assert not await two.take_place(most=2)

    in_a_world(work)


def test_publications_wait_for_the_workers_of_the_former_hub_but_not_for_ever() -> None:
    async def work(world: World) -> None:
        one = world.workers[0]
        await one.join("a", "ada")
        await succeed(world)
        fresh = WorkerInMemory(1, 2, world.loop, world.limits)
        world.new.attach(fresh.client)
        await until(lambda: fresh.broker.connected)
        world.publish(fresh, "a")
        world.relink([one])
        await until(lambda: one.broker.connected)
        await world.turn(50)
        assert not world.sent[0][3].done()
        world.loop.shift += PATIENCE_SECONDS
        await world.answered()
        await until(lambda: one.members["ada"].given["a"] == [b"0 in a"])
        assert not one.members["ada"].breaks
        fresh.close()

    in_a_world(work, Limits())


def test_a_worker_that_does_not_come_to_the_new_hub_has_left_in_the_end() -> None:
    async def work(world: World) -> None:
        one, two = world.workers
        await one.join("a", "ada")
        await two.join("a", "bob")
        await two.take_place()
        await one.take_place()
        await succeed(world)
        world.relink([one])
        await until(lambda: one.broker.connected)
        order = world.new.rooms.order("/chat")
        assert order is not None
        assert order.presence("a", None).count == 2
        world.loop.shift += FORMER_SECONDS
        await until(lambda: order.presence("a", None).count == 1)
        assert world.new.counts.places.count(EVERYONE) == 1
        assert not order.awaited
        world.loop.shift += 2
        await until(lambda: one.members["ada"].known["a"] == {"ada"})

    in_a_world(work)


def test_a_second_succession_follows_the_first() -> None:
    """Even while the workers of the first hub are not linked to the second."""

    async def work(world: World) -> None:
        one, two = world.workers
        await one.join("a", "ada")
        for _ in range(3):
            world.publish(two, "a")
        await world.answered()
        await succeed(world)
        third = HubInMemory(world.loop, b"hub-3333")
        again = SuccessionInMemory(world.new, third)
        again.predecessor.switch()
        while len(again.ends) < 2:
            world.loop.shift += 0.01
            await asyncio.sleep(0)
        assert again.ends == {"old": None, "new": None}
        for worker in world.workers:
            third.attach(worker.client)
        world.publish(two, "a")
        await world.answered()
        await until(lambda: one.members["ada"].given["a"] == world.log("a"))
        assert len(world.log("a")) == 4
        assert not one.members["ada"].breaks
        again.close()
        third.close()

    in_a_world(work, Limits())


def test_a_predecessor_of_another_version_is_refused_in_a_clear_line() -> None:
    async def work(loop: ShiftedLoop) -> None:
        new = HubInMemory(loop, b"hub-two-")
        ours, theirs = socket.socketpair()
        other, ends = End(theirs, loop), list[str | None]()
        Successor(ours, new.server, new.rooms, new.counts, new.tickets, lambda: None, ends.append)
        other.stream.send(frame(UNWELCOME, 0, b"\x07\0\x01\0"))
        await until(lambda: ends)
        assert "version 7 of the succession" in str(ends[0])
        await until(lambda: other.ends)
        new.close()

    run(work)
