"""Two workers in one process, with real sockets, and a client that does not know which of them serves it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import uvloop

from tests.support.fake_frames import Frame, server_frames
from tests.support.fakes import LOCAL, PEER, House, Watcher, request
from wsdaemon.core.handshake import Handshake
from wsdaemon.core.registry import Count, Place
from wsdaemon.edge.landing import land
from wsdaemon.edge.request import parse_head
from wsdaemon.edge.upgrade import upgrade
from wsdaemon.wire.factory import Wires
from wsdaemon.wire.handed import decode
from wsdaemon.wire.handover import Obstacle, Parting, part
from wsdaemon.wire.resumption import check, read_on, resume
from wsdaemon.wire.wire import Wire

TURNS = 2000

SECONDS = 120
"""The longest story, on a busy machine."""


def run(story: Coroutine[Any, Any, None], uv: bool = True) -> None:
    """Run a story on a real loop, uvloop's or asyncio's; an error in a callback fails it."""
    loop = uvloop.new_event_loop() if uv else asyncio.new_event_loop()
    problems: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda loop, context: problems.append(context))
    loop.run_until_complete(asyncio.wait_for(story, SECONDS))  # if it fails, the loop stays open, because uvloop waits for transports
    loop.close()
    assert problems == []


async def turns(condition: Callable[[], object]) -> None:
    """Let the loop turn until `condition` holds."""
    for turn in range(TURNS):
        if condition():
            return
        await asyncio.sleep(0 if turn < 100 else 0.005)
    raise AssertionError("it never came true")


class Worker:
    """One process: a mount with its app, and its wires."""

    def __init__(self, app: Any, reader: str = "c", **options: Any) -> None:
        self.app = app
        self.watcher = Watcher()
        self.house = House(asyncio.get_running_loop(), reader)  # type: ignore[arg-type]
        self.wires: Wires = self.house.make_wires(app, self.watcher, **options)
        self.count = Count()
        self.wire: Any = None

    async def open(self, sock: socket.socket, opening: bytes = b"") -> Wire:
        head = parse_head(opening or request())
        wanted = upgrade(head)
        chosen = next((name for name in self.wires.policy.subprotocols if name in wanted.subprotocols), None)
        handshake = Handshake(
            target=head.target, path=head.path, raw_path=head.raw_path, query_string=head.query_string, headers=head.headers, peer=PEER,
            local=LOCAL, subprotocols=wanted.subprotocols, subprotocol=chosen, listener="here", mount=head.path,
        )  # fmt: skip
        native = (await land(asyncio.get_running_loop(), sock)).native
        self.wire = self.wires.open(
            native, sock.fileno(), handshake, Place((self.count,)), key=wanted.key, extensions=wanted.extensions, time_left=10.0,
            refusals=None,
        )  # fmt: skip
        native.resume_reading()
        return self.wire  # type: ignore[no-any-return]

    def part(self) -> Parting | Obstacle:
        return part(self.wire)

    async def take(self, parting: Parting) -> Any:
        """Go on with a connection. Its place moves along."""
        sock = socket.socket(fileno=parting.descriptor)
        landing, handed = await land(asyncio.get_running_loop(), sock), decode(parting.content)
        check(self.wires, handed)
        self.wire, resumed = resume(self.wires, handed, landing.native, sock.fileno(), Place((self.count,)), landing.early)
        if parting.place is not None:
            parting.place.leave()
        if resumed is not None:
            await resumed
        read_on(self.wire)
        return self.wire


class Talker:
    """The client's end of the socket."""

    def __init__(self) -> None:
        self.sock, self.far = socket.socketpair()
        self.sock.setblocking(False)
        self._data = b""
        self.head = b""

    def send(self, data: bytes) -> None:
        assert self.sock.send(data) == len(data)

    def read(self) -> bytes:
        with suppress(BlockingIOError):
            while data := self.sock.recv(1 << 20):
                self._data += data
        if not self.head and b"\r\n\r\n" in self._data:
            self.head, _, self._data = self._data.partition(b"\r\n\r\n")
        return self._data

    def read_slowly(self) -> None:
        """Take a little of what has come."""
        with suppress(BlockingIOError):
            self._data += self.sock.recv(50_000)

    def frames(self) -> list[Frame]:
        """All frames so far."""
        return list(server_frames(self.read()))

    @property
    def closed(self) -> bool:
        """Whether the server has ended the connection."""
        self.read()
        with suppress(BlockingIOError):
            return not self.sock.recv(1, socket.MSG_PEEK)
        return False

    async def hear(self, count: int) -> list[Frame]:
        await turns(lambda: len(self.frames()) >= count)
        return self.frames()

    def close(self) -> None:
        self.sock.close()


async def move(old: Worker, new: Worker) -> Any:
    """Hand the old worker's connection over, as soon as nothing is in the way."""
    for turn in range(TURNS):
        parting = old.part()
        if isinstance(parting, Parting):
            return await new.take(parting)
        assert parting.passes, parting.reason
        await asyncio.sleep(0 if turn < 100 else 0.005)
    raise AssertionError("the obstacle does not pass")

