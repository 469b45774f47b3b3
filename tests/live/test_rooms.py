"""Rooms of a real daemon: browsers' plain clients, the subprotocol, coming back, slow members, and the program's own messages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.typing import Subprotocol

from tests.support.daemon import ROOT, SECONDS, Daemon, environment

pytestmark = pytest.mark.live

ROOMS = """
[listener:web]
address = tcp:0:interface=127.0.0.1

[mount:/rooms/{room}]
app = rooms
history = 100
latest = on

[mount:/small/{room}]
app = rooms
max_members = 2
send_backlog = 64KiB

[mount:/hub]
app = rooms
publish = server
"""

V1 = [Subprotocol("rooms.v1.json")]


def ask(client: ClientConnection, type: str, **fields: Any) -> dict[str, Any]:
    """A request; its answer, which is the next message of the kind that is no event."""
    client.send(json.dumps({"type": type, "id": 1, **fields}))
    while True:
        event: dict[str, Any] = json.loads(client.recv(SECONDS))
        if event.get("id") == 1:
            return event


def test_plain_clients_and_the_subprotocol(tmp_path: Path) -> None:
    with Daemon(tmp_path, ROOMS) as daemon, daemon.connect("/rooms/lobby") as a, daemon.connect("/rooms/lobby") as b:
        with daemon.connect("/rooms/lobby", subprotocols=V1) as c:
            assert c.subprotocol == "rooms.v1.json"
            answer = ask(c, "subscribe", presence=True)
            assert answer["count"] == 3
            a.send("grüße")
            b.send(b"\x00\xff")
            assert [a.recv(SECONDS), b.recv(SECONDS)] == [b"\x00\xff", "grüße"]
            events = [json.loads(c.recv(SECONDS)) for _ in range(2)]
            assert {event["offset"] for event in events} == {1, 2}
            assert ask(c, "publish", data="from c")["offset"] == 3
            assert a.recv(SECONDS) == b.recv(SECONDS) == "from c"
        with daemon.connect("/rooms/lobby") as late:
            assert late.recv(SECONDS) == "from c"


def test_one_who_comes_back_is_given_what_it_missed(tmp_path: Path) -> None:
    with Daemon(tmp_path, ROOMS) as daemon, daemon.connect("/rooms/lobby") as a:
        with daemon.connect("/rooms/lobby", subprotocols=V1) as c:
            ask(c, "subscribe")
            a.send("1")
            seen = json.loads(c.recv(SECONDS))
        for text in "234":
            a.send(text)
        with daemon.connect("/rooms/lobby", subprotocols=V1) as c:
            while ask(c, "history")["offset"] < 4:
                pass
            answer = ask(c, "subscribe", since={"epoch": seen["epoch"], "offset": 1})
            assert [message["data"] for message in answer["messages"]] == ["2", "3", "4"]
            a.send("5")
            assert json.loads(c.recv(SECONDS))["offset"] == 5
        with daemon.connect(f"/rooms/lobby?since={seen['epoch']}:3") as plain:
            a.send("6")
            assert [plain.recv(SECONDS) for _ in range(3)] == ["4", "5", "6"]
        with daemon.connect("/rooms/lobby?since=other:3") as plain, pytest.raises(ConnectionClosed) as caught:
            plain.recv(SECONDS)
        assert caught.value.rcvd is not None and (caught.value.rcvd.code, caught.value.rcvd.reason) == (4410, "gap")


def test_a_full_room_and_a_path_without_a_room(tmp_path: Path) -> None:
    with Daemon(tmp_path, ROOMS) as daemon, daemon.connect("/small/x"), daemon.connect("/small/x"):
        for path, expected in (("/small/x", (1013, "room_full")), ("/hub", (1008, "subprotocol_required"))):
            with daemon.connect(path) as late, pytest.raises(ConnectionClosed) as caught:
                late.recv(SECONDS)
            assert caught.value.rcvd is not None and (caught.value.rcvd.code, caught.value.rcvd.reason) == expected


def test_a_member_that_does_not_read_is_closed_and_holds_up_nobody(tmp_path: Path) -> None:
    text = ROOMS.replace("latest = on\n", "latest = on\nclose_timeout = 100ms\ncompression = off\n")
    message = "x" * 100_000
    with (
        Daemon(tmp_path, text) as daemon,
        daemon.connect("/rooms/lobby") as a,
        daemon.connect("/rooms/lobby") as quick,
        daemon.connect("/rooms/lobby", max_queue=1, close_timeout=0.1),  # its library stops reading after one message
    ):
        for number in range(200):
            a.send(message)
            assert quick.recv(SECONDS) == message, number
        daemon.output.wait_for("by server 1013")
        a.send("still here")
        assert quick.recv(SECONDS) == "still here"


HOOKS = """
from wsdaemon.apps.rooms import Refused

class Policy:
    async def enter(self, visitor, room):
        return room != "closed"

    async def publish(self, visitor, room, message):
        if message == "bad":
            raise Refused("be polite")
        return message.upper()
"""


def test_a_policy(tmp_path: Path) -> None:
    (tmp_path / "hooks.py").write_text(HOOKS)
    text = ROOMS.replace("latest = on\n", "policy = hooks:Policy\n")
    with Daemon(tmp_path, text) as daemon, daemon.connect("/rooms/x") as a, daemon.connect("/rooms/x", subprotocols=V1) as c:
        ask(c, "subscribe")
        a.send("hello")
        assert json.loads(c.recv(SECONDS))["data"] == "HELLO"
        assert ask(c, "subscribe", room="closed")["code"] == "forbidden"
        a.send("bad")
        with pytest.raises(ConnectionClosed, match="be polite"):
            a.recv(SECONDS)


PROGRAM = """
import threading
from wsdaemon import WebSocketServer
from websockets.sync.client import connect

server = WebSocketServer(port=0)
server.mount("/rooms/{room}", "rooms", publish="server", history=10)
try:
    server.rooms
except RuntimeError as error:
    print(error)
with server, connect(f"ws://127.0.0.1:{server.port}/rooms/lobby", proxy=None) as client:
    while not server.rooms["lobby"].presence().result(30).count:
        pass
    thread = threading.Thread(target=lambda: print(server.rooms["lobby"].publish("hello").result(30).offset))
    thread.start()
    thread.join()
    print(client.recv(30))
    server.rooms_at("/rooms/{room}")["lobby"].publish(b"bytes")
    print(client.recv(30))
    position = server.rooms["lobby"].position().result(30)
    print(position.offset)
"""


def test_the_program_publishes_from_any_thread(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-W", "error", "program.py"], cwd=tmp_path, env=environment(tmp_path, {"PYTHONPATH": str(ROOT)}),
        capture_output=True, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if not re.match(r"\d{4}-", line)]
    assert lines == ["the server does not run", "1", "hello", "b'bytes'", "2"]
