"""README.md and docs/python.md work as they are written: their INI files, programs and commands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.support.daemon import LISTENING, ROOT, SECONDS, Daemon, Output, Program, check_echo, run

pytestmark = pytest.mark.live

README = (ROOT / "README.md").read_text()
PYTHON_PAGE = (ROOT / "docs" / "python.md").read_text()

AUTOBAHN = """
from autobahn.twisted.websocket import WebSocketServerProtocol

class MyServerProtocol(WebSocketServerProtocol):
    def onMessage(self, payload, isBinary):
        self.sendMessage(payload[::-1], isBinary)
"""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def programs(part: str) -> list[str]:
    """The programs of both pages with this part in them."""
    return [block for page in (README, PYTHON_PAGE) for block in blocks(page, "python") if part in block]


def serving(app: str, folder: Path) -> Daemon:
    return Daemon(folder, f"[listener:web]\naddress = tcp:0:interface=127.0.0.1\n[mount:/it/{{room}}]\napp = myapp:{app}\n")


def test_it_is_short() -> None:
    assert len(README.splitlines()) < 150
    picture = re.search(r"!\[[^]]+\]\(([^)]+\.png)\)", README)
    assert picture is not None
    assert (ROOT / picture[1]).stat().st_size < 150_000


def test_the_ini_file_and_the_coroutine(tmp_path: Path) -> None:
    settings = blocks(README, "ini")[0]
    [app] = [block for block in blocks(README, "python") if "async def chat" in block]
    (tmp_path / "myapp.py").write_text(app)
    assert len([line for line in settings.splitlines() if line]) <= 10
    with Daemon(tmp_path, settings.replace("tcp:8080", "tcp:0:interface=127.0.0.1")) as daemon:
        with daemon.connect("/chat/blue") as client:
            client.send("hello")
            assert client.recv(SECONDS) == "blue: hello"
        with daemon.connect("/rooms/lobby") as one:
            one.send("before")
            with daemon.connect("/rooms/lobby") as other:
                one.send("to the other")
                assert other.recv(SECONDS) == "to the other"


@pytest.mark.parametrize("app", programs("connection.params"))
def test_a_coroutine(tmp_path: Path, app: str) -> None:
    (tmp_path / "myapp.py").write_text(app)
    with serving("chat", tmp_path) as daemon, daemon.connect("/it/blue") as client:
        client.send("hello")
        assert client.recv(SECONDS) == "blue: hello"


def test_a_coroutine_that_sends_to_many(tmp_path: Path) -> None:
    [app] = programs("members = set()")
    (tmp_path / "myapp.py").write_text(app)
    with serving("chat", tmp_path) as daemon, daemon.connect("/it/x") as one, daemon.connect("/it/x") as two:
        for client in (two, one):  # after an answer its coroutine has begun
            client.send("hello")
            assert client.recv(SECONDS) == "hello"
        assert two.recv(SECONDS) == "hello"


@pytest.mark.parametrize("app", programs("class Counter:"))
def test_a_class(tmp_path: Path, app: str) -> None:
    (tmp_path / "myapp.py").write_text(app)
    with serving("Counter", tmp_path) as daemon, daemon.connect("/it/count") as client:
        for expected in ("1", "2", "3"):
            client.send("hello")
            assert client.recv(SECONDS) == expected


def test_an_autobahn_class(tmp_path: Path) -> None:
    (tmp_path / "myapp.py").write_text(AUTOBAHN)
    with serving("MyServerProtocol", tmp_path) as daemon, daemon.connect("/it/back") as client:
        client.send("hello")
        assert client.recv(SECONDS) == "olleh"


@pytest.mark.parametrize("text", programs("server.run_forever()"))
def test_the_server_in_python(tmp_path: Path, text: str) -> None:
    assert len([line for line in text.splitlines() if line]) <= 10
    path = tmp_path / "server.py"
    path.write_text(text.replace("port=8080", "port=0"))
    with Program([sys.executable, str(path)], tmp_path, {"PYTHONPATH": str(ROOT)}) as program:
        [found] = program.output.wait_for(LISTENING)
        with connect(f"ws://127.0.0.1:{found['port']}/upper", proxy=None) as client:
            check_echo(client, "HELLO")
        assert program.stop() == 0


def test_the_first_command_ends_in_a_start_that_would_succeed(tmp_path: Path) -> None:
    [line] = [line for line in README.splitlines() if line.startswith("python3 -m venv") and "twistd" in line]
    words = shlex.split(line.rpartition("&&")[2])
    assert words[0].endswith("/twistd")
    assert words[1:-1] == ["-n", "wsdaemon", "-c"]
    done = run(tmp_path, (ROOT / words[-1]).read_text(), "--check")
    assert done.returncode == 0, done.stderr


def test_the_client_line(tmp_path: Path) -> None:
    [line] = [line for line in README.splitlines() if "-m websockets" in line]
    *_, module, url = shlex.split(line.rpartition("&&")[2])
    with Daemon(tmp_path, (ROOT / "etc" / "ws.ini").read_text().replace("tcp:8080", "tcp:0")) as daemon:
        assert url.startswith("ws://127.0.0.1:8080/")
        address = url.replace(":8080", f":{daemon.port}")
        command = [sys.executable, "-m", module, address]
        client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        output = Output(client.stdout)
        assert client.stdin is not None
        try:
            client.stdin.write("hello\n")
            client.stdin.flush()
            output.wait_for("< hello")
        finally:
            client.stdin.close()  # which ends the client
            client.wait(SECONDS)
            output.close()
        assert client.returncode == 0


def test_the_shipped_settings_serve_all_that_they_name(tmp_path: Path) -> None:
    text = (ROOT / "etc" / "ws.ini").read_text().replace("tcp:8080", "tcp:0")
    with Daemon(tmp_path, text) as daemon:
        daemon.check_echo()
        [line] = daemon.output.wait_for("serving ")
        assert line.string.endswith(f"serving ws://127.0.0.1:{daemon.port}/echo, /ticker, /chat")
        with daemon.connect("/ticker") as client:
            assert "tick" in str(client.recv(SECONDS))
        with daemon.connect("/chat") as one, daemon.connect("/chat") as two:
            check_echo(two)  # both are in the room by now
            one.recv(SECONDS)
            one.send("to all")
            assert [one.recv(SECONDS), two.recv(SECONDS)] == ["to all", "to all"]
