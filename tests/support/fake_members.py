"""Many connections of one mount, for tests of what is sent to all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.support.fakes import READERS, App, Client, House, request
from wsdaemon.wire.fan import send_to_all
from wsdaemon.wire.prepared import Prepared

PLENTY = 1 << 30


class Sockets:
    """The sockets of all members. The bytes that a socket takes are recorded with those of its transport, in order."""

    def __init__(self) -> None:
        self.written: dict[int, list[bytes]] = {}
        self.room: dict[int, int] = {}
        self.before: dict[int, Callable[[], None]] = {}

    def send(self, descriptor: int, data: bytes) -> int:
        """As the frame reader's. `room` is what a socket takes, -1 for an error."""
        self.before.get(descriptor, lambda: None)()
        room = self.room.get(descriptor, PLENTY)
        if room < 0:
            return -1
        part = data[:room]
        self.room[descriptor] = room - len(part)
        if part:
            self.written[descriptor].append(part)
        return len(part)


class Members:
    """Connections of one mount. Even ones have a socket that can be written to directly, odd ones do not, as with TLS."""

    def __init__(self, made: House, count: int = 6, *, opening: bytes = request(), **options: Any) -> None:
        self.loop = made.loop
        self.sockets = Sockets()
        self.clients: list[Client] = []
        self.apps: list[App] = []
        frames = replace(READERS[made.reader][0], send=self.sockets.send)
        for number in range(count):
            app = App()
            descriptor = -1 if number % 2 else number
            written = self.sockets.written[descriptor] = list[bytes]()
            client = made.make_wire(app, frames=frames, descriptor=descriptor, opening=opening, **options)
            client.transport.writes[:0] = written
            self.sockets.written[descriptor] = client.transport.writes
            if written:
                client.read_head()
            self.clients.append(client)
            self.apps.append(app)

    @property
    def writers(self) -> list[Any]:
        return [client.writer for client in self.clients]

    def prepare(self, payload: str | bytes, key: object = None) -> Prepared:
        made: Prepared = self.writers[0].prepare(payload.encode() if isinstance(payload, str) else payload, isinstance(payload, str), key)
        return made

    def publish(self, *payloads: str | bytes) -> None:
        send_to_all(self.writers, [self.prepare(payload) for payload in payloads])

    def got(self, number: int) -> list[str]:
        """The text messages that a member was sent since the last call."""
        self.loop.settle()
        return [frame.payload.decode() for frame in self.clients[number].frames() if frame.opcode == 1]

    def all_got(self) -> list[list[str]]:
        return [self.got(number) for number in range(len(self.clients))]
