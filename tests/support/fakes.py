"""Fakes that several test modules share: apps, watchers, and a client for one wire, with a loop and a transport that are fakes, too.

Nothing here waits, and nothing is asynchronous that the tested code does not make so: bytes given to a client are read before `send`
returns, timers run in `advance`, and callbacks and tasks in `settle`.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from twisted.internet.task import Clock

from tests.support.fake_frames import MASK, Frame, binary, close, closing, frame, server_frames, text
from tests.support.fake_loop import Loop, Transport
from wsdaemon.core.background import Background
from wsdaemon.core.connection import Connection
from wsdaemon.core.handshake import Handshake, Peer
from wsdaemon.core.registry import Count, Place
from wsdaemon.core.threads import ThreadCalls
from wsdaemon.core.wheel import Due, Wheel
from wsdaemon.core.wire_halves import Counts
from wsdaemon.edge.request import parse_head
from wsdaemon.edge.upgrade import upgrade
from wsdaemon.settings.model import MountSettings
from wsdaemon.settings.slow_client import SlowClient
from wsdaemon.wire.deflate.resting import Resting
from wsdaemon.wire.factory import Protocols, Wires
from wsdaemon.wire.frames import Frames, FramesUnavailable, load
from wsdaemon.wire.policy import WirePolicy
from wsdaemon.wire.turns import Turns
from wsdaemon.wire.writer import make_flusher

__all__ = [
    "ACCEPT", "KEY", "LOCAL", "MASK", "PEER", "PYTHON", "READERS", "App", "Client", "Frame", "House", "Loop", "Transport", "Watcher",
    "binary", "close", "closing", "frame", "house", "request", "server_frames", "text",
]  # fmt: skip

PYTHON = load("python")


def _readers() -> dict[str, tuple[Frames, bool]]:
    """Ways to read frames, by name: the frame reader, and whether it is used at all."""
    ways = {"python": (PYTHON, True), "off": (PYTHON, False)}
    with suppress(FramesUnavailable):
        ways["c"] = (load("c"), True)
    return ways


READERS = _readers()


# -- apps and watchers


class Watcher:
    """Writes down what the wire tells of its connections."""

    def __init__(self) -> None:
        self.opened_ones: list[Connection] = []
        self.closed_ones: list[Connection] = []
        self.failures: list[tuple[str, BaseException]] = []

    def opened(self, connection: Connection) -> None:
        self.opened_ones.append(connection)

    def closed(self, connection: Connection, counts: Counts) -> None:
        self.closed_ones.append(connection)

    def app_failed(self, connection: Connection, doing: str, error: BaseException) -> None:
        self.failures.append((doing, error))


class App:
    """An app that writes down what happens in each session. A test may set its reaction to a message; by default it has none."""

    def __init__(self, received: Callable[[Connection, Any], Awaitable[object] | None] | None = None) -> None:
        self.connections: list[Connection] = []
        self.messages: list[str | bytes] = []
        self.ends: list[tuple[int, str]] = []
        self.events: list[object] = []
        self._received = received

    @property
    def connection(self) -> Connection:
        [connection] = self.connections
        return connection

    def open(self, connection: Connection, handshake: Handshake) -> AppSession:
        assert connection.handshake is handshake
        self.connections.append(connection)
        return AppSession(self, connection)

    def message(self, connection: Connection, message: str | bytes) -> Awaitable[object] | None:
        self.messages.append(message)
        self.events.append(message)
        return None if self._received is None else self._received(connection, message)

    def end(self, code: int, reason: str) -> None:
        self.ends.append((code, reason))
        self.events.append(code)


class AppSession:
    def __init__(self, app: App, connection: Connection) -> None:
        self._app = app
        self._connection = connection

    def received(self, message: str | bytes) -> Awaitable[object] | None:
        return self._app.message(self._connection, message)

    def closed(self, code: int, reason: str) -> None:
        self._app.end(code, reason)


# -- a client of one wire

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The answer to KEY (RFC 6455 section 1.3)."""

PEER = Peer("192.0.2.7", 50123)
LOCAL = Peer("192.0.2.1", 8080)


def request(target: str = "/", **headers: str) -> bytes:
    """An opening handshake. Header names have underscores for hyphens; a value that is empty takes the header out."""
    lines = {
        "host": "example.org",
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-key": KEY,
        "sec-websocket-version": "13",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    return "\r\n".join([f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in lines.items() if value), "", ""]).encode()


class Client:
    """The far end of one wire, and what stands around that wire."""

    def __init__(
        self, loop: Loop, wires: Wires, watcher: Watcher, wheel: Wheel, opening: bytes, descriptor: int, secure: bool = False,
        handshake_timeout: float = 10.0,
    ) -> None:  # fmt: skip
        self.loop = loop
        self.watcher = watcher
        self.wheel = wheel
        self.transport = Transport(loop)
        if secure:
            self.transport.extra["sslcontext"] = object()
        self.count = Count()
        self._read = 0
        head = parse_head(opening)
        wanted = upgrade(head)
        chosen = next((name for name in wires.protocols.policy.subprotocols if name in wanted.subprotocols), None)
        self.handshake = Handshake(
            target=head.target, path=head.path, raw_path=head.raw_path, query_string=head.query_string, headers=head.headers,
            peer=PEER, local=LOCAL, secure=secure, subprotocols=wanted.subprotocols, subprotocol=chosen, listener="here", mount=head.path,
        )  # fmt: skip
        self.wire: Any = wires.open(
            self.transport, descriptor, self.handshake, Place((self.count,)),
            key=wanted.key, extensions=wanted.extensions, time_left=handshake_timeout, refusals=None,
        )  # fmt: skip
        self.connection: Connection = self.wire.connection
        self.reader: Any = self.wire.reader
        self.writer: Any = self.wire.writer
        self.protocol: Any = self.wire.protocol
        self.fast = self.reader.fallback is None
        self.turns: Turns = self.wire.policy.turns
        self.head = ""
        self.read_head()

    def read_head(self) -> None:
        """Take the answer to the opening handshake off what was sent."""
        sent = b"".join(self.transport.writes)
        end = sent.find(b"\r\n\r\n") + 4
        if end > 3:
            self.head = sent[:end].decode()
            self._read = end

    @property
    def sent(self) -> bytes:
        """The bytes that the server has sent since the opening handshake, or since the last call of frames()."""
        return b"".join(self.transport.writes)[self._read :]

    def frames(self) -> list[Frame]:
        """The server's frames since the last time."""
        sent = self.sent
        self._read += len(sent)
        return list(server_frames(sent))

    def send(self, *frames: bytes) -> None:
        """Bytes to the server, in one read."""
        self.transport.receive(b"".join(frames))

    def send_each(self, *frames: bytes) -> None:
        """Bytes to the server, in reads of their own."""
        for data in frames:
            self.transport.receive(data)

    def answer_close(self) -> None:
        """Take part in the closing handshake that the server began, up to the end of the connection."""
        code = self.protocol.localCloseCode
        self.send(close(code))
        self.loop.settle()

    def vanish(self, error: Exception | None = None) -> None:
        self.transport.lose(error)

    @property
    def ended(self) -> tuple[int | None, str, str]:
        """Close code, reason, and who closed."""
        connection = self.connection
        return connection.close_code, connection.close_reason, connection.closed_by


class House:
    """Makes wires on one loop. `now`: what a connection sees that looks how long it has been reading."""

    def __init__(self, loop: Loop, reader: str = "python") -> None:
        self.loop = loop
        self.reader = reader
        self.now = 0.0
        self.timer_failures: list[Exception] = []
        self.turns = Turns(loop.call_soon, now=lambda: self.now)
        self.calls = ThreadCalls(loop, now=lambda: self.now)
        self.background = Background()
        self.broadcasts: list[tuple[Any, Any]] = []
        self._numbers = itertools.count(1)

    def policy(self, app: Any, watcher: Watcher, **options: Any) -> WirePolicy:
        """`options` are those of MountSettings and WirePolicy, and `reader`, one of READERS. Control frames have no limit by default."""
        frames, fast = READERS[options.pop("reader", self.reader)]
        names = {field.name for field in dataclasses.fields(MountSettings)} - {"subprotocols"}
        settings = {"control_frames_per_second": 0} | {name: options.pop(name) for name in names & set(options)}
        if "slow_client" in settings:
            settings["slow_client"] = SlowClient(settings["slow_client"])
        wheel = self.wheel()
        return WirePolicy(
            settings=MountSettings(path="/", app="echo", **settings),
            app=app,
            watcher=watcher,
            wheel=wheel,
            flusher=make_flusher(self.loop.call_soon, now=lambda: 0.0),
            turns=self.turns,
            resting=Resting(wheel),
            calls=self.calls,
            background=self.background,
            broadcast=self.broadcast,
            frames=options.pop("frames", frames),
            fast=fast,
            next_id=lambda: f"test-{next(self._numbers)}",
            **options,
        )

    def broadcast(self, message: Any, where: Any) -> None:
        self.broadcasts.append((message, where))

    def wheel(self) -> Wheel:
        def failed(item: Due, error: Exception) -> None:
            self.timer_failures.append(error)

        return Wheel(self.loop, failed, now=lambda: 0.0)

    def make_wires(self, app: Any, watcher: Watcher | None = None, mounted: Any = None, factory: Any = None, **options: Any) -> Wires:
        """The Wires of a mount: of an app, or of an Autobahn class and the user's factory for it."""
        policy = self.policy(app, watcher or Watcher(), **options)
        wires = Wires(policy, Protocols(policy, Clock(), mounted, factory))
        wires.protocols.prepare()
        return wires

    def connect(self, wires: Wires, opening: bytes = b"", descriptor: int = -1) -> Client:
        """One more connection of a mount."""
        policy: Any = wires.protocols.policy
        return Client(self.loop, wires, policy.watcher, policy.wheel, opening or request(), descriptor)

    def make_wire(
        self, app: Any = None, *, mounted: Any = None, opening: bytes = b"", descriptor: int = -1, secure: bool = False, **options: Any
    ) -> Client:  # fmt: skip
        """A wire that is open, seen from its client. `options` are those of policy(), `factory` and `handshake_timeout`."""
        watcher = Watcher()
        patience = options.pop("handshake_timeout", 10.0)
        wires = self.make_wires(app, watcher, mounted, **options)
        return Client(self.loop, wires, watcher, wires.protocols.policy.wheel, opening or request(), descriptor, secure, patience)


@contextmanager
def house(reader: str = "python") -> Iterator[House]:
    """A loop and a maker of wires on it. An error in a timer or a callback fails the test."""
    with Loop() as loop:
        made = House(loop, reader)
        yield made
        loop.settle()
        assert made.timer_failures == []
        assert loop.problems == []
