"""A hub with rooms and its workers, in one process: the links are real socketpairs, the workers' brokers are recorders."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.inside import until
from wsdaemon.brokers import Limits
from wsdaemon.brokers.contract import Change, Message, Position, Presence, Published
from wsdaemon.brokers.links.contract import Declared, DeclaredMember, Publication
from wsdaemon.hub.client import HubClient
from wsdaemon.hub.link import HubLink, HubLinks
from wsdaemon.hub.room_server import RoomServer
from wsdaemon.hub.server import HubServer

PATH = "/chat"


@dataclass(eq=False)
class Recorder:
    """A `Receiver` that records. `members` and the other lists are its declaration."""

    messages: list[Message] = field(default_factory=list)
    rosters: list[tuple[str, Position, tuple[Change, ...]]] = field(default_factory=list)
    holds: list[tuple[str, bool]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    declaration: list[Declared] = field(default_factory=list)
    followed_patterns: list[str] = field(default_factory=list)

    def message(self, message: Message) -> None:
        self.messages.append(message)

    def roster_changed(self, room: str, position: Position, changes: Sequence[Change]) -> None:
        self.rosters.append((room, position, tuple(changes)))

    def held(self, room: str, held: bool) -> None:
        self.holds.append((room, held))

    def lost(self, reason: str) -> None:
        self.events.append("lost")

    def restored(self) -> None:
        self.events.append("restored")

    def declared(self) -> list[Declared]:
        return self.declaration

    def patterns(self) -> list[str]:
        return self.followed_patterns

    @property
    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.messages]

    def declare(self, room: str, *members: str, watch: bool = False, held: bool = False) -> None:
        self.declaration.append(Declared(room, [DeclaredMember(Presence(name, {}), f"user {name}") for name in members], watch, held))


class Worker:
    """A worker with one link, to the rooms at PATH."""

    def __init__(self, number: int, loop: asyncio.AbstractEventLoop, limits: Limits, generation: int = 1) -> None:
        self.lines: list[str] = []
        self.client = HubClient(number, generation, loop, self.lines.append)
        self.links = HubLinks(self.client, self.lines.append)
        self.recorder = Recorder()
        self.link: HubLink = self.links.make(PATH, limits)
        self.link.open(self.recorder)
        self._count = 0

    def publication(self, room: str, payload: bytes, *, key: str | None = None, owner: str = "", number: int = 0) -> Publication:
        self._count += 1
        return Publication(number or self._count, room, payload, True, None, key, None, True, owner)

    async def publish(self, room: str, payload: bytes, *, key: str | None = None, owner: str = "", number: int = 0) -> Published:
        return await self.link.publish(self.publication(room, payload, key=key, owner=owner, number=number))

    async def join(self, room: str, name: str, *, watch: bool = False, since: Position | None = None) -> Position:
        joined = await self.link.join(room, Presence(name, {"name": name}), since, watch=watch, owner=f"user {name}")
        return joined.position


class Hub:
    """The hub's process, without the process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, instance: bytes = b"hub-one-") -> None:
        self.loop = loop
        self.lines: list[str] = []
        self.silent: set[int] = set()
        self.server = HubServer(loop, instance, self._has_heartbeat, lambda line, error: self.lines.append(line))
        self.rooms = RoomServer(self.server, clock=loop.time)

    def _has_heartbeat(self, number: int, generation: int) -> bool:
        return number not in self.silent

    def connect(self, worker: Worker) -> None:
        ours, theirs = socket.socketpair()
        self.server.attach(ours)
        worker.client.attach(theirs)

    async def worker(self, number: int, limits: Limits | None = None) -> Worker:
        worker = Worker(number, self.loop, limits or Limits(history=100))
        self.connect(worker)
        await until(lambda: worker.recorder.events)
        return worker

    def close(self, *workers: Worker) -> None:
        """End the hub, as a kill would, and then these workers."""
        self.rooms.close()
        self.server.close()
        for worker in workers:
            worker.client.close()
