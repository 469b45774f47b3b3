"""Two hundred clients that never read, and a flood that is published to them: memory stays bounded, and others are served meanwhile."""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from daemon import SECONDS, Daemon, check_echo
from websockets.sync.client import ClientConnection

from wsdaemon.wire.shelf import COST

pytestmark = pytest.mark.live

MEMBERS = 200
MESSAGES = 5000
"""Of 1 KB: several times what fits into a member's backlog and the kernel's buffers."""
BACKLOG = 64 * 1024
CONSTANT = 80 * 1024
"""What a connection may take besides: the transport's own part of what waits (64 KiB, where messages are dropped), and the connection."""

APP = """
import asyncio

from wsdaemon import ConnectionClosed
from wsdaemon.wire.fan import send_to_all

members = []


async def hall(connection):
    members.append(connection)
    try:
        async for message in connection:
            pass
    finally:
        members.remove(connection)


def payload(number):
    return b"%08d" % number + bytes(1016)


async def publish(connection):
    "For each message, a number, publishes that many: half framed once for all, half sent to each. Answers how many members are left."
    async for message in connection:
        count = int(message)
        for number in range(count):
            if number % 2:
                wires = [member.wire for member in members]
                send_to_all(wires, [wires[0].prepare(payload(number), False)] if wires else [])
            else:
                for member in list(members):
                    try:
                        member.send(payload(number))
                    except ConnectionClosed:
                        pass
            await asyncio.sleep(0)
        await connection.send(str(sum(member.is_open for member in members)))
"""

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
[mount:/publish]
app = slow_clients_app:publish
[mount:/hall]
app = slow_clients_app:hall
slow_client = %s
"""

UPGRADE = (
    b"GET /hall HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def member(path: Path) -> socket.socket:
    """A client that does not read. On a unix socket, for there the kernel takes 200 KB and not megabytes as on the loopback interface."""
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(SECONDS)
    made.connect(str(path))
    made.sendall(UPGRADE)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += made.recv(1)
    assert answer.startswith(b"HTTP/1.1 101 ")
    return made


def memory(pid: int, field: str) -> int:
    """Bytes: VmRSS is what the daemon has, VmHWM the most that it ever had."""
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


@contextmanager
def hall(folder: Path, policy: str) -> Iterator[tuple[Daemon, list[socket.socket]]]:
    (folder / "slow_clients_app.py").write_text(APP)
    with ExitStack() as stack:
        daemon = stack.enter_context(Daemon(folder, SETTINGS % policy))
        members = [stack.enter_context(member(folder / "members.sock")) for _ in range(MEMBERS)]
        yield daemon, members


def publish(daemon: Daemon, publisher: ClientConnection) -> int:
    """Publish everything, with echoes meanwhile; how many members are left."""
    answers: list[str | bytes] = []
    publisher.send(str(MESSAGES))
    waiting = threading.Thread(target=lambda: answers.append(publisher.recv(SECONDS)))
    waiting.start()
    echoes = 0
    try:
        with daemon.connect("/echo") as client:
            while waiting.is_alive():
                check_echo(client, f"{echoes} served")
                echoes += 1
    finally:
        waiting.join()
    assert echoes > 0
    return int(answers[0])


def frames(client: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Opcode and payload of all that waits for this client, up to a Close frame or the message that is the last."""
    with client.makefile("rb") as stream:
        while True:
            first, length = stream.read(2)
            if length == 126:
                (length,) = struct.unpack("!H", stream.read(2))
            payload = stream.read(length)
            yield first & 15, payload
            if first & 15 == 8 or payload[:8] == b"%08d" % (MESSAGES - 1):
                return


@pytest.mark.parametrize("policy", ["close", "drop_oldest", "latest"])
def test_clients_that_never_read(tmp_path: Path, policy: str) -> None:
    with hall(tmp_path, policy) as (daemon, members), daemon.connect("/publish") as publisher:
        daemon.check_echo()
        before = memory(daemon.pid, "VmRSS")
        left = publish(daemon, publisher)
        growth = memory(daemon.pid, "VmHWM") - before
        assert growth < MEMBERS * (BACKLOG + CONSTANT), f"{growth / MEMBERS:.0f} bytes for each member"
        assert left == (0 if policy == "close" else MEMBERS)
        for client in (members[0], members[-1]):
            check_what_came(policy, list(frames(client)))
        daemon.check_echo()


def check_what_came(policy: str, got: list[tuple[int, bytes]]) -> None:
    """To a client that begins to read after all."""
    numbers = [int(payload[:8]) for opcode, payload in got if opcode == 2]
    kernel = next((place for place, number in enumerate(numbers) if place != number), len(numbers))
    rest = numbers[kernel:]
    assert kernel > 0
    if policy == "close":
        assert rest == []
        assert got[-1] == (8, struct.pack("!H", 1013) + b"client reads too slowly")
    elif policy == "drop_oldest":
        assert rest == list(range(MESSAGES - len(rest), MESSAGES)), "the newest, without a hole"
        assert BACKLOG - 1200 < sum(len(payload) + 4 + COST for _, payload in got[kernel:]) <= BACKLOG
    else:
        assert rest == [MESSAGES - 1]
