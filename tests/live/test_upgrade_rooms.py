"""Members of rooms go along in an upgrade, under clients that we did not write: no message is lost, doubled or out of order."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.live.test_upgrade import upgrade
from tests.support.daemon import SECONDS, Daemon

pytestmark = pytest.mark.live

SETTINGS = """
[daemon]
workers = 2
control = unix:control.sock

[listener:web]
address = tcp:0:interface=127.0.0.1

[mount:/rooms/{room}]
app = rooms
requests_per_second = 0
history = 0
"""

JSON = [Subprotocol("rooms.v1.json")]


class LiveMember:
    """A member of a room: plain, or of the subprotocol with presence. A thread reads all that it is told."""

    def __init__(self, stack: ExitStack, daemon: Daemon, room: str, plain: bool) -> None:
        self.room = room
        self.socket = stack.enter_context(daemon.connect(f"/rooms/{room}", subprotocols=None if plain else JSON))
        self.events: list[dict[str, Any]] = []
        self.ended: ConnectionClosed | None = None
        self.changed = threading.Condition()
        if not plain:
            self.socket.send(json.dumps({"type": "subscribe", "presence": True, "id": "subscribe"}))
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        stack.callback(self.close)
        if not plain:
            self.wait(lambda: any(event.get("id") == "subscribe" for event in self.events))

    def _read(self) -> None:
        try:
            while True:
                message = self.socket.recv()
                event = json.loads(message) if self.socket.subprotocol else {"type": "message", "data": message}
                with self.changed:
                    self.events.append(event)
                    self.changed.notify_all()
        except ConnectionClosed as ended:
            with self.changed:
                self.ended = ended
                self.changed.notify_all()

    def wait(self, condition: Any) -> None:
        """Until `condition()` holds, which needs what this member is told."""
        with self.changed:
            assert self.changed.wait_for(lambda: condition() or self.ended is not None, SECONDS)
            assert self.ended is None, self.ended

    @property
    def data(self) -> list[str]:
        return [event["data"] for event in self.events if event["type"] == "message"]

    def told(self, kind: str) -> int:
        return sum(event["type"] == kind for event in self.events)

    def close(self) -> None:
        self.socket.close()
        self._thread.join(SECONDS)


class Publishing:
    """Publishes numbers in each of the rooms, one after the other, until stop(), and waits for each acknowledgement."""

    def __init__(self, stack: ExitStack, daemon: Daemon, rooms: list[str]) -> None:
        self._socket = stack.enter_context(daemon.connect("/rooms/none", subprotocols=JSON))
        self._rooms, self._stopping = rooms, threading.Event()
        self.count = 0
        self.failure: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._publish)
        self._thread.start()
        stack.callback(self._stopping.set)

    def _publish(self) -> None:
        try:
            while not self._stopping.is_set():
                for room in self._rooms:
                    self._socket.send(json.dumps({"type": "publish", "room": room, "data": str(self.count)}))
                    answer = json.loads(self._socket.recv(SECONDS))
                    assert (answer["type"], answer["offset"]) == ("published", self.count + 1), answer
                with self._changed:
                    self.count += 1
                    self._changed.notify_all()
                self._stopping.wait(0.005)
        except BaseException as error:
            with self._changed:
                self.failure = error
                self._changed.notify_all()

    def publish(self, more: int) -> None:
        """Until so many more are published in each room."""
        with self._changed:
            goal = self.count + more
            assert self._changed.wait_for(lambda: self.count >= goal or self.failure is not None, SECONDS)
            assert self.failure is None, self.failure

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(2 * SECONDS)
        assert self.failure is None, self.failure


def test_members_of_rooms_go_along_and_notice_nothing(tmp_path: Path) -> None:
    """In rooms without a history: what is published while a member is on its way is known nevertheless."""
    rooms = ["lobby", "hall"]
    with Daemon(tmp_path, SETTINGS) as daemon:
        with ExitStack() as stack:
            members = [LiveMember(stack, daemon, rooms[number % 2], plain=number % 4 < 2) for number in range(24)]
            watching = [member for member in members if member.socket.subprotocol]
            for member in watching:  # all of the room are known to it, itself included
                member.wait(lambda member=member: known(member) == sum(each.room == member.room for each in members))
            publishing = Publishing(stack, daemon, rooms)
            publishing.publish(20)
            changes = [member.told("joined") for member in watching]
            assert upgrade(tmp_path).status == 0
            [ended] = daemon.output.wait_for(r"generation 1 has ended: (\d+) connections? went along, (\d+) drained$")
            assert (ended[1], ended[2]) == ("25", "0")
            publishing.publish(20)
            publishing.stop()
            members[0].socket.send("from a plain member")
            numbers = [str(number) for number in range(publishing.count)]
            for member in members:
                expected = numbers if member.room != "lobby" or member is members[0] else [*numbers, "from a plain member"]
                member.wait(lambda member=member, expected=expected: len(member.data) >= len(expected))
                assert member.data == expected
            assert [member.told("joined") for member in watching] == changes
            assert not any(member.told("left") or member.told("gap") for member in watching)
            assert [member.ended for member in members] == [None] * len(members)
        assert daemon.stop() == 0


def known(member: LiveMember) -> int:
    """Members that a client of the subprotocol knows of."""
    answer = next(event for event in member.events if event.get("id") == "subscribe")
    joined = [who for event in member.events if event["type"] == "joined" for who in event["members"]]
    return len(answer["present"]) + len(joined)
