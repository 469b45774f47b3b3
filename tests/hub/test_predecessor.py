"""The hub that gives its state away: in bounded parts, while it goes on, and exactly one hub orders at every moment."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from tests.hub.test_successor import World, in_a_world, succeed
from tests.support.inside import until
from tests.support.links import End, ShiftedLoop, run
from tests.support.succession import HubInMemory, WorkerInMemory
from wsdaemon.brokers import Limits
from wsdaemon.hub import predecessor as module
from wsdaemon.hub import room_server, succession
from wsdaemon.hub.predecessor import AHEAD_BYTES, Predecessor, SuccessionStage
from wsdaemon.hub.protocol import frame
from wsdaemon.hub.succession import CAUGHT_UP, HELLO, OWN, PART_BYTES, READY, ROOM, SWITCH, UNWELCOME, WELCOME


@pytest.fixture(autouse=True, scope="module")
def patience() -> Iterator[None]:
    """The limits pass when the clock of a test is moved, however slow the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PAUSE_SECONDS", 30.0)
        patch.setattr(room_server, "GATHERING_SECONDS", 30.0)
        yield


class Bare:
    """A hub with one worker, whose successor is a bare stream."""

    def __init__(self, loop: ShiftedLoop, limits: Limits | None = None) -> None:
        self.loop = loop
        self.hub = HubInMemory(loop, b"hub-one-")
        self.worker = WorkerInMemory(1, 1, loop, limits or Limits())
        self.hub.attach(self.worker.client)
        ours, theirs = socket.socketpair()
        self.ends: list[str | None] = []
        self.other = End(theirs, loop)
        hub = self.hub
        self.predecessor = Predecessor(ours, hub.server, hub.rooms, hub.counts, hub.tickets, self.ends.append)

    def say(self, kind: int, body: bytes = b"") -> None:
        self.other.stream.send(frame(kind, 0, body))

    async def catch_up(self) -> None:
        self.say(HELLO, succession.hello())
        await until(lambda: self.other.bodies(CAUGHT_UP))
        self.say(READY)

    async def pause(self) -> None:
        await self.catch_up()
        self.predecessor.switch()
        while not self.other.bodies(SWITCH):
            self.loop.shift += 0.01
            await asyncio.sleep(0)
        assert self.predecessor.stage is SuccessionStage.PAUSED

    def close(self) -> None:
        self.predecessor.close()
        self.hub.close()
        self.worker.close()
        self.other.stream.close()


@pytest.mark.parametrize("versions", [(succession.VERSION + 1, 1), (succession.VERSION, 99)])
def test_another_version_is_refused_with_both_versions(versions: tuple[int, int]) -> None:
    async def work(loop: ShiftedLoop) -> None:
        bare = Bare(loop)
        bare.say(HELLO, b"".join(version.to_bytes(2, "little") for version in versions))
        await until(lambda: bare.ends and bare.other.ends)
        [reason] = bare.ends
        assert reason is not None
        assert f"version {versions[0]} of the succession and {versions[1]} of the links" in reason
        assert bare.other.bodies(UNWELCOME) == [succession.hello()]
        bare.close()

    run(work)


def test_while_publications_pause_none_is_taken_and_afterwards_all_are() -> None:
    async def work(loop: ShiftedLoop) -> None:
        bare = Bare(loop)
        await until(lambda: bare.worker.broker.connected)
        await bare.pause()
        answer = bare.worker.publish("a", b"1")
        for _ in range(20):
            await asyncio.sleep(0)
        order = bare.hub.rooms.order("/chat")
        assert order is not None
        assert not answer.done()
        assert order.history("a", None, 1, False).offset == 0
        loop.shift += module.PAUSE_SECONDS
        await until(lambda: bare.ends)
        assert bare.ends == [f"the switch has taken longer than {module.PAUSE_SECONDS:g} s"]
        await until(answer.done)
        assert answer.result().offset == 1
        assert bare.other.bodies(OWN) == []
        bare.close()

    run(work)


def test_a_successor_that_dies_before_it_owns_the_order_changes_nothing() -> None:
    async def work(loop: ShiftedLoop) -> None:
        bare = Bare(loop)
        await until(lambda: bare.worker.broker.connected)
        await bare.pause()
        bare.other.stream.close()
        await until(lambda: bare.ends)
        assert bare.predecessor.stage is SuccessionStage.TAKEN_BACK
        assert (await bare.worker.publish("a", b"1")).offset == 1
        order = bare.hub.rooms.order("/chat")
        assert order is not None
        places, tickets = bare.hub.counts.places, bare.hub.tickets.tickets
        notes = [order.table.changed, order.roster_changes, places.changed, places.changed_rates, tickets.changed]
        assert notes == [None] * 5
        bare.close()

    run(work)


def test_a_hub_that_has_given_the_order_away_never_orders_again() -> None:
    async def work(loop: ShiftedLoop) -> None:
        bare = Bare(loop)
        await until(lambda: bare.worker.broker.connected)
        await bare.pause()
        bare.say(READY)
        await until(lambda: bare.ends)
        assert bare.ends == [None]
        await until(lambda: bare.other.bodies(OWN))
        bare.other.stream.close()
        bare.predecessor.take_back("too late")
        answer = bare.worker.publish("a", b"1")
        loop.shift += 10
        for _ in range(50):
            await asyncio.sleep(0)
        assert not answer.done()
        assert bare.predecessor.stage is SuccessionStage.GIVEN
        assert bare.ends == [None]
        bare.close()

    run(work)


def test_a_worker_that_is_attached_during_the_pause_waits_too() -> None:
    async def work(loop: ShiftedLoop) -> None:
        bare = Bare(loop)
        await until(lambda: bare.worker.broker.connected)
        await bare.pause()
        late = WorkerInMemory(2, 1, loop, Limits())
        bare.hub.attach(late.client)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not late.client.is_there
        loop.shift += module.PAUSE_SECONDS
        await until(lambda: late.client.is_there)
        late.close()
        bare.close()

    run(work)


def test_a_big_history_leaves_in_parts_and_only_as_fast_as_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_SECONDS", 30.0)

    async def work(loop: ShiftedLoop) -> None:
        bare = Bare(loop, Limits(history=2000, history_bytes=1 << 30))
        await until(lambda: bare.worker.broker.connected)
        for _ in range(20):
            answers = [bare.worker.publish("a", bytes(10_000)) for _ in range(50)]
            await until(lambda answers=answers: all(answer.done() for answer in answers))  # type: ignore[misc]
        stream = bare.predecessor._stream
        bare.other.stream.hold()
        bare.say(HELLO, succession.hello())
        made: list[int] = []
        for _ in range(200):
            before = stream.queued
            loop.shift += 0.01
            await asyncio.sleep(0)
            made.append(stream.queued - before)
        assert max(made) <= module.TURN_BYTES + PART_BYTES + 20_000
        assert stream.queued - stream.sent <= AHEAD_BYTES + 2 * module.TURN_BYTES
        assert (await bare.worker.publish("b", b"1")).offset == 1
        bare.other.stream.go_on()
        while not bare.other.bodies(CAUGHT_UP):
            loop.shift += 0.01
            await asyncio.sleep(0)
        parts = bare.other.bodies(ROOM)
        assert len(parts) > 100
        assert max(map(len, parts)) < PART_BYTES + 20_000
        assert sum(map(len, parts)) > 10_000_000
        bare.close()

    run(work)


def test_a_successor_that_does_not_catch_up_is_given_up() -> None:
    async def work(loop: ShiftedLoop) -> None:
        bare = Bare(loop)
        loop.shift += module.LIMIT_SECONDS
        await until(lambda: bare.ends)
        assert "has not caught up" in str(bare.ends[0])
        bare.close()

    run(work)


def test_a_frame_that_does_not_belong_here_ends_the_succession() -> None:
    async def work(loop: ShiftedLoop) -> None:
        bare = Bare(loop)
        bare.say(WELCOME)
        await until(lambda: bare.ends)
        assert "Malformed" in str(bare.ends[0])
        bare.close()

    run(work)


def test_answers_that_a_worker_has_not_read_are_known_to_the_successor() -> None:
    """A worker without a heartbeat is not waited for. When it goes on, it asks the new hub for what it has no answer to."""

    async def work(world: World) -> None:
        one, two = world.workers
        one.client._stream.hold()  # type: ignore[union-attr]
        for number in range(5):
            world.publish(one, "a")
            world.publish(two, "a", f"key {number}")
        await until(lambda: all(future.done() for *_, future in world.sent[1::2]))
        world.old.silent.add(1)
        await succeed(world)
        one.client._stream.close()  # type: ignore[union-attr]
        world.relink(world.workers)
        await world.answered()
        assert len(world.log("a")) == 10
        order = world.new.rooms.order("/chat")
        assert order is not None
        assert order.history("a", None, 1, False).offset == 10

    in_a_world(work)
