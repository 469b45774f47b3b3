"""What README.md shows works as it stands: its INI file, its programs, its commands."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.support.daemon import LISTENING, ROOT, SECONDS, Daemon, Program, check_echo, run

pytestmark = pytest.mark.live

README = (ROOT / "README.md").read_text()

AUTOBAHN = """
from autobahn.twisted.websocket import WebSocketServerProtocol

class MyServerProtocol(WebSocketServerProtocol):
    def onMessage(self, payload, isBinary):
        self.sendMessage(payload[::-1], isBinary)
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_ini_file_and_the_coroutine(tmp_path: Path) -> None:
    settings = blocks("ini")[0]
    [app] = [block for block in blocks("python") if "async def chat" in block]
    (tmp_path / "myapp.py").write_text(app)
    assert len([line for line in settings.splitlines() if line]) <= 10
    with Daemon(tmp_path, settings.replace("tcp:8080", "tcp:0:interface=127.0.0.1")) as daemon:
        daemon.check_echo()
        with daemon.connect("/chat/blue") as client:
            client.send("hello")
            assert client.recv(SECONDS) == "blue: hello"


def test_the_class(tmp_path: Path) -> None:
    [app] = [block for block in blocks("python") if "class Counter:" in block]
    (tmp_path / "myapp.py").write_text(app)
    settings = "[listener:web]\naddress = tcp:0:interface=127.0.0.1\n[mount:/count]\napp = myapp:Counter\n"
    with Daemon(tmp_path, settings) as daemon, daemon.connect("/count") as client:
        for expected in ("1", "2", "3"):
            client.send("hello")
            assert client.recv(SECONDS) == expected


def test_an_autobahn_class(tmp_path: Path) -> None:
    (tmp_path / "myapp.py").write_text(AUTOBAHN)
    settings = "[listener:web]\naddress = tcp:0:interface=127.0.0.1\n[mount:/back]\napp = myapp:MyServerProtocol\n"
    with Daemon(tmp_path, settings) as daemon, daemon.connect("/back") as client:
        client.send("hello")
        assert client.recv(SECONDS) == "olleh"


def test_the_server_in_python(tmp_path: Path) -> None:
    [text] = [block for block in blocks("python") if "run_forever" in block]
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


def test_the_shipped_settings_serve_all_that_they_name(tmp_path: Path) -> None:
    text = (ROOT / "etc" / "ws.ini").read_text().replace("tcp:8080", "tcp:0")
    with Daemon(tmp_path, text) as daemon:
        daemon.check_echo()
        with daemon.connect("/ticker") as client:
            assert "tick" in str(client.recv(SECONDS))
        with daemon.connect("/chat") as one, daemon.connect("/chat") as two:
            check_echo(two)  # both are in the room by now
            one.recv(SECONDS)
            one.send("to all")
            assert [one.recv(SECONDS), two.recv(SECONDS)] == ["to all", "to all"]
