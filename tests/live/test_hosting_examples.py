"""examples/hosting.ini with its programs and services, and examples/python.ini with its apps, as a reader runs them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.live.test_bridge import until_it_listens
from tests.live.test_edge_recipes import free_port
from tests.support.daemon import FOREGROUND, LISTENING, ROOT, SECONDS, TWISTD, Program

pytestmark = pytest.mark.live

EXAMPLES = ROOT / "examples"


def test_programs_and_services(tmp_path: Path) -> None:
    ports = {"8080": "0", "9001": str(free_port()), "9002": str(free_port()), "9003": str(free_port())}
    for name in ("hosting.ini", "services.py", "greeter.sh", "shared_chat.py"):
        text = (EXAMPLES / name).read_text()
        (tmp_path / name).write_text(re.sub("8080|900[123]", lambda match: ports[match[0]], text))
    line = [sys.executable, str(TWISTD), *FOREGROUND, "wsdaemon", f"--config={tmp_path}/hosting.ini"]
    with Program([sys.executable, "services.py"], tmp_path) as services, Program(line, tmp_path) as daemon:
        for port in ("9001", "9002"):
            until_it_listens(int(ports[port]), services)
        url = f"ws://127.0.0.1:{daemon.output.wait_for(LISTENING)[0]['port']}"
        with connect(f"{url}/greeter", proxy=None) as client:
            assert "What is your name?" in str(client.recv(SECONDS))
            client.send("Ada")
            assert client.recv(SECONDS) == "Hello Ada!"
        with connect(f"{url}/chat?ada", proxy=None) as ada:
            assert ada.recv(SECONDS) == "ada has come"
            with connect(f"{url}/chat?bob", proxy=None) as bob:
                bob.send("hi")
                assert [ada.recv(SECONDS) for _ in range(2)] == ["bob has come", "bob: hi"]
            assert ada.recv(SECONDS) == "bob has left"
        with connect(f"{url}/tcp", proxy=None) as client:
            client.send(b"bytes")
            assert client.recv(SECONDS) == b"bytes"
        with connect(f"{url}/proxied/a/b", proxy=None) as client:
            assert client.recv(SECONDS) == "/base/a/b, for 127.0.0.1"
        assert daemon.stop() == 0
        services.stop()


def test_a_coroutine_a_class_and_a_plain_function(tmp_path: Path) -> None:
    for name in ("python.ini", "python_apps.py"):
        (tmp_path / name).write_text((EXAMPLES / name).read_text().replace("8080", "0"))
    with Program([sys.executable, str(TWISTD), *FOREGROUND, "wsdaemon", f"--config={tmp_path}/python.ini"], tmp_path) as daemon:
        url = f"ws://127.0.0.1:{daemon.output.wait_for(LISTENING)[0]['port']}"
        with connect(f"{url}/chat/ada", proxy=None) as ada, connect(f"{url}/chat/bob", proxy=None) as bob:
            ada.send("hello")
            assert ada.recv(SECONDS) == bob.recv(SECONDS) == "ada: hello"
        with connect(f"{url}/counter", proxy=None) as one, connect(f"{url}/counter", proxy=None) as two:
            one.send("x")
            assert one.recv(SECONDS) == '{"count":1}'
            two.send("x")
            assert two.recv(SECONDS) == '{"count":2}'
        with connect(f"{url}/notes", proxy=None) as writer, connect(f"{url}/notes", proxy=None) as reader:
            writer.send("buy milk")
            assert writer.recv(SECONDS) == reader.recv(SECONDS) == "note 1: buy milk"
        assert daemon.stop() == 0
