"""Five hundred clients that never read, and 10,000 distinct messages a second that are published at them: memory stays bounded, and the
others are served meanwhile. The bound is the one that docs/slow-clients.md states.
"""

from __future__ import annotations

import re
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection

from tests.support.daemon import SECONDS, Daemon, check_echo
from wsdaemon.wire.shelf import FRAME_COST_BYTES

pytestmark = pytest.mark.live

ROOMS = 50
MEMBERS = 10
"""Of each room, that never read. One more publishes, and in the first room one more reads."""
MESSAGES = 1000
"""For each room, of 1 KiB: several times what fits into a member's backlog and the kernel's buffers."""
RATE = 10_000
"""Messages a second, in all rooms together, that are offered."""
BURST = 10
"""Messages that a publisher sends at once."""
SIZE = 1024
BACKLOG = 64 * 1024
CONSTANT = 128 * 1024
"""The memory of a connection besides its backlog: the transport's own part of what waits (64 KiB, where messages are dropped), and the
connection."""

SETTINGS = f"""
[defaults]
send_backlog = {BACKLOG}
close_timeout = 30s
[listener:web]
address = tcp:0:interface=127.0.0.1
[listener:members]
address = unix:members.sock
[mount:/echo]
app = echo
[mount:/rooms/{{room}}]
app = rooms
slow_client = %s
"""

UPGRADE = (
    b"GET /rooms/%d HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def payload(room: int, number: int) -> bytes:
    return b"%04d %08d " % (room, number) + bytes(SIZE - 14)


def client_frame(payload: bytes) -> bytes:
    """Masked with zeros, which changes nothing."""
    return b"\x82\xfe" + struct.pack("!H", len(payload)) + bytes(4) + payload


def member(path: Path, room: int) -> socket.socket:
    """A client's socket. A unix socket, because its kernel buffer takes 200 KB, and not megabytes as on the loopback interface."""
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(SECONDS)
    made.connect(str(path))
    made.sendall(UPGRADE % room)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += made.recv(1)
    assert answer.startswith(b"HTTP/1.1 101 ")
    return made


class Publisher:
    """Sends one room's messages, no faster than they are taken from it."""

    def __init__(self, made: socket.socket, room: int) -> None:
        made.setblocking(False)
        self._socket = made
        self._room = room
        self._made = 0
        self._unsent = b""
        self.sent = 0

    def offer(self) -> None:
        """A burst more, unless the last one is not taken yet."""
        if not self._unsent and self._made < MESSAGES:
            self._unsent = b"".join([client_frame(payload(self._room, self._made + number)) for number in range(BURST)])
            self._made += BURST
        self.push()

    def push(self) -> None:
        try:
            count = self._socket.send(self._unsent) if self._unsent else 0
        except BlockingIOError:
            return
        self._unsent = self._unsent[count:]
        self.sent += count

    @property
    def done(self) -> bool:
        return not self._unsent and self._made == MESSAGES


class Hall:
    """A daemon, its members, its publishers."""

    def __init__(self, daemon: Daemon, stack: ExitStack, folder: Path) -> None:
        self.daemon = daemon
        path = folder / "members.sock"
        self.members = [[stack.enter_context(member(path, room)) for _ in range(MEMBERS)] for room in range(ROOMS)]
        self.publishers = [Publisher(stack.enter_context(member(path, room)), room) for room in range(ROOMS)]
        self.echo = stack.enter_context(daemon.connect("/echo"))
        self.echoes = 0

    def publish(self) -> None:
        """All rooms' messages, evenly, with echoes meanwhile; until all are taken, or no more are taken from anybody."""
        pace, tick = threading.Event(), ROOMS * BURST / RATE
        due, idle = time.monotonic(), 0
        while not all(publisher.done for publisher in self.publishers) and idle < 50:
            before = self._sent()
            for publisher in self.publishers:
                publisher.offer()
            check_echo(self.echo, f"{self.echoes} served")
            self.echoes += 1
            idle = idle + 1 if self._sent() == before else 0
            due = max(due + tick, time.monotonic())
            pace.wait(due - time.monotonic())

    def _sent(self) -> int:
        return sum(publisher.sent for publisher in self.publishers)


@contextmanager
def hall(folder: Path, policy: str) -> Iterator[Hall]:
    with ExitStack() as stack:
        daemon = stack.enter_context(Daemon(folder, SETTINGS % policy))
        yield Hall(daemon, stack, folder)


def memory(pid: int, field: str) -> int:
    """Bytes: VmRSS is what the daemon has, VmHWM the most that it ever had."""
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


@contextmanager
def bounded(daemon: Daemon) -> Iterator[None]:
    """The daemon's memory stays, meanwhile, under the bound."""
    before = memory(daemon.pid, "VmRSS")
    yield
    growth = (memory(daemon.pid, "VmHWM") - before) / (ROOMS * MEMBERS)
    print(f"{growth / 1024:.1f} KiB for each client")
    assert growth < BACKLOG + CONSTANT + SIZE, f"{growth:.0f} bytes for each client"


def frames(client: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Opcode and payload of all that waits for this client, up to a Close frame or the message that is the last."""
    with client.makefile("rb") as stream:
        while True:
            first, length = stream.read(2)
            if length == 126:
                (length,) = struct.unpack("!H", stream.read(2))
            got = stream.read(length)
            yield first & 15, got
            if first & 15 == 8 or got[5:13] == b"%08d" % (MESSAGES - 1):
                return


class Reader(threading.Thread):
    """A member that reads, and what it got."""

    def __init__(self, client: ClientConnection) -> None:
        super().__init__()
        self._client = client
        self.got: list[str | bytes] = []

    def run(self) -> None:
        while len(self.got) < MESSAGES:
            self.got.append(self._client.recv(SECONDS))


@pytest.mark.parametrize("policy", ["close", "drop_oldest", "latest"])
def test_clients_that_never_read(tmp_path: Path, policy: str) -> None:
    with hall(tmp_path, policy) as made, made.daemon.connect("/rooms/0") as client:
        reader = Reader(client)
        reader.start()
        with bounded(made.daemon):
            made.publish()
            reader.join()
        assert reader.got == [payload(0, number) for number in range(MESSAGES)]
        for members in made.members:
            for slow in (members[0], members[-1]):
                check_what_came(policy, list(frames(slow)))
        made.daemon.check_echo()


def check_what_came(policy: str, got: list[tuple[int, bytes]]) -> None:
    """To a client that begins to read after all."""
    numbers = [int(payload[5:13]) for opcode, payload in got if opcode == 2]
    kernel = next((place for place, number in enumerate(numbers) if place != number), len(numbers))
    rest = numbers[kernel:]
    assert kernel > 0
    if policy == "close":
        assert rest == []
        assert got[-1] == (8, struct.pack("!H", 1013) + b"client reads too slowly")
    elif policy == "drop_oldest":
        assert rest == list(range(MESSAGES - len(rest), MESSAGES)), "the newest, without a hole"
        assert BACKLOG - 1200 < sum(len(payload) + 4 + FRAME_COST_BYTES for _, payload in got[kernel:]) <= BACKLOG
    else:
        assert rest == [MESSAGES - 1]


def test_clients_that_are_waited_for(tmp_path: Path) -> None:
    """The publishers are held, other mounts are not. When the clients read after all, nothing is missing."""
    with hall(tmp_path, "wait") as made:
        with bounded(made.daemon):
            made.publish()
        assert not any(publisher.done for publisher in made.publishers)
        drain(made)
        made.daemon.check_echo()


def drain(made: Hall) -> None:
    """Everyone reads and everyone publishes, until all have everything, in order."""
    expected = {member: room for room, members in enumerate(made.members) for member in members}
    position = dict.fromkeys(expected, 0)
    texts = [b"".join([b"\x82\x7e\x04\x00" + payload(room, number) for number in range(MESSAGES)]) for room in range(ROOMS)]
    with selectors.DefaultSelector() as selector:
        for client in expected:
            selector.register(client, selectors.EVENT_READ, client)
        while selector.get_map():
            for publisher in made.publishers:
                publisher.offer()
            ready = selector.select(SECONDS)
            assert ready, "nobody is given anything any more"
            for key, _ in ready:
                client = key.data
                got, text, at = client.recv(1 << 18), texts[expected[client]], position[client]
                assert got == text[at : at + len(got)] != b""
                position[client] = at + len(got)
                if position[client] == len(text):
                    selector.unregister(client)
