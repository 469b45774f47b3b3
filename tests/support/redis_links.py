"""Links to a Redis for the tests, and a receiver that keeps what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import uvloop

from tests.support.lines import Lines
from wsdaemon.brokers import Limits
from wsdaemon.brokers.contract import Change, Message, Position, Presence, Published
from wsdaemon.brokers.links.contract import Declared, DeclaredMember, Joined, Publication
from wsdaemon.brokers.links.redis import RedisLink
from wsdaemon.settings.broker import Acknowledge, BrokerKind, BrokerSettings, OnFailover, RedisUrlForm, WhenLost

T = TypeVar("T")

WORDS = {"acknowledge": Acknowledge, "on_failover": OnFailover, "when_lost": WhenLost}

SECONDS = 20.0
"""The longest that an answer may take."""


def run(test: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine of a test on the daemon's kind of loop, for so long at most."""

    async def limited() -> T:
        async with asyncio.timeout(60):
            return await test

    return uvloop.run(limited())


def make_settings(url: str, **values: Any) -> BrokerSettings:
    values = {name: WORDS[name](value) if name in WORDS else value for name, value in values.items()}
    return BrokerSettings(kind=BrokerKind.REDIS, url=RedisUrlForm().parse(url), **values)


class Recorder:
    """A receiver. `rooms` and `following` are what it declares."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.changes: list[tuple[str, Position, Sequence[Change]]] = []
        self.up = asyncio.Event()
        self.down = asyncio.Event()
        self.down.set()
        self.reasons: list[str] = []
        self.rooms: dict[str, list[Presence]] = {}
        self.following: set[str] = set()
        self._came = asyncio.Condition()
        self._arrived = asyncio.Event()

    def message(self, message: Message) -> None:
        self.messages.append(message)
        self._arrived.set()

    def roster_changed(self, room: str, position: Position, changes: Sequence[Change]) -> None:
        self.changes.append((room, position, changes))
        self._arrived.set()

    def held(self, room: str, held: bool) -> None:
        raise AssertionError("Redis holds no room")

    def lost(self, reason: str) -> None:
        assert self.up.is_set()
        self.reasons.append(reason)
        self.up.clear()
        self.down.set()

    def restored(self) -> None:
        assert not self.up.is_set()
        self.up.set()
        self.down.clear()

    def declared(self) -> Iterable[Declared]:
        return [Declared(room, [DeclaredMember(each, "") for each in members], True, False) for room, members in self.rooms.items()]

    def patterns(self) -> Iterable[str]:
        return set(self.following)

    def texts(self, room: str) -> list[str]:
        """The live messages of a room."""
        return [message.payload.decode() for message in self.messages if message.room == room]

    async def until(self, condition: Any) -> None:
        """Wait until it is so, looking after each message and each change."""
        async with asyncio.timeout(SECONDS):
            while not condition():
                self._arrived.clear()
                await self._arrived.wait()


class Node:
    """One process: a link and its receiver."""

    def __init__(self, link: RedisLink, receiver: Recorder, lines: Lines) -> None:
        self.link = link
        self.receiver = receiver
        self.lines = lines
        self._number = 0

    async def join(self, room: str, who: str, since: Position | None = None, owner: str = "") -> Joined:
        member = Presence(who, {"user": who})
        joined = await self.link.join(room, member, since, watch=True, owner=owner)
        self.receiver.rooms.setdefault(room, []).append(member)
        return joined

    def leave(self, room: str, who: str) -> None:
        members = self.receiver.rooms[room]
        members[:] = [each for each in members if each.id != who]
        self.link.leave(room, who)
        if not members:
            del self.receiver.rooms[room]
            self.link.unfollow(room)

    def publication(self, room: str, text: str, **more: Any) -> Publication:
        self._number += 1
        return Publication(self._number, room, text.encode(), True, **more)

    def publish(self, room: str, text: str, **more: Any) -> asyncio.Future[Published]:
        return self.link.publish(self.publication(room, text, **more))


@asynccontextmanager
async def nodes(
    url: str, count: int = 1, *, limits: Limits | None = None, path: str = "/rooms", **values: Any
) -> AsyncIterator[list[Node]]:
    """Some processes that share a Redis, connected."""
    made: list[Node] = []
    for _ in range(count):
        lines = Lines()
        made.append(Node(RedisLink(make_settings(url, **values), path, limits or Limits(history=100), lines), Recorder(), lines))
    try:
        for node in made:
            node.link.open(node.receiver)
        async with asyncio.timeout(SECONDS):
            for node in made:
                await node.receiver.up.wait()
        yield made
    finally:
        for node in made:
            node.link.close()
        for node in made:
            await node.link.closed()
