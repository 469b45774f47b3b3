"""`app = proxy` in a real daemon, in front of servers of the package websockets."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import pytest
from trustme import CA
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from tests.support.daemon import SECONDS, Daemon, run

pytestmark = pytest.mark.live

HEAD = """
[listener:web]
address = tcp:0:interface=127.0.0.1
"""


def mount(path: str, *lines: str) -> str:
    return "\n".join([f"[mount:{path}]", "app = proxy", *lines, ""])


class Backend:
    """A WebSocket server on a thread of its own: it says what it was asked, then echoes, and keeps the ends of its connections."""

    def __init__(self, name: str = "", **options: Any) -> None:
        self.name = name
        self.port = 0
        self.ends: list[tuple[int | None, str | None]] = []
        self.open = 0
        self._options = options
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._started = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with serve(
            self._serve, "127.0.0.1", 0, subprotocols=[Subprotocol("chat")], select_subprotocol=self._choose, max_size=None,
            process_request=self._refuse, ping_interval=None, **self._options,
        ) as server:  # fmt: skip
            self.port = next(iter(server.sockets)).getsockname()[1]
            self._started.set()
            await self._stop.wait()

    def _choose(self, connection: ServerConnection, offered: Any) -> Subprotocol | None:
        return Subprotocol("chat") if "chat" in offered else None

    def _refuse(self, connection: ServerConnection, request: Any) -> Any:
        return connection.respond(HTTPStatus.FORBIDDEN, "not you\n") if "forbidden" in request.path else None

    async def _serve(self, connection: ServerConnection) -> None:
        with self._changed:
            self.open += 1
            self._changed.notify_all()
        request = connection.request
        assert request is not None
        try:
            await connection.send(json.dumps([self.name, request.path, list(request.headers.raw_items())]))
            async for message in connection:
                if message == "close":
                    await connection.close(4002, "as you wish")
                elif message == "crash":
                    connection.transport.abort()
                else:
                    await connection.send(message)
        except ConnectionClosed:
            pass
        with self._changed:
            self.open -= 1
            self.ends.append((connection.close_code, connection.close_reason))
            self._changed.notify_all()

    def until(self, condition: Any) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, SECONDS), (self.open, self.ends)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(SECONDS)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(SECONDS)


def hello(client: Any) -> tuple[str, str, list[list[str]]]:
    name, path, headers = json.loads(client.recv(SECONDS))
    return name, path, headers


def test_messages_headers_paths_and_close_codes(tmp_path: Path) -> None:
    with Backend() as backend:
        where = f"ws://127.0.0.1:{backend.port}"
        text = HEAD + mount("/p", f"target = {where}/base?x=1") + mount("/r/{rest...}", f"target = {where}/base")
        with Daemon(tmp_path, text) as daemon:
            given = [("X-Forwarded-For", "203.0.113.9"), ("X_Forwarded_For", "203.0.113.9"), ("Cookie", "a=b"), ("X-Mine", "1")]
            offered = [Subprotocol("other"), Subprotocol("chat")]
            with daemon.connect("/p?q=1", additional_headers=given, subprotocols=offered, max_size=None) as client:
                assert client.subprotocol == "chat"
                _, path, headers = hello(client)
                assert path == "/base?x=1&q=1"
                found = {name.lower(): value for name, value in headers}
                assert len(found) == len(headers)
                assert (found["x-forwarded-for"], found["cookie"], found["x-mine"]) == ("127.0.0.1", "a=b", "1")
                assert found["host"] == f"127.0.0.1:{backend.port}"
                assert found["x-forwarded-host"] == f"127.0.0.1:{daemon.port}"
                assert "sec-websocket-extensions" not in found
                for message in ("text ä", b"binary\xff", "", b"", "x" * 300_000, bytes(900_000)):
                    client.send(message)
                    assert client.recv(SECONDS) == message
                for number in range(200):
                    client.send(str(number))
                assert [client.recv(SECONDS) for _ in range(200)] == [str(number) for number in range(200)]
                assert client.ping().wait(SECONDS)
                client.close(4001, "bye")
            backend.until(lambda: backend.ends == [(4001, "bye")])
            with daemon.connect("/r/a/b%20c?y=2") as client:
                assert hello(client)[1] == "/base/a/b%20c?y=2"
                client.send("close")
                with pytest.raises(ConnectionClosed) as caught:
                    client.recv(SECONDS)
                assert caught.value.rcvd is not None
                assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4002, "as you wish")
            with daemon.connect("/p") as client:
                hello(client)
                client.send("crash")
                with pytest.raises(ConnectionClosed) as caught:
                    client.recv(SECONDS)
                assert caught.value.rcvd is not None
                assert caught.value.rcvd.code == 1011
            with pytest.raises(InvalidStatus) as refused:
                daemon.connect("/r/forbidden")
            assert (refused.value.response.status_code, bytes(refused.value.response.body)) == (403, b"not you\n")
            with pytest.raises(InvalidStatus) as refused:
                daemon.connect("/r/a/%2e%2e/%2e%2e/secret")
            assert refused.value.response.status_code == 400
            with daemon.connect("/p") as client:
                hello(client)
                client.socket.shutdown(socket.SHUT_RDWR)  # it vanishes
                backend.until(lambda: backend.open == 0)


def test_several_targets_of_which_one_dies(tmp_path: Path) -> None:
    with Backend("one") as one, Backend("two") as two:
        dead = "ws://127.0.0.1:1"
        text = (
            HEAD
            + mount("/p", f"target = ws://127.0.0.1:{one.port}, {dead}, ws://127.0.0.1:{two.port}")
            + mount("/dead", f"target = {dead}")
        )
        with Daemon(tmp_path, text) as daemon:
            with ExitStack() as clients:
                names = [hello(clients.enter_context(daemon.connect("/p")))[0] for _ in range(6)]
            assert sorted(names) == ["one"] * 3 + ["two"] * 3
            with pytest.raises(InvalidStatus) as refused:
                daemon.connect("/dead")
            assert refused.value.response.status_code == 502


def test_tls_and_compression_on_each_side_by_itself(tmp_path: Path) -> None:
    authority = CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("chat.example.com").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with Backend(ssl=context) as backend:
        where = f"target = wss://127.0.0.1:{backend.port}"
        text = (
            HEAD
            + mount("/both", where, "target_ca = ca.pem", "target_name = chat.example.com", "target_compression = on")
            + mount("/name", where, "target_ca = ca.pem")
        )
        with Daemon(tmp_path, text) as daemon:
            for compression in ("deflate", None):
                with daemon.connect("/both", compression=compression, max_size=None) as client:
                    headers = {name.lower(): value for name, value in hello(client)[2]}
                    assert "permessage-deflate" in headers["sec-websocket-extensions"]
                    for message in ("x" * 100_000, bytes(100_000), "short"):
                        client.send(message)
                        assert client.recv(SECONDS) == message
            with pytest.raises(InvalidStatus) as refused:
                daemon.connect("/name")
            assert refused.value.response.status_code == 502


@contextmanager
def silent() -> Iterator[int]:
    """A server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_a_target_that_does_not_answer(tmp_path: Path) -> None:
    with silent() as port, Daemon(tmp_path, HEAD + mount("/p", f"target = ws://127.0.0.1:{port}", "connect_timeout = 100ms")) as daemon:
        with pytest.raises(InvalidStatus) as refused:
            daemon.connect("/p")
        assert refused.value.response.status_code == 504


def test_check_finds_bad_targets(tmp_path: Path) -> None:
    text = HEAD + mount("/a", "target = http://x") + mount("/b") + mount("/c", "target = ws://h/{room}")
    done = run(tmp_path, text, "--check")
    assert done.returncode == 1
    for part in ("did you mean ws://x?", "[mount:/b] target: missing key", "has no parameter {room}"):
        assert part in done.stderr
