"""Two daemons on one Redis: rooms, presence, tickets, and their ends."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.typing import Subprotocol

from tests.support.daemon import SECONDS, Daemon, run
from tests.support.redis_servers import EVERYSEC, SPEED, Server, running, wait_until

pytestmark = pytest.mark.live

TOKEN = "a-token-of-the-tests"

SHARED = """
[listener:web]
address = tcp:0:interface=127.0.0.1

[mount:/rooms/{room}]
app = rooms
history = 100

[mount:/private/{room}]
app = rooms
auth = pages

[auth:pages]
kind = ticket

[admin]
address = tcp:0:interface=127.0.0.1
token_file = token
"""

V1 = [Subprotocol("rooms.v1.json")]


def start(folder: Path, server: Server, more: str = "") -> Daemon:
    folder.mkdir()
    (folder / "token").write_text(TOKEN + "\n")
    (folder / "password").write_text(f"{server.password or 'none'}\n")
    return Daemon(folder, f"{SHARED}\n[broker]\nurl = {server.url}\ntimeout = 1s\n{more}\n")


def ask(client: ClientConnection, type: str, **fields: Any) -> dict[str, Any]:
    client.send(json.dumps({"type": type, "id": 1, **fields}))
    return next(event for event in events(client) if event.get("id") == 1)


def events(client: ClientConnection) -> Iterator[dict[str, Any]]:
    while True:
        yield json.loads(client.recv(SECONDS))


def until_members(client: ClientConnection, count: int) -> None:
    """A plain client has joined its room a moment after its opening handshake, and hears of it only by the room's messages."""
    while ask(client, "presence")["count"] != count:
        continue


def page(daemon: Daemon, path: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
    """An answer of the admin pages."""
    [match] = daemon.output.wait_for(r"admin pages on \S+ \(port (\d+)\)")
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    try:
        request = urllib.request.Request(f"http://127.0.0.1:{match[1]}{path}", data, headers)
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path / "redis", EVERYSEC) as server:
        yield server


def test_two_daemons_on_one_redis(tmp_path: Path, server: Server) -> None:
    """They share rooms, presence and tickets; then Redis stops for a while, and then it is killed and comes back."""
    with start(tmp_path / "one", server, "readyz = on") as one, start(tmp_path / "two", server, "when_lost = close") as two:
        share_tickets(one, two, server)
        with one.connect("/rooms/lobby", subprotocols=V1) as a, two.connect("/rooms/lobby") as b:
            share_a_room(one, a, b)
            server.pause()
            assert ask(a, "publish", data="3")["code"] == "unavailable"
            server.go_on()
            while ask(a, "publish", data="4")["type"] == "error":
                continue
            # The first may have been published too: its answer said that it is not known.
            assert next(text for text in iter(b.recv, None) if text != "3") == "4"
            server.kill()
            answer = ask(a, "publish", data="5")
            assert (answer["type"], answer["code"]) == ("error", "unavailable")
            assert (page(one, "/readyz")[0], page(two, "/readyz")[0]) == (503, 200)
            with pytest.raises(ConnectionClosed) as caught:
                b.recv(SECONDS)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1013
            server.start()
            gap = next(event for event in events(a) if event["type"] == "gap")
            assert gap["room"] == "lobby"
            wait_until(lambda: page(one, "/readyz")[0] == 200, "the daemon is ready again")
            assert ask(a, "publish", data="6")["epoch"] == gap["epoch"]
        assert "4410" not in one.log
        assert 'wsdaemon_link_losses_total{mount="/rooms/{room}"} 1.0' in page(one, "/metrics")[1]


def share_a_room(one: Daemon, a: ClientConnection, b: ClientConnection) -> None:
    until_members(a, 1)
    answer = ask(a, "subscribe", presence=True)
    assert answer["count"] == 2
    assert ask(a, "publish", data="1")["offset"] == 1
    assert b.recv(SECONDS) == "1"
    b.send("2")
    assert next(event for event in events(a) if event["type"] == "message")["data"] == "2"
    with one.connect("/rooms/lobby", subprotocols=V1) as c:
        assert [each["data"] for each in ask(c, "history", limit=10)["messages"]] == ["1", "2"]
        ask(c, "subscribe")
        # A member that comes and goes between two notices is not told of at all.
        assert next(event["type"] for event in events(a)) == "joined"
    assert next(event["type"] for event in events(a)) == "left"


def share_tickets(one: Daemon, two: Daemon, server: Server) -> None:
    status, body = page(one, "/api/tickets/pages", {"identity": "ada"})
    assert status == 200, body
    ticket = json.loads(body)["ticket"]
    with two.connect(f"/private/x?ticket={ticket}"):
        pass
    with pytest.raises(InvalidStatus, match="401"):
        one.connect(f"/private/x?ticket={ticket}")
    assert 'wsdaemon_link_connected{mount="/rooms/{room}"} 1.0' in page(two, "/metrics")[1]
    with server.client() as client:
        assert not [key for key in client.keys("*") if ticket.encode() in key]


def test_redis_absent_at_the_start(tmp_path: Path) -> None:
    server = Server(tmp_path / "redis", SPEED)
    with start(tmp_path / "one", server) as one:
        assert "Redis is away, so rooms answer unavailable" in one.log
        with one.connect("/rooms/lobby", subprotocols=V1) as a:
            assert ask(a, "subscribe")["code"] == "unavailable"
            try:
                server.start()
                one.output.wait_for("connected to Redis")
                assert ask(a, "subscribe")["type"] == "subscribed"
            finally:
                server.kill()


def test_a_wrong_password_ends_the_start(tmp_path: Path) -> None:
    with running(tmp_path / "redis", (*SPEED, "--requirepass", "right")) as server:
        (tmp_path / "token").write_text(TOKEN + "\n")
        (tmp_path / "password").write_text("hunter2\n")
        text = f"{SHARED}\n[broker]\nurl = {server.url}\npassword_file = password\n"
        done = run(tmp_path, text)
        assert done.returncode == 1
        assert f"[broker] password_file: 127.0.0.1:{server.port} refuses the user or the password" in done.stdout + done.stderr
        assert "hunter2" not in done.stdout + done.stderr
