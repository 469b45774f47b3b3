"""An upgrade under load: `python -m benchmarks.upgrade`.

Members of rooms are connected to a daemon with two workers, publications come at a steady rate over all rooms, and newcomers come and go.
In the midst of it the daemon is upgraded. Each member checks that it is given every message of its room once, and in order; each
publication that it is acknowledged; each newcomer that it is let in. The longest pause is the longest time that a member is given nothing.

The clients need about as much CPU as the daemon: on two CPUs the pause has parts of both. Exit status 1 if the bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

from wsdaemon.ops.control import Outcome, ask

from .daemons import REQUEST, RunningDaemon, free_port, proportional_bytes
from .preparing import CannotRun

SETTINGS = """\
[daemon]
workers = 2
control = unix:{folder}/control.sock
max_connections = 40000

[listener:bench]
address = tcp:{port}:interface=127.0.0.1
backlog = 4096
max_connections_per_address = 40000

[mount:/rooms/{{name}}]
app = rooms
history = {history}
max_connections_per_address = 0
requests_per_second = 0
room_messages_per_second = 0
ping_interval = 0
"""

DIGITS = 12
FRAME_BYTES = 2 + DIGITS
"""A message is the number of its publication in its room."""

PUBLISHERS = 10
MASK = bytes(4)
LONGEST_PAUSE_SECONDS = 1.0
"""The bar."""


class Peer:
    """A connection of the clients'. Once it is open, `take` is given its bytes."""

    def __init__(self, load: Load, path: str, protocol: str = "") -> None:
        self.load = load
        self.sock = socket.create_connection(("127.0.0.1", load.port), 30)
        head = REQUEST.format(path=path)
        if protocol:
            head = head.removesuffix("\r\n") + f"Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
        self.sock.sendall(head.encode())
        self.sock.setblocking(False)
        self.is_open = False
        self.data = b""
        load.add(self)

    def readable(self) -> None:
        try:
            data = self.sock.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.lost()
            self.close()
            return
        self.data += data
        if not self.is_open:
            head, end, rest = self.data.partition(b"\r\n\r\n")
            if not end:
                return
            if b" 101 " not in head.partition(b"\r\n")[0]:
                self.lost()
                self.close()
                return
            self.is_open, self.data = True, rest
            self.opened()
        self.take()

    def opened(self) -> None:
        """The server has answered with 101."""

    def take(self) -> None:
        """Read `data`."""

    def lost(self) -> None:
        """The server has ended the connection, or refused it."""
        self.load.closed += 1

    def close(self) -> None:
        self.load.remove(self)
        self.sock.close()


class MemberPeer(Peer):
    """A plain member of a room."""

    def __init__(self, load: Load, room: int) -> None:
        super().__init__(load, f"/rooms/room-{room}")
        self.expected: int | None = None
        self.last = 0.0
        self.pause = 0.0

    def take(self) -> None:
        data, count = self.data, len(self.data) // FRAME_BYTES
        if not count:
            return
        now, load, expected = load_time(), self.load, self.expected
        for at in range(0, count * FRAME_BYTES, FRAME_BYTES):
            if data[at : at + 2] != b"\x81\x0c":
                load.strange += 1
                break
            number = int(data[at + 2 : at + FRAME_BYTES])
            if expected is not None and number != expected:
                if number > expected:
                    load.lost += number - expected
                else:
                    load.doubled += 1
            expected = number + 1
        self.expected = expected
        self.data = data[count * FRAME_BYTES :]
        load.delivered += count
        if self.last and now - self.last > self.pause:
            self.pause = now - self.last
        self.last = now


class PublisherPeer(Peer):
    """Publishes in some rooms, and counts the answers."""

    def __init__(self, load: Load) -> None:
        super().__init__(load, "/rooms/room-0", "rooms.v1.json")
        self.unanswered = 0

    def publish(self, room: int, number: int) -> None:
        text = json.dumps({"type": "publish", "room": f"room-{room}", "data": f"{number:0{DIGITS}}"}).encode()
        frame = bytes([0x81, 0x80 | len(text)]) + MASK + text if len(text) < 126 else b""
        assert frame
        self.sock.send(frame)  # a few hundred bytes a turn: the kernel takes them
        self.unanswered += 1

    def take(self) -> None:
        while len(self.data) >= 2:
            length, at = self.data[1], 2
            if length == 126:
                length, at = int.from_bytes(self.data[2:4], "big"), 4
            if len(self.data) < at + length:
                return
            if json.loads(self.data[at : at + length])["type"] != "published":
                self.load.unpublished += 1
            self.unanswered -= 1
            self.data = self.data[at + length :]


class NewcomerPeer(Peer):
    """Comes, and goes when it was let in."""

    def opened(self) -> None:
        self.load.served += 1
        self.sock.send(b"\x88\x82" + MASK + b"\x03\xe8")
        self.close()

    def take(self) -> None:
        """Nothing: it has gone."""

    def lost(self) -> None:
        self.load.refused += 1


load_time = time.monotonic


class Load:
    """All clients, in one loop."""

    def __init__(self, port: int, options: argparse.Namespace) -> None:
        self.port = port
        self.options = options
        self.closed = self.refused = self.served = self.lost = self.doubled = self.strange = self.unpublished = self.delivered = 0
        self.published = 0
        self._poll = select.epoll()
        self._peers: dict[int, Peer] = {}
        self.members: list[MemberPeer] = []
        self.publishers: list[PublisherPeer] = []
        self._rooms = max(1, options.members // options.room)

    def add(self, peer: Peer) -> None:
        self._peers[peer.sock.fileno()] = peer
        self._poll.register(peer.sock, select.EPOLLIN)

    def remove(self, peer: Peer) -> None:
        self._poll.unregister(peer.sock)
        del self._peers[peer.sock.fileno()]

    def connect(self) -> None:
        for number in range(self.options.members):
            self.members.append(MemberPeer(self, number % self._rooms))
            if number % 50 == 49:
                self._turn(0)
        self.publishers = [PublisherPeer(self) for _ in range(PUBLISHERS)]
        end = load_time() + 120
        while not all(peer.is_open for peer in self._peers.values()):
            self._turn(0.1)
            if self.closed or load_time() > end:
                raise CannotRun(f"{sum(not peer.is_open for peer in self._peers.values())} clients were not let in")

    def _turn(self, seconds: float) -> None:
        for descriptor, _ in self._poll.poll(seconds, 2000):
            peer = self._peers.get(descriptor)
            if peer is not None:
                peer.readable()

    def run(self, goes_on: threading.Event) -> None:
        """Publish, and let newcomers come, until the event is set; then wait for all that is under way."""
        begin, came = load_time(), 0
        while not goes_on.is_set():
            elapsed = load_time() - begin
            while self.published < elapsed * self.options.rate:
                room, number = self.published % self._rooms, self.published // self._rooms
                self.publishers[room % PUBLISHERS].publish(room, number)
                self.published += 1
            while came < elapsed * self.options.newcomers:
                NewcomerPeer(self, f"/rooms/newcomer-{came % 100}")
                came += 1
            self._turn(0.002)
        end = load_time() + 30
        while load_time() < end and (any(each.unanswered for each in self.publishers) or self._missing()):
            self._turn(0.05)
        self.lost += self._missing()

    def _missing(self) -> int:
        """Messages that members have yet to be given."""
        last = [(self.published - room + self._rooms - 1) // self._rooms for room in range(self._rooms)]
        return sum(last[index % self._rooms] - (each.expected or 0) for index, each in enumerate(self.members))

    def forget_pauses(self) -> float:
        """The longest pause so far."""
        longest = max(each.pause for each in self.members)
        for each in self.members:
            each.pause = 0.0
        return longest


class Upgrading:
    """The upgrade, in a thread beside the load."""

    def __init__(self, load: Load, daemon: RunningDaemon, folder: Path, seconds: float) -> None:
        self._load, self._daemon, self._folder, self._seconds = load, daemon, folder, seconds
        self.over = threading.Event()
        self.outcome: Outcome | None = None
        self.took = self.pause_before = 0.0
        self.bytes_before, self.most_bytes = 0, 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            time.sleep(self._seconds)
            self.pause_before = self._load.forget_pauses()
            self.bytes_before = self._memory()
            began = load_time()
            self.outcome = ask(self._folder / "control.sock", "upgrade", {}, lambda line: None)
            while "generation 1 has ended" not in self._daemon.log.read_text(errors="replace") and load_time() < began + 120:
                self.most_bytes = max(self.most_bytes, self._memory())
                time.sleep(0.2)
            self.took = load_time() - began
            time.sleep(self._seconds)
        finally:
            self.over.set()

    def _memory(self) -> int:
        """Of all processes of the daemon."""
        total = 0
        for pid in (self._daemon.process.pid, *self._daemon.children().values()):
            try:
                total += proportional_bytes(pid)
            except OSError:  # it has ended meanwhile
                continue
        return total

    def join(self) -> None:
        self._thread.join()


def report(load: Load, upgrading: Upgrading, daemon: RunningDaemon) -> bool:
    """Print the figures. Whether the bar is reached."""
    pause = load.forget_pauses()
    outcome, log = upgrading.outcome, daemon.log.read_text(errors="replace")
    print(f"load average {os.getloadavg()[0]:.1f}")
    for line in log.splitlines():
        if "went along" in line or "has ended" in line or "drained" in line:
            print(line)
    print(f"upgrade: status {outcome.status if outcome else None}, {upgrading.took:.1f} s until the former generation had ended")
    print(f"{load.published} publications, {load.unpublished} without an acknowledgement; {load.delivered} deliveries")
    print(f"members: {load.closed} closed, {load.strange} given strange frames; messages: {load.lost} lost, {load.doubled} doubled")
    print(f"newcomers: {load.served} let in, {load.refused} refused")
    print(f"longest pause of a member: {pause:.3f} s ({upgrading.pause_before:.3f} s before the upgrade)")
    print(f"memory of all processes: {upgrading.bytes_before >> 20} MiB before, {upgrading.most_bytes >> 20} MiB at most meanwhile")
    faults = load.closed + load.lost + load.doubled + load.strange + load.refused + load.unpublished
    return outcome is not None and outcome.status == 0 and not faults and pause < LONGEST_PAUSE_SECONDS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=5000)
    parser.add_argument("--room", type=int, default=50, help="members of one room")
    parser.add_argument("--rate", type=float, default=1000.0, help="publications a second over all rooms")
    parser.add_argument("--newcomers", type=float, default=100.0, help="new connections a second")
    parser.add_argument("--history", type=int, default=100, help="messages that a room keeps")
    parser.add_argument("--seconds", type=float, default=5.0, help="load before and after the upgrade")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        daemon = RunningDaemon(folder, port, SETTINGS.format(folder=folder, port=port, history=options.history))
        try:
            daemon.wait(workers=2)
            load = Load(port, options)
            load.connect()
            upgrading = Upgrading(load, daemon, folder, options.seconds)
            load.run(upgrading.over)
            upgrading.join()
            return 0 if report(load, upgrading, daemon) else 1
        except CannotRun as error:
            print(error, file=sys.stderr)
            print(daemon.log.read_text(errors="replace")[-2000:], file=sys.stderr)
            return 2
        finally:
            daemon.close()


if __name__ == "__main__":
    sys.exit(main())
