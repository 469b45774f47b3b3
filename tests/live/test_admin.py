"""The admin pages of a real daemon: health, metrics, publishing from outside, and all of these while it starts and drains."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from tests.support.daemon import ECHO, LISTENING, ROOT, SECONDS, Daemon, Program, command, environment, program, run, write_settings
from wsdaemon import WebSocketServer

pytestmark = pytest.mark.live

TOKEN = "0123456789abcdef0123456789abcdef"

ADMIN = """
[admin]
address = tcp:0:interface=127.0.0.1
token_file = token
"""

ROOMS = """
[listener:web]
address = tcp:0:interface=127.0.0.1

[mount:/rooms/{room}]
app = rooms
history = 100
max_message = 64KiB

[mount:/members]
app = echo
auth = site

[auth:site]
kind = ticket
"""

SLOW_TO_START = """
import asyncio

class App:
    async def start(self):
        reader, writer = await asyncio.open_unix_connection("go.sock")
        await reader.read()
        writer.close()

    async def stop(self):
        pass

    def open(self, connection, handshake):
        raise NotImplementedError
"""

PORT = re.compile(r"admin pages on tcp:\S+ \(port (\d+)\)$")


class UnixConnection(http.client.HTTPConnection):
    """HTTP on a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SECONDS)
        self.sock.connect(str(self._path))


class Operator:
    """A client of the admin pages, on one connection."""

    def __init__(self, daemon: Program, token: str | None = TOKEN, path: Path | None = None) -> None:
        if path is None:
            [port] = daemon.output.wait_for(PORT)
            self.url = f"http://127.0.0.1:{port[1]}"
            self.http = http.client.HTTPConnection("127.0.0.1", int(port[1]), timeout=SECONDS)
        else:
            self.http = UnixConnection(path)
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.http.close()

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        self.http.request(method, path, body, {**self._headers, **{name.replace("_", "-"): value for name, value in headers.items()}})
        with self.http.getresponse() as response:
            return response.status, response.read()

    def get(self, path: str) -> tuple[int, bytes]:
        return self.ask("GET", path)

    def json(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Any:
        status, answer = self.ask(method, path, body, **headers)
        assert status == 200, answer
        return json.loads(answer)

    def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        status, text = self.get("/metrics")
        assert status == 200
        families = text_string_to_metric_families(text.decode())
        return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics()[f"wsdaemon_{name}", frozenset(labels.items())]


def write_token(folder: Path, token: str = TOKEN) -> None:
    (folder / "token").write_text(token + "\n")
    (folder / "token").chmod(0o600)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    write_token(tmp_path)
    with Daemon(tmp_path, ROOMS + ADMIN) as daemon:
        yield daemon


@pytest.fixture
def operator(daemon: Daemon) -> Iterator[Operator]:
    with Operator(daemon) as operator:
        yield operator


def test_health_and_tokens(daemon: Daemon) -> None:
    with Operator(daemon, None) as anybody, Operator(daemon) as operator, Operator(daemon, "another-token-entirely") as other:
        assert anybody.get("/livez") == (200, b"live\n")
        assert anybody.get("/readyz") == (200, b"ready\n")
        assert anybody.get("/openapi.json")[0] == 200
        for path in ("/metrics", "/status", "/api/rooms"):
            assert anybody.get(path)[0] == other.get(path)[0] == 401
            assert operator.get(path)[0] == 200
        status = operator.json("GET", "/status")
        assert status["state"] == "ready" and status["pid"] == daemon.pid
        assert [mount["path"] for mount in status["mounts"]] == ["/rooms/{room}", "/members"]
        write_token(daemon.folder, "another-token-entirely")
        daemon.tell(signal.SIGHUP)
        daemon.output.wait_for(r"/token: read again$")
        assert operator.get("/status")[0] == 401
        assert other.get("/status")[0] == 200


def test_what_connections_do_is_counted(tmp_path: Path) -> None:
    write_token(tmp_path)
    text = ECHO + "ping_interval = 20ms\nping_timeout = 10ms\n[listener:other]\naddress = tcp:0:interface=127.0.0.1\n" + ADMIN
    with Daemon(tmp_path, text) as daemon, Operator(daemon) as operator:
        place = {"mount": "/echo", "listener": "web"}
        assert operator.metric("connections", **place) == operator.metric("connections", mount="/echo", listener="other") == 0
        with daemon.connect() as client:
            client.send("hello")
            assert client.recv(SECONDS) == "hello"
            found = operator.metrics()
            for name, value in (("connections", 1), ("received_messages_total", 1), ("sent_messages_total", 1), ("backlog_bytes", 0)):
                assert found[f"wsdaemon_{name}", frozenset(place.items())] == value
            client.close(3001)
        daemon.output.wait_for(r"3001")
        found = operator.metrics()
        assert found["wsdaemon_connections", frozenset(place.items())] == 0
        assert found["wsdaemon_connections_opened_total", frozenset(place.items())] == 1
        assert found["wsdaemon_received_messages_total", frozenset(place.items())] == 1
        assert found["wsdaemon_connections_closed_total", frozenset({**place, "code": "3xxx", "by": "client"}.items())] == 1
        with pytest.raises(InvalidStatus, match="404"), daemon.connect("/nowhere"):
            """No client is let in there."""
        assert operator.metric("refused_total", listener="web", mount="", reason="no_mount") == 1
        assert operator.metric("accepted_total", listener="web") == 2
        with daemon.connect() as client:
            for _ in range(1000):  # each look takes a while, and a ping goes out every 20 ms
                if operator.metric("ping_round_trip_seconds_count") > 0 and operator.metric("loop_latency_seconds_count") > 0:
                    break
            else:
                raise AssertionError("no ping was timed")


def wait_for_members(operator: Operator, count: int, room: str = "lobby") -> Any:
    """The members, once the room has so many: a client is one a moment after its handshake."""
    for _ in range(1000):
        found = operator.json("GET", f"/api/rooms/{room}/members")
        if found["count"] == count:
            return found
    raise AssertionError(found)


def test_publishing_from_outside(daemon: Daemon, operator: Operator) -> None:
    with daemon.connect("/rooms/lobby") as ada, daemon.connect("/rooms/lobby") as bob:
        publish(operator, ada, bob)
    status, _ = operator.ask("POST", "/api/rooms/lobby/messages", b"x" * (64 * 1024 + 1))
    assert status == 413


def publish(operator: Operator, *clients: ClientConnection) -> None:
    wait_for_members(operator, 2)
    first = operator.json("POST", "/api/rooms/lobby/messages", b"hello", Content_Type="text/plain", Idempotency_Key="k")
    assert (first["offset"], first["members"]) == (1, 2)
    assert operator.json("POST", "/api/rooms/lobby/messages", b"hello", Content_Type="text/plain", Idempotency_Key="k")["duplicate"]
    wanted = {"messages": [{"room": "lobby", "data": "AAH/", "encoding": "base64"}, {"room": "lobby", "data": "last"}]}
    assert [one["offset"] for one in operator.json("POST", "/api/publish", json.dumps(wanted).encode())["results"]] == [2, 3]
    for client in clients:
        assert [client.recv(SECONDS) for _ in range(3)] == ["hello", b"\x00\x01\xff", "last"]
    history = operator.json("GET", f"/api/rooms/lobby/messages?since={first['epoch']}:1")
    assert [message["data"] for message in history["messages"]] == ["AAH/", "last"]
    assert [room["room"] for room in operator.json("GET", "/api/rooms")["rooms"]] == ["lobby"]
    assert operator.metric("rooms", mount="/rooms/{room}") == 1
    assert operator.metric("room_members", mount="/rooms/{room}") == 2


def test_a_member_is_sent_away(daemon: Daemon, operator: Operator) -> None:
    with daemon.connect("/rooms/lobby") as client:
        [member] = wait_for_members(operator, 1)["members"]
        operator.json("DELETE", f"/api/rooms/lobby/members/{member['id']}?code=4001&reason=spam")
        with pytest.raises(ConnectionClosed):
            client.recv(SECONDS)
    assert (client.close_code, client.close_reason) == (4001, "spam")
    wait_for_members(operator, 0)
    assert operator.ask("DELETE", f"/api/rooms/lobby/members/{member['id']}")[0] == 404


def test_connections_are_listed_and_closed(daemon: Daemon, operator: Operator) -> None:
    ticket = operator.json("POST", "/api/tickets/site", b'{"identity":"ada"}')["ticket"]
    with daemon.connect("/rooms/lobby") as bob, daemon.connect(f"/members?ticket={ticket}") as ada:
        ada.send("x")
        assert ada.recv(SECONDS) == "x"
        wait_for_members(operator, 1)
        first = operator.json("GET", "/api/connections?limit=1")
        assert first["count"] == 2 and [one["path"] for one in first["connections"]] == ["/rooms/lobby"]
        rest = operator.json("GET", f"/api/connections?after={first['after']}")
        [found] = rest["connections"]
        assert "after" not in rest
        assert (found["user"], found["mount"], found["messages_in"], found["address"]) == ("ada", "/members", 1, "127.0.0.1")
        assert ticket not in json.dumps(rest)
        assert operator.json("GET", "/api/connections?user=ada")["connections"][0]["id"] == found["id"]
        assert operator.json("GET", "/api/connections?user=bob") == {"connections": [], "count": 0}
        operator.json("DELETE", f"/api/connections/{found['id']}?code=4001&reason=spam")
        with pytest.raises(ConnectionClosed):
            ada.recv(SECONDS)
        assert (ada.close_code, ada.close_reason) == (4001, "spam")
        assert operator.ask("DELETE", f"/api/connections/{found['id']}")[0] == 404
        operator.json("POST", "/api/rooms/lobby/messages", b"still here", Content_Type="text/plain")
        assert bob.recv(SECONDS) == "still here"


def test_a_ticket_opens_one_connection(daemon: Daemon, operator: Operator) -> None:
    made = operator.json("POST", "/api/tickets/site", b'{"identity":"ada"}')
    with daemon.connect(f"/members?ticket={made['ticket']}") as client:
        client.send("x")
        assert client.recv(SECONDS) == "x"
    with pytest.raises(InvalidStatus, match="401"), daemon.connect(f"/members?ticket={made['ticket']}"):
        """It was used."""


def test_while_it_starts_it_is_not_ready(tmp_path: Path) -> None:
    write_token(tmp_path)
    (tmp_path / "slow.py").write_text(SLOW_TO_START)
    with socket.socket(socket.AF_UNIX) as gate:
        gate.bind(str(tmp_path / "go.sock"))
        gate.listen()
        gate.settimeout(SECONDS)
        with Program(command(write_settings(tmp_path, ECHO + "[mount:/slow]\napp = slow:App\n" + ADMIN)), tmp_path) as daemon:
            held, _ = gate.accept()
            with held, Operator(daemon, None) as operator:
                assert operator.get("/readyz") == (503, b"starting\n")
                assert operator.get("/livez") == (200, b"live\n")
                held.close()
                daemon.output.wait_for(LISTENING)
                assert operator.get("/readyz") == (200, b"ready\n")
            assert daemon.stop() == 0


def test_while_it_drains_it_is_not_ready(tmp_path: Path) -> None:
    write_token(tmp_path)
    with Daemon(tmp_path, ECHO + "[daemon]\ndrain_timeout = 60s\n" + ADMIN) as daemon, Operator(daemon, None) as operator:
        # A client that takes no part in the closing handshake keeps the drain waiting.
        with socket.create_connection(("127.0.0.1", daemon.port), SECONDS) as client:
            client.sendall(
                b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            assert client.recv(1000).startswith(b"HTTP/1.1 101")
            daemon.tell(signal.SIGTERM)
            daemon.output.wait_for("1 connection to close")
            assert operator.get("/readyz") == (503, b"draining\n")
            assert operator.get("/livez") == (200, b"live\n")
        assert daemon.wait() == 0


def test_a_unix_socket_needs_no_token(tmp_path: Path) -> None:
    text = ECHO + "[admin]\naddress = unix:./admin.sock:mode=600\n"
    with Daemon(tmp_path, text) as daemon:
        daemon.output.wait_for("admin pages on unix:")
        with Operator(daemon, None, tmp_path / "admin.sock") as operator:
            assert operator.metric("ready") == 1
        assert (tmp_path / "admin.sock").stat().st_mode & 0o777 == 0o600
        assert daemon.stop() == 0
        assert not (tmp_path / "admin.sock").exists()


def test_a_server_in_python_has_them_too(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    server = WebSocketServer(0, admin={"address": f"unix:{path}"})
    server.mount("/", "echo")
    with server, contextlib.closing(UnixConnection(path)) as http:
        http.request("GET", "/readyz")
        with http.getresponse() as response:
            assert (response.status, response.read()) == (200, b"ready\n")
    assert not path.exists()


def test_a_port_that_is_taken_ends_the_start(tmp_path: Path) -> None:
    write_token(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        done = run(tmp_path, ECHO + ADMIN.replace("tcp:0:interface=127.0.0.1", address))
    assert done.returncode == 1
    assert f"[admin] address = {address}: the port is in use by another process" in done.stdout + done.stderr


def test_without_the_section_its_code_is_not_loaded(tmp_path: Path) -> None:
    code = "import sys, wsdaemon.tap, wsdaemon.daemon.daemon\nprint([name for name in sys.modules if name.startswith(WHAT)])"
    what = ("prometheus_client", "wsdaemon.ops.admin", "wsdaemon.daemon.admin")
    done = subprocess.run(
        [sys.executable, "-c", f"WHAT = {what}\n{code}"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=SECONDS
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("phase", ["coverage", "fuzzing", "stateful"])
def test_the_description_keeps_its_word(daemon: Daemon, operator: Operator, phase: str) -> None:
    """schemathesis asks what the description allows, and what it does not, and compares the answers with it."""
    schemathesis = program("schemathesis", "pip install schemathesis, in an environment of its own", "WSDAEMON_SCHEMATHESIS")
    # A request line that is too long is refused before anybody has looked at a parameter.
    (daemon.folder / "schemathesis.toml").write_text(
        "[checks]\nnegative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 408, 409, 413, 414, 415, 431, 503]\n"
    )
    line = [schemathesis, "--config-file=schemathesis.toml", "run", f"{operator.url}/openapi.json"]
    line += [f"--header=Authorization: Bearer {TOKEN}"]
    line += [f"--phases={phase}", "--max-examples=20", "--generation-deterministic", "--no-shrink"]
    done = subprocess.run(
        line, cwd=daemon.folder, env=environment(daemon.folder), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=5 * SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    assert daemon.running
