"""Fakes that several test modules share: a loop whose clock stands still, a transport without a socket, and a client for one wire.

Nothing here waits, and nothing is asynchronous that the tested code does not make so: bytes given to a client are read before `send`
returns, timers run in `advance`, and callbacks and tasks in `settle`.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self

from twisted.internet.task import Clock

from wsdaemon.core.connection import Connection
from wsdaemon.core.handshake import Handshake, Peer
from wsdaemon.core.registry import Count, take_place
from wsdaemon.core.wheel import Due, Wheel
from wsdaemon.edge.request import parse_head, upgrade
from wsdaemon.wire.factory import wire_class
from wsdaemon.wire.frames import Frames, FramesUnavailable, load
from wsdaemon.wire.output import Flusher
from wsdaemon.wire.policy import Opening, WirePolicy
from wsdaemon.wire.protocol import Wire

PYTHON = load("python")


def _readers() -> dict[str, tuple[Frames, bool]]:
    """Ways to read frames, by name: the frame reader, and whether it is used at all."""
    ways = {"python": (PYTHON, True), "off": (PYTHON, False)}
    with suppress(FramesUnavailable):
        ways["c"] = (load("c"), True)
    return ways


READERS = _readers()


# -- the loop


class Loop(asyncio.BaseEventLoop):
    """A loop in which time passes only when a test says so. It is the running loop for as long as it is used as a context manager."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 1000.0
        self._selector = self
        self.problems: list[dict[str, Any]] = []
        self.set_exception_handler(lambda loop, context: self.problems.append(context))

    def __enter__(self) -> Self:
        asyncio._set_running_loop(self)
        return self

    def __exit__(self, *error: object) -> None:
        try:
            tasks = asyncio.all_tasks(self)
            for task in tasks:
                task.cancel()
            self.settle()
        finally:
            asyncio._set_running_loop(None)
            self.close()

    def time(self) -> float:
        return self._now

    def settle(self) -> None:
        """Run until nothing is left to do at this moment."""
        asyncio._set_running_loop(None)
        try:
            for _ in range(10_000):
                self.call_soon(self.stop)
                self.run_forever()
                if not self._ready:
                    return
            raise AssertionError("there is always something left to do")
        finally:
            asyncio._set_running_loop(self)

    def advance(self, seconds: float) -> None:
        """Let time pass, from one timer to the next."""
        end = self._now + seconds
        self.settle()
        while (first := min((handle.when() for handle in self._scheduled if not handle.cancelled()), default=end + 1)) <= end:
            self._now = max(self._now, first)
            self.settle()
        self._now = end
        self.settle()

    @property
    def timers(self) -> int:
        """Timers that are set."""
        return sum(not handle.cancelled() for handle in self._scheduled)

    # what the base class needs in the place of a selector
    _ready: Any
    _scheduled: list[asyncio.TimerHandle]

    def select(self, timeout: float | None) -> list[Any]:
        return []

    def _process_events(self, events: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


# -- the transport


class Transport:
    """A transport of the loop, without a socket. `stuck` keeps what is written, as a client does that does not read."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.protocol: Any = None
        self.writes: list[bytes] = []
        self.stuck = False
        self.unsent = 0
        self.high = 64 * 1024
        self.writing_paused = False
        self.reading = True
        self.incoming = b""
        self.closing = False
        self.aborted = False
        self.eof_written = False
        self.lost = False
        self.pauses = 0
        self.extra: dict[str, object] = {}

    # what the wire calls

    def write(self, data: bytes) -> None:
        assert type(data) is bytes
        self._written([data])

    def writelines(self, list_of_data: list[bytes]) -> None:
        self._written(list_of_data)

    def _written(self, pieces: list[bytes]) -> None:
        if self.lost or self.aborted:
            return
        assert not self.closing or self.eof_written is False
        self.writes.append(b"".join(pieces))
        if self.stuck:
            self.unsent += sum(map(len, pieces))
            if self.unsent > self.high and not self.writing_paused:
                self.writing_paused = True
                self.protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is not None:
            self.high = high

    def set_protocol(self, protocol: object) -> None:
        self.protocol = protocol

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self.extra.get(name, default)

    def write_eof(self) -> None:
        self.eof_written = True

    def pause_reading(self) -> None:
        self.reading = False
        self.pauses += 1

    def resume_reading(self) -> None:
        if not self.reading and not self.closing:
            self.reading = True
            self.loop.call_soon(self._read)

    def close(self) -> None:
        if not self.closing:
            self.closing, self.reading = True, False
            if not self.unsent:
                self.loop.call_soon(self.lose)

    def abort(self) -> None:
        if not self.aborted:
            self.closing = self.aborted = True
            self.reading, self.unsent = False, 0
            self.loop.call_soon(self.lose)

    # what the test does

    def receive(self, data: bytes) -> None:
        """Bytes from the client: read at once, or when the wire wants to read again."""
        self.incoming += data
        self._read()

    def _read(self) -> None:
        while self.reading and self.incoming and not self.lost:
            if isinstance(self.protocol, asyncio.BufferedProtocol):
                room = memoryview(self.protocol.get_buffer(-1))
                count = min(len(room), len(self.incoming))
                assert count > 0, "a transport gives up on a protocol without room"
                room[:count] = self.incoming[:count]
                self.incoming = self.incoming[count:]
                self.protocol.buffer_updated(count)
            else:
                data, self.incoming = self.incoming[: 256 * 1024], self.incoming[256 * 1024 :]
                self.protocol.data_received(data)

    def drain(self) -> None:
        """The client reads all that was sent."""
        self.stuck, self.unsent = False, 0
        if self.writing_paused and not self.lost:
            self.writing_paused = False
            self.protocol.resume_writing()
        if self.closing:
            self.loop.call_soon(self.lose)

    def lose(self, error: Exception | None = None) -> None:
        """The connection is gone."""
        if not self.lost:
            self.lost = self.closing = True
            self.reading = False
            self.protocol.connection_lost(error)


# -- frames


MASK = bytes.fromhex("37fa213d")


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes | None = MASK) -> bytes:
    """A client's frame (RFC 6455 section 5.2). `rsv` 4 is RSV1."""
    length = len(payload)
    masked = 0x80 if mask is not None else 0
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    if length < 126:
        head = struct.pack("!BB", first, masked | length)
    elif length < 65536:
        head = struct.pack("!BBH", first, masked | 126, length)
    else:
        head = struct.pack("!BBQ", first, masked | 127, length)
    if mask is None:
        return head + payload
    key = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
    return head + mask + (int.from_bytes(payload, "big") ^ key).to_bytes(length, "big")


def text(message: str) -> bytes:
    return frame(1, message.encode())


def binary(message: bytes) -> bytes:
    return frame(2, message)


def close(code: int | None = 1000, reason: str = "") -> bytes:
    return frame(8, b"" if code is None else struct.pack("!H", code) + reason.encode())


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of the server's."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0

    @property
    def code(self) -> int | None:
        """The close code of a Close frame."""
        return struct.unpack("!H", self.payload[:2])[0] if self.payload else None

    @property
    def reason(self) -> str:
        return self.payload[2:].decode()


def closing(code: int, reason: str = "") -> Frame:
    return Frame(8, struct.pack("!H", code) + reason.encode())


def server_frames(data: bytes) -> Iterator[Frame]:
    """The frames in what a server sent; nothing may be left over."""
    position = 0
    while position < len(data):
        first, length = data[position], data[position + 1]
        assert length < 128, "a server masks nothing"
        position += 2
        if length >= 126:
            size = 2 if length == 126 else 8
            length = int.from_bytes(data[position : position + size], "big")
            position += size
        assert position + length <= len(data), "a frame is not whole"
        yield Frame(first & 15, data[position : position + length], bool(first & 128), first >> 4 & 7)
        position += length


# -- apps and watchers


class Watcher:
    """Writes down what the wire tells of its connections."""

    def __init__(self) -> None:
        self.opened_ones: list[Connection] = []
        self.closed_ones: list[Connection] = []
        self.failures: list[tuple[str, BaseException]] = []

    def opened(self, connection: Connection) -> None:
        self.opened_ones.append(connection)

    def closed(self, connection: Connection, wire: Wire) -> None:
        self.closed_ones.append(connection)

    def app_failed(self, connection: Connection, doing: str, error: BaseException) -> None:
        self.failures.append((doing, error))


class App:
    """An app that writes down what happens in each session. What it does with a message is the test's to say; by default nothing."""

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

    def __init__(self, loop: Loop, made: type[Wire], watcher: Watcher, wheel: Wheel, opening: bytes, descriptor: int) -> None:
        self.loop = loop
        self.watcher = watcher
        self.wheel = wheel
        self.transport = Transport(loop)
        self.count = Count()
        self._read = 0
        head = parse_head(opening)
        wanted = upgrade(head)
        chosen = next((name for name in made.wire_policy.subprotocols if name in wanted.subprotocols), None)
        self.handshake = Handshake(
            target=head.target, path=head.path, raw_path=head.raw_path, query_string=head.query_string, headers=head.headers,
            peer=PEER, local=LOCAL, subprotocols=wanted.subprotocols, subprotocol=chosen, listener="here", mount=head.path,
        )  # fmt: skip
        self.wire: Any = made.make()
        place = take_place(self.count)
        assert place is not None
        self.wire.open(self.transport, descriptor, self.handshake, place, Opening(wanted.key, wanted.extensions, head.raw))
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
        """What the server has sent since the opening handshake, or since the last look at frames."""
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
        code = self.wire.localCloseCode
        self.send(close(code))
        self.loop.settle()

    def vanish(self, error: Exception | None = None) -> None:
        self.transport.lose(error)

    @property
    def ended(self) -> tuple[int | None, str, str]:
        """Close code, reason, and who closed."""
        connection = self.wire.wire_connection
        return connection.close_code, connection.close_reason, connection.closed_by


class House:
    """Makes wires on one loop."""

    def __init__(self, loop: Loop, reader: str = "python") -> None:
        self.loop = loop
        self.reader = reader
        self.timer_failures: list[Exception] = []

    def policy(self, app: Any, watcher: Watcher, **options: Any) -> WirePolicy:
        frames, fast = READERS[options.pop("reader", self.reader)]
        numbers = itertools.count(1)
        return WirePolicy(
            app=app,
            watcher=watcher,
            wheel=self.wheel(),
            flusher=Flusher(self.loop.call_soon, now=lambda: 0.0),
            frames=options.pop("frames", frames),
            fast=fast,
            next_id=lambda: f"test-{next(numbers)}",
            **options,
        )

    def wheel(self) -> Wheel:
        def failed(item: Due, error: Exception) -> None:
            self.timer_failures.append(error)

        return Wheel(self.loop, failed, now=lambda: 0.0)

    def make_class(self, app: Any, watcher: Watcher | None = None, mounted: Any = None, **options: Any) -> type[Wire]:
        return wire_class(self.policy(app, watcher or Watcher(), **options), Clock(), mounted)

    def make_wire(
        self, app: Any = None, *, mounted: Any = None, opening: bytes = b"", descriptor: int = -1, **options: Any
    ) -> Client:  # fmt: skip
        """A wire that is open, seen from its client. `options` are WirePolicy's, and `reader`, one of READERS."""
        watcher = Watcher()
        made = self.make_class(app, watcher, mounted, **options)
        return Client(self.loop, made, watcher, made.wire_policy.wheel, opening or request(), descriptor)


@contextmanager
def house(reader: str = "python") -> Iterator[House]:
    """A loop and a maker of wires on it. What goes wrong unseen, in a timer or a callback, fails the test."""
    with Loop() as loop:
        made = House(loop, reader)
        yield made
        loop.settle()
        assert made.timer_failures == []
        assert loop.problems == []
