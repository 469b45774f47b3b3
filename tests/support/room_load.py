"""Members and publishers of rooms under load, which come back when their connections are lost, and the promises that are checked.

Each member checks its own sequence as it comes: the next offset of the same epoch, or an event that tells it of a gap. Publishers send each
publication with a key until it is acknowledged. Afterwards `Load.check` compares all that was seen.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
from collections.abc import Callable
from typing import Any

PATH = "/rooms"
AGAIN_SECONDS = 0.05
"""Until a client whose connection is lost, or whose publication was refused, comes again."""

TICK_SECONDS = 0.01

SETTLE_SECONDS = 120.0
"""The longest that a machine may take which could not keep up with the rate."""

Place = tuple[str, str, int]
"""A room, an epoch, an offset."""


class JsonClient(asyncio.Protocol):
    """One connection of rooms.v1.json: opening handshake, frames of text, close. Its owner gets each event and the loss."""

    def __init__(self, owner: Member | Publisher) -> None:
        self._owner = owner
        self._buffer = bytearray()
        self._is_open = False
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: rooms.v1.json\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if not self._is_open:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if b" 101 " not in buffer[:20]:
                self.transport.abort()
                return
            del buffer[: end + 4]
            self._is_open = True
            self._owner.opened(self)
        at = 0
        while len(buffer) - at >= 2:
            length, start = buffer[at + 1], at + 2
            if length == 126:
                length, start = int.from_bytes(buffer[start : start + 2], "big"), start + 2
            elif length == 127:
                length, start = int.from_bytes(buffer[start : start + 8], "big"), start + 8
            if start + length > len(buffer):
                break
            opcode = buffer[at] & 15
            if opcode == 1:
                self._owner.received(json.loads(buffer[start : start + length]))
            elif opcode == 9:
                self.send_frame(10, bytes(buffer[start : start + length]))
            elif opcode == 8:
                self._owner.codes.append(int.from_bytes(buffer[start : start + 2], "big"))
                self.transport.close()
            at = start + length
        del buffer[:at]

    def send(self, event: dict[str, Any]) -> None:
        self.send_frame(1, json.dumps(event).encode())

    def send_frame(self, opcode: int, payload: bytes) -> None:
        assert len(payload) < 126 or opcode == 1
        head = bytes([0x80 | opcode, 0x80 | len(payload)]) if len(payload) < 126 else bytes([0x81, 0xFE]) + len(payload).to_bytes(2, "big")
        self.transport.write(head + bytes(4) + payload)  # a mask of zeros leaves the payload as it is

    def connection_lost(self, error: Exception | None) -> None:
        self._owner.lost()


class Client:
    """A client that connects again whenever its connection is lost, until `stop`. `codes`: with which connections were closed."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.client: JsonClient | None = None
        self.losses = 0
        self.codes: list[int] = []
        self._connecting: asyncio.Task[None] | None = None
        self._stopped = False

    def start(self) -> None:
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopped:
            try:
                await loop.create_connection(lambda: JsonClient(self), "127.0.0.1", self.load.port)  # type: ignore[arg-type]
                return
            except OSError:
                await asyncio.sleep(AGAIN_SECONDS)

    def opened(self, client: JsonClient) -> None:
        self.client = client

    def received(self, event: dict[str, Any]) -> None:
        raise NotImplementedError

    def lost(self) -> None:
        if self.client is not None:
            self.losses += 1
        self.client = None
        if not self._stopped:
            asyncio.get_running_loop().call_later(AGAIN_SECONDS, self.start)

    def stop(self) -> None:
        self._stopped = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self.client is not None:
            self.client.transport.abort()


class Member(Client):
    """A member of one room. `seen`: all its messages by epoch and offset. `starts`: the positions that it was told to begin from."""

    def __init__(self, load: Load, room: str) -> None:
        super().__init__(load)
        self.room = room
        self.boot = ""
        self.position: tuple[str, int] | None = None
        self.inside = False
        self.gaps = 0
        self.starts: list[tuple[str, int]] = []
        self.seen: dict[tuple[str, int], str] = {}

    def opened(self, client: JsonClient) -> None:
        super().opened(client)
        since = {} if self.position is None else {"since": {"epoch": self.position[0], "offset": self.position[1]}}
        client.send({"type": "subscribe", "room": self.room, **since})

    def received(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "message":
                self._take(event)
            case "subscribed":
                self.boot = event["member"].partition("-")[0]
                self.inside = True
                if self.position is None:
                    self._begin(event)
                elif event.get("gap"):
                    self._gap(event)
                for message in event["messages"]:
                    self._take(message)
                if self.position != (event["epoch"], event["offset"]):
                    self.load.wrong(f"{self.room}: subscribed at {event['epoch']}:{event['offset']}, and not {self.position}")
            case "gap":
                self._gap(event)
            case "error" if event["code"] == "unavailable":
                if self.client is not None:
                    self.client.transport.abort()
            case _:
                self.load.wrong(f"{self.room}: {event}")

    def lost(self) -> None:
        self.inside = False
        super().lost()

    def _begin(self, event: dict[str, Any]) -> None:
        self.position = event["epoch"], event["offset"]
        self.starts.append(self.position)

    def _gap(self, event: dict[str, Any]) -> None:
        self.gaps += 1
        self._begin(event)

    def _take(self, event: dict[str, Any]) -> None:
        epoch, offset = event["epoch"], event["offset"]
        if self.position is None or (epoch, offset) != (self.position[0], self.position[1] + 1):
            self.load.wrong(f"{self.room}: {epoch}:{offset} came after {self.position}, and no gap was told")
        self.position = epoch, offset
        self.seen[self.position] = event["data"]
        if self.load.order.setdefault((self.room, epoch, offset), event["data"]) != event["data"]:
            self.load.wrong(f"{self.room} {epoch}:{offset} has two messages")


class Publisher(Client):
    """Publishes in all rooms in turn, with keys, and again until each is acknowledged."""

    def __init__(self, load: Load, name: str, rate: float) -> None:
        super().__init__(load)
        self.name = name
        self.rate = rate
        self.waiting: dict[int, tuple[str, str]] = {}
        self.refused = 0
        self._numbers = itertools.count(1)
        self._due = 0.0

    def opened(self, client: JsonClient) -> None:
        super().opened(client)
        for number in self.waiting:
            self._send(number)

    def publish_for(self, seconds: float) -> None:
        """Publish as many as are due after so many seconds more. While a second's worth waits for its acknowledgement, none are due: a
        machine that cannot keep up with the rate has the load that it can bear."""
        self._due += seconds * self.rate
        while self._due >= 1:
            self._due -= 1
            if len(self.waiting) >= max(1, self.rate):
                continue
            number = next(self._numbers)
            self.waiting[number] = self.load.next_room(), f"{self.name}:{number}:{self.load.padding}"
            self._send(number)

    def _send(self, number: int) -> None:
        if self.client is not None and number in self.waiting:
            room, text = self.waiting[number]
            self.client.send({"type": "publish", "id": number, "room": room, "data": text, "key": f"{self.name}:{number}"})

    def received(self, event: dict[str, Any]) -> None:
        number = event["id"]
        if event["type"] == "published":
            room, text = self.waiting.pop(number)
            self.load.acknowledged[text] = room, event["epoch"], event["offset"]
        elif event["code"] == "unavailable":
            self.refused += 1
            asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._send, number)
        else:
            self.load.wrong(f"{self.name}: {event}")


class Load:
    """`members` in `rooms` rooms, evenly, and `rate` publications a second over all rooms, with `padding` bytes more than they need.

    The publishers are so many that no worker has all of them.
    """

    def __init__(self, port: int, members: int, rooms: int, rate: float, publishers: int = 40, padding: int = 0) -> None:
        self.port = port
        self.padding = padding * "."
        self.rooms = [f"room-{number}" for number in range(rooms)]
        self.members = [Member(self, self.rooms[number % rooms]) for number in range(members)]
        self.publishers = [Publisher(self, f"publisher-{number}", rate / publishers) for number in range(publishers)]
        self.acknowledged: dict[str, Place] = {}
        self.order: dict[Place, str] = {}
        self.faults: list[str] = []
        self.hung = False
        """Whether the daemon says that a worker stood still for more than a second. The test looks."""
        self._turns = itertools.cycle(self.rooms)

    def next_room(self) -> str:
        return next(self._turns)

    def wrong(self, fault: str) -> None:
        if len(self.faults) < 10:
            self.faults.append(fault)

    async def begin(self) -> None:
        """Connect all; returns when all members are in their rooms."""
        for start in range(0, len(self.members), 50):
            for member in self.members[start : start + 50]:
                member.start()
            await until(lambda start=start: all(member.inside for member in self.members[start : start + 50]))  # type: ignore[misc]
        for publisher in self.publishers:
            publisher.start()
        await until(lambda: all(publisher.client for publisher in self.publishers))

    async def publish(self, seconds: float) -> None:
        """Publish at the rate for so many seconds, however slow this process is."""
        loop = asyncio.get_running_loop()
        last = begun = loop.time()
        while last - begun < seconds:
            await asyncio.sleep(TICK_SECONDS)
            now = min(loop.time(), begun + seconds)
            for publisher in self.publishers:
                publisher.publish_for(now - last)
            last = now

    async def settle(self) -> None:
        """Wait until every publication is acknowledged and every member stands where its room stands."""
        await until(lambda: self.faults or not any(publisher.waiting for publisher in self.publishers), SETTLE_SECONDS)
        tops = {room: await self._top(room) for room in self.rooms}
        await until(
            lambda: self.faults or all(member.inside and member.position == tops[member.room] for member in self.members), SETTLE_SECONDS
        )

    async def _top(self, room: str) -> tuple[str, int]:
        asked = Member(self, room)
        asked.start()
        await until(lambda: asked.inside)
        asked.stop()
        assert asked.position is not None
        return asked.position

    def end(self) -> None:
        for client in (*self.members, *self.publishers):
            client.stop()

    def check(self, *, doubles: bool = False, hung: bool = False, away: bool = False) -> None:
        """Every acknowledged message is at its place with every member that was there, and nothing is there twice.

        `doubles`: a publication may stand once in each epoch, because a hub was lost. `hung`: a worker stood still for more than a second
        meanwhile, so that the hub did not wait for it: its members may miss the last messages before a break that they were told.
        `away`: the members were away when an epoch began, so that its first messages came before the place at which they began again.
        """
        assert not self.faults, self.faults
        known = set[tuple[str, ...]]()
        for (room, epoch, _), text in self.order.items():
            entry = (room, epoch, text) if doubles else (room, text)
            assert entry not in known, f"{text} stands twice in {room}"
            known.add(entry)
        for text, place in self.acknowledged.items():
            if not (hung or away) or place in self.order:
                assert self.order.get(place) == text, f"{place} is {self.order.get(place)!r}, and {text!r} was acknowledged there"
        by_room: dict[str, list[tuple[str, int]]] = {}
        for room, epoch, offset in self.acknowledged.values():
            by_room.setdefault(room, []).append((epoch, offset))
        for member in self.members:
            starts = dict(reversed(member.starts))
            last: dict[str, int] = dict(list(member.seen)) if hung else {}  # of each epoch, because they came in order
            for epoch, offset in by_room.get(member.room, ()):
                told = hung and epoch != member.starts[-1][0] and offset > last.get(epoch, 0)
                if epoch in starts and offset > starts[epoch] and not told:
                    assert (epoch, offset) in member.seen, f"a member of {member.room} misses {epoch}:{offset}"


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until the condition holds; fail after so many seconds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - any condition will do
            await asyncio.sleep(TICK_SECONDS)
