"""Projects of each ASGI framework run unchanged under one daemon, with real clients; and the ends of such a daemon's life."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.asgi_projects import PROJECTS, SOCKETIO_CLIENT
from tests.support.daemon import ROOT, SECONDS, Daemon, environment, make_certificate, program, run
from tests.support.redis_servers import Server

pytestmark = pytest.mark.live

MOUNTS = {
    "/fastapi/{rest...}": "fastapi_project:app",
    "/starlette/{rest...}": "starlette_project:make_app()",
    "/litestar/{rest...}": "litestar_project:app",
    "/quart/{rest...}": "quart_project:app",
    "/channels/{rest...}": "channels_project:application",
    "/socket.io/{rest...}": "socketio_project:app",
    "/only/{room}": "fastapi_project:app",
}


def settings(mounts: Mapping[str, str], listener: str = "") -> str:
    parts = [f"[daemon]\ndrain_timeout = 2s\n[listener:web]\naddress = tcp:0:interface=127.0.0.1\n{listener}\n"]
    for path, name in mounts.items():
        http = "off" if path.startswith("/only") else "on"
        parts.append(f"[mount:{path}]\napp = asgi\napplication = {name}\nhttp = {http}\n")
    return "\n".join(parts)


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon with all projects, and a Redis for Channels."""
    folder = tmp_path_factory.mktemp("asgi")
    for name, source in PROJECTS.items():
        pytest.importorskip(name, reason=f"{name} is missing (extra test)")
        (folder / f"{name}_project.py").write_text(source)
    redis = Server(folder / "redis").start()
    try:
        with Daemon(folder, settings(MOUNTS), environ={"CHANNELS_REDIS": redis.url}) as daemon:
            yield daemon
            assert daemon.stop() == 0
            assert "fastapi has shut down" in daemon.log, "the lifespan ends after the drain"
    finally:
        redis.stop()


def ask(daemon: Daemon, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Mapping[str, str], bytes]:
    connection = HTTPConnection("127.0.0.1", daemon.port, timeout=SECONDS)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


# -- the frameworks


def test_fastapi(projects: Daemon) -> None:
    with projects.connect("/fastapi/rooms/red", subprotocols=["other", "chat"]) as client:
        assert client.response is not None and client.response.headers["x-room"] == "red"
        assert client.subprotocol == "chat"
        assert json.loads(client.recv(SECONDS)) == {"greeting": "hello", "room": "red", "root": "/fastapi"}
        client.send("hello")
        assert client.recv(SECONDS) == "HELLO"
        client.close(4321, "bye")
    boundary = b'--x\r\nContent-Disposition: form-data; name="file"; filename="f.bin"\r\n\r\n' + bytes(500_000) + b"\r\n--x--\r\n"
    status, _, body = ask(projects, "POST", "/fastapi/files", boundary, content_type="multipart/form-data; boundary=x")
    assert (status, json.loads(body)) == (200, {"name": "f.bin", "size": 500_000})
    status, headers, body = ask(projects, "GET", "/fastapi/numbers")
    assert (headers["transfer-encoding"], len(body.split())) == ("chunked", 1000)
    status, _, body = ask(projects, "GET", "/fastapi/story")
    answer = json.loads(body)
    assert answer["story"] == [[4321, "bye"], ["uploaded", 500_000]]
    assert answer["url"] == f"http://127.0.0.1:{projects.port}/fastapi/story", "it knows its root"


@pytest.mark.parametrize(("token", "status"), [("bad", 403), ("none", 401)])
def test_fastapi_refuses(projects: Daemon, token: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as refused:
        projects.connect(f"/fastapi/rooms/red?token={token}")
    assert refused.value.response.status_code == status
    if status == 401:
        assert refused.value.response.headers["www-authenticate"] == "Bearer"
        assert b"who are you?" in refused.value.response.body


def test_with_http_off_there_is_a_426(projects: Daemon) -> None:
    status, headers, _ = ask(projects, "GET", "/only/red")
    assert (status, headers["upgrade"]) == (426, "websocket")


def test_starlette(projects: Daemon) -> None:
    with projects.connect("/starlette/echo") as client:
        for size in (1, 3000):
            client.send(bytes(range(256)) * size)
            assert client.recv(SECONDS) == (bytes(range(256)) * size)[::-1]
    status, headers, body = ask(projects, "POST", "/starlette/inner/page", b"abc")
    assert (status, headers["x-counted"]) == (200, "3")
    assert json.loads(body) == {"body": "abc", "path": "/starlette/inner/page"}
    with pytest.raises(InvalidStatus) as refused:
        projects.connect("/starlette/denied")
    response = refused.value.response
    assert (response.status_code, response.headers["x-price"], response.body) == (402, "5", b"pay first")


def test_litestar(projects: Daemon) -> None:
    with projects.connect("/litestar/listen") as client:
        client.send('{"a": 1}')
        assert json.loads(client.recv(SECONDS)) == {"a": 2}
    with projects.connect("/litestar/raw/ada") as client:
        client.send("hello")
        assert client.recv(SECONDS) == "ada hello"
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(SECONDS)
        assert closed.value.rcvd is not None and (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "enough")
    assert json.loads(ask(projects, "GET", "/litestar/hello")[2]) == {"hello": "litestar"}


def test_quart(projects: Daemon) -> None:
    with projects.connect("/quart/ws/ada") as client:
        client.send("hello")
        assert client.recv(SECONDS) == "ada: hello"
    with pytest.raises(InvalidStatus) as refused:
        projects.connect("/quart/ws/nobody")
    assert refused.value.response.status_code == 403
    status, _, body = ask(projects, "POST", "/quart/add", '{"numbers": [1, 2, 3]}', content_type="application/json")
    assert (status, json.loads(body)) == (200, {"sum": 6})


def test_channels_with_redis(projects: Daemon) -> None:
    with projects.connect("/channels/chat/red") as one, projects.connect("/channels/chat/red") as other:
        one.send('{"text": "hello"}')
        assert [json.loads(each.recv(SECONDS)) for each in (one, other)] == [{"text": "hello"}] * 2
    with projects.connect("/channels/upper") as client:
        client.send("in a thread")
        assert client.recv(SECONDS) == "IN A THREAD"
    with pytest.raises(InvalidStatus) as refused:
        projects.connect("/channels/chat/closed")
    assert refused.value.response.status_code == 403
    status, _, body = ask(projects, "POST", "/channels/hello", bytes(100))
    assert (status, json.loads(body)) == (200, {"method": "POST", "path": "/channels/hello", "size": 100})


@pytest.mark.parametrize("transports", ["polling,websocket", "websocket", "polling"])
def test_socket_io_with_its_own_javascript_client(projects: Daemon, tmp_path: Path, transports: str) -> None:
    node, modules = program("node", "nodejs"), os.environ.get("WSDAEMON_SOCKETIO", "")
    if not modules:
        pytest.skip("socket.io-client is missing (npm package; WSDAEMON_SOCKETIO is its node_modules)")
    script = tmp_path / "client.js"
    script.write_text(SOCKETIO_CLIENT)
    line = [node, str(script), f"http://127.0.0.1:{projects.port}", transports, "good"]
    done = subprocess.run(
        line, env={**environment(tmp_path), "NODE_PATH": modules}, capture_output=True, text=True, timeout=SECONDS, check=False
    )  # fmt: skip
    lines = [*(["upgraded to websocket"] if "," in transports else []), "greeting ada 0102ff", "answered done"]
    assert (done.returncode, sorted(done.stdout.splitlines())) == (0, sorted(lines)), done.stdout + done.stderr
    line[-1] = "bad"
    refused = subprocess.run(
        line, env={**environment(tmp_path), "NODE_PATH": modules}, capture_output=True, text=True, timeout=SECONDS, check=False
    )  # fmt: skip
    assert (refused.returncode, refused.stdout) == (1, "failed: bad token\n")


# -- the life of a daemon

RAW = '''
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        {startup}
        await send({{"type": "lifespan.startup.complete"}})
        await receive()
        print("shut down")
        await send({{"type": "lifespan.shutdown.complete"}})
        return
    await receive()
    await send({{"type": "websocket.accept"}})
    tls = scope["extensions"].get("tls")
    text = f"{{scope['scheme']}} {{scope['client'][0]}} {{tls and tls['tls_version']}} {{tls and tls['cipher_suite']}}"
    await send({{"type": "websocket.send", "text": text}})
    event = await receive()
    print("disconnect", event["code"], flush=True)
'''


def write_raw(folder: Path, startup: str = "pass") -> str:
    (folder / "raw_project.py").write_text(RAW.format(startup=startup))
    return settings({"/raw": "raw_project:app"})


def test_a_startup_that_fails_ends_the_start_with_the_applications_own_traceback(tmp_path: Path) -> None:
    done = run(tmp_path, write_raw(tmp_path, 'raise RuntimeError("no database")'))
    assert done.returncode == 1
    text = done.stdout + done.stderr
    assert "[mount:/raw]: the app did not start" in text and "RuntimeError: no database" in text and 'raw_project.py", line' in text
    assert "wsdaemon/apps/asgi" not in text, "only the application's own lines"


def test_the_end_of_a_daemon_is_one_disconnect_and_then_the_shutdown(tmp_path: Path) -> None:
    with Daemon(tmp_path, write_raw(tmp_path)) as daemon:
        with daemon.connect("/raw") as client:
            assert client.recv(SECONDS) == "ws 127.0.0.1 None None"
            daemon.tell(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(SECONDS)
            assert closed.value.rcvd is not None
        assert daemon.wait() == 0
        code = closed.value.rcvd.code
        first, second = daemon.output.wait_for(f"^.*disconnect {code}$"), daemon.output.wait_for("^.*shut down$")
        assert daemon.log.index(first[0][0]) < daemon.log.index(second[0][0])
        assert daemon.log.count("disconnect") == 1


def test_tls(tmp_path: Path) -> None:
    context = make_certificate(tmp_path)
    text = write_raw(tmp_path).replace("127.0.0.1\n", "127.0.0.1\ntls_certificate = cert.pem\ntls_key = key.pem\n")
    with Daemon(tmp_path, text) as daemon, daemon.connect("/raw", ssl=context) as client:
        scheme, _, version, suite = str(client.recv(SECONDS)).split()
        assert (scheme, version) == ("wss", str(0x0304)) and int(suite) >> 8 == 0x13


def test_behind_a_trusted_proxy(tmp_path: Path) -> None:
    text = write_raw(tmp_path).replace("127.0.0.1\n", "127.0.0.1\ntrusted_proxies = 127.0.0.1\n")
    forwarded = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    with Daemon(tmp_path, text) as daemon, daemon.connect("/raw", additional_headers=forwarded) as client:
        assert client.recv(SECONDS) == "wss 203.0.113.9 None None"


def test_an_application_that_cannot_be_loaded_is_a_problem_of_the_settings(tmp_path: Path) -> None:
    done = run(tmp_path, settings({"/a": "no_such_project:app", "/b": "raw_project:nothing"}), "--check")
    assert done.returncode == 1
    assert "application = no_such_project:app: there is no module no_such_project" in done.stderr


def test_the_example_that_is_shipped(tmp_path: Path) -> None:
    text = (ROOT / "examples" / "asgi.ini").read_text().replace("python_path = .", f"python_path = {ROOT / 'examples'}")
    with Daemon(tmp_path, text.replace("tcp:8080", "tcp:0")) as daemon:
        status, headers, body = ask(daemon, "GET", "/")
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8") and b"<title>Chat</title>" in body
        with daemon.connect("/chat") as one, daemon.connect("/chat") as other:
            one.send("hello")
            assert [one.recv(SECONDS), other.recv(SECONDS)] == ["hello"] * 2
