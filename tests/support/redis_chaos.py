"""Random runs over a Redis that fails: publishers, members on several processes, and what must hold afterwards.

Each run checks that the messages of each member are exact, one offset after the other, up to a gap that it is told; no place in the order
has two messages; an acknowledged message is at its place in the sequence of each member that was told of no gap there; and at the end each
member stands where the room stands. The tests check that no gap is told if nothing was lost.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tests.support.lines import Lines
from tests.support.redis_links import make_settings
from wsdaemon.brokers import Limits
from wsdaemon.brokers.contract import Message, Notice, Position, Subscribed
from wsdaemon.brokers.errors import BrokerError, BrokerUnavailable
from wsdaemon.brokers.links.redis import RedisLink
from wsdaemon.brokers.remote import RemoteBroker

SECONDS = 30.0
"""The longest that a broker may take to come back."""

Place = tuple[str, str, int]
"""A room, an epoch, an offset."""


class ChaosMember:
    """A member that checks its own sequence."""

    def __init__(self, name: str, order: Order) -> None:
        self.id = name
        self.identity: Mapping[str, Any] = {}
        self.at: dict[str, Position] = {}
        self.gaps: list[tuple[str, Position]] = []
        self.seen: dict[Place, bytes] = {}
        self._order = order

    def begin(self, answer: Subscribed) -> None:
        self.at[answer.room] = Position(answer.epoch, answer.offset)
        for message in answer.messages:
            self._order.placed(message.room, message.epoch, message.offset, message.payload)

    def deliver(self, message: Message) -> None:
        before = self.at[message.room]
        assert message.epoch == before.epoch, f"{self.id}: {before} > {message}, and no gap was told"
        assert message.offset == before.offset + 1, f"{self.id}: {before} > {message}, and no gap was told"
        self.at[message.room] = Position(message.epoch, message.offset)
        place = message.room, message.epoch, message.offset
        self.seen[place] = message.payload
        self._order.placed(*place, message.payload)

    def presence_changed(self, notice: Notice) -> None:
        raise AssertionError("no member asked for presence")

    def interrupted(self, room: str, answer: Subscribed, pattern: str | None = None) -> None:
        assert answer.gap
        self.at[room] = Position(answer.epoch, answer.offset)
        self.gaps.append((room, self.at[room]))


@dataclass
class Order:
    """All that was seen of the order of rooms."""

    places: dict[Place, bytes] = field(default_factory=dict)
    acknowledged: dict[Place, bytes] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def placed(self, room: str, epoch: str, offset: int, payload: bytes) -> None:
        known = self.places.setdefault((room, epoch, offset), payload)
        if known != payload:
            self.wrong.append(f"{room} {epoch}:{offset} is {known!r} and {payload!r}")


class ChaosNode:
    """One process: a broker over a link of its own."""

    def __init__(self, url: str, limits: Limits, **values: Any) -> None:
        self.lines = Lines()
        self.settings = make_settings(url, **values)
        self.link = RedisLink(self.settings, "/chaos", limits, self.lines)
        self.failures: list[Exception] = []
        loop = asyncio.get_running_loop
        self.broker = RemoteBroker(
            limits,
            self.link,
            lambda member, error: self.failures.append(error),
            loop=loop,
            later=lambda delay, call: loop().call_later(delay, call),
            timeout=self.settings.timeout,
        )

    async def until_connected(self) -> None:
        async with asyncio.timeout(SECONDS):
            while not self.broker.connected:  # noqa: ASYNC110 - a broker tells only its members
                await asyncio.sleep(0.01)


class Chaos:
    """Nodes, members and publishers over one Redis."""

    def __init__(self, nodes: list[ChaosNode], seed: int, rooms: int) -> None:
        self.nodes = nodes
        self.chance = random.Random(seed)
        self.rooms = [f"room{number}" for number in range(rooms)]
        self.order = Order()
        self.members: list[ChaosMember] = []
        self._publishers: list[asyncio.Task[None]] = []
        self._number = 0
        self._ending = False
        self.unavailable = 0

    async def begin(self, members: int, publishers: int) -> None:
        for number in range(members):
            node = self.nodes[number % len(self.nodes)]
            member = ChaosMember(f"m{number}", self.order)
            for room in self.rooms:
                member.begin(await self._join(node, room, member))
            self.members.append(member)
        for number in range(publishers):
            self._publishers.append(asyncio.create_task(self._publish(self.nodes[number % len(self.nodes)])))

    async def _join(self, node: ChaosNode, room: str, member: ChaosMember) -> Subscribed:
        """Before the faults begin, only a machine that is very busy has the order unavailable."""
        while True:
            try:
                return await node.broker.subscribe(room, member)
            except BrokerUnavailable:
                await asyncio.sleep(0.05)

    async def _publish(self, node: ChaosNode) -> None:
        while not self._ending:
            await self.publish(node, self.chance.choice(self.rooms))

    async def publish(self, node: ChaosNode, room: str) -> None:
        self._number += 1
        payload = b"%d" % self._number
        try:
            published = await node.broker.publish(room, payload, True)
        except BrokerUnavailable:
            self.unavailable += 1
            return
        except BrokerError as error:
            self.order.wrong.append(repr(error))
            self._ending = True
            return
        self.order.placed(room, published.epoch, published.offset, payload)
        self.order.acknowledged[room, published.epoch, published.offset] = payload

    async def acknowledged(self, more: int = 20) -> None:
        """Until so many more messages are acknowledged."""
        wanted = len(self.order.acknowledged) + more
        async with asyncio.timeout(SECONDS):
            while len(self.order.acknowledged) < wanted:  # noqa: ASYNC110 - publishers report to nothing else
                await asyncio.sleep(0.005)

    async def end(self) -> None:
        """Stop the publishers, let the nodes come back, and check everything."""
        for node in self.nodes:
            await node.until_connected()
        await self.acknowledged()
        self._ending = True
        await asyncio.gather(*self._publishers)
        for node in self.nodes:
            await node.until_connected()
        for room in self.rooms:
            async with asyncio.timeout(SECONDS):
                before = self.unavailable
                await self.publish(self.nodes[0], room)
                while self.unavailable > before:
                    before = self.unavailable
                    await self.publish(self.nodes[0], room)
        await self._all_stand_where_the_room_stands()
        self._check()

    async def cancel(self) -> None:
        """Stop the publishers, whatever they wait for."""
        for publisher in self._publishers:
            publisher.cancel()
        await asyncio.gather(*self._publishers, return_exceptions=True)

    async def _all_stand_where_the_room_stands(self) -> None:
        standings = {}
        for room in self.rooms:
            page = await self.nodes[0].broker.history(room)
            standings[room] = page.epoch, page.offset
        try:
            async with asyncio.timeout(SECONDS):
                while any(tuple(member.at[room]) != standings[room] for member in self.members for room in self.rooms):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        except TimeoutError:
            late = [(member.id, room, member.at[room], standings[room]) for member in self.members for room in self.rooms]
            raise AssertionError([each for each in late if tuple(each[2]) != each[3]][:5]) from None

    def _check(self) -> None:
        assert self.order.wrong == []
        for node in self.nodes:
            assert node.failures == []
        for member in self.members:
            self._check_acknowledged(member)

    def _check_acknowledged(self, member: ChaosMember) -> None:
        """A stretch of a member's sequence has all acknowledged messages between its ends."""
        stretches: dict[tuple[str, str], list[int]] = {}
        for room, epoch, offset in member.seen:
            stretches.setdefault((room, epoch), []).append(offset)
        told = {(room, position.epoch, position.offset) for room, position in member.gaps}
        for (room, epoch), offsets in stretches.items():
            offsets.sort()
            for before, after in pairwise(offsets):
                if after != before + 1:
                    assert (room, epoch, after - 1) in told, (
                        f"{member.id} saw {room} {epoch}:{before} and then {after}, and no gap was told"
                    )

    @property
    def gaps(self) -> int:
        return sum(len(member.gaps) for member in self.members)


@asynccontextmanager
async def chaos(
    url: str,
    seed: int,
    *,
    nodes: int = 2,
    rooms: int = 5,
    members: int = 8,
    publishers: int = 4,
    limits: Limits | None = None,
    **values: Any,
) -> AsyncIterator[Chaos]:
    """A run whose faults the caller makes."""
    limits = limits or Limits(history=20_000, history_bytes=1 << 24)
    made = [ChaosNode(url, limits, **values) for _ in range(nodes)]
    try:
        for node in made:
            node.broker.open()
        for node in made:
            await node.until_connected()
        world = Chaos(made, seed, rooms)
        await world.begin(members, publishers)
        try:
            yield world
        finally:
            await world.cancel()
    finally:
        for node in made:
            await node.broker.close()
        for node in made:
            await node.link.closed()


async def in_thread(call: Callable[..., Any], *arguments: Any) -> Any:
    """Do what takes long, while the nodes go on."""
    return await asyncio.to_thread(call, *arguments)
