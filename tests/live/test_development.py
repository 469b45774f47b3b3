"""`wsdaemon run --dev`: a developer changes the code of an app, breaks it, mends it, and ends."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.daemon import LISTENING, SECONDS, Program, wait_for_end
from wsdaemon.daemon.restarting import KILLED

APP = """
async def app(connection):
    async for message in connection:
        if message == "fail":
            raise ValueError("no such room")
        await connection.send("{word} " + message)
"""

SETTINGS = "[listener:web]\naddress = tcp:0:interface=127.0.0.1\n[mount:/chat]\napp = chat:app\n"


@contextmanager
def development(folder: Path, settings: str = SETTINGS) -> Iterator[Program]:
    (folder / "ws.ini").write_text(settings)
    (folder / "chat.py").write_text(APP.format(word="one"))
    with Program([sys.executable, "-m", "wsdaemon", "run", "--dev", "--frame-log", "-c", "ws.ini"], folder) as program:
        yield program


def page(program: Program) -> ClientConnection:
    port = int(program.output.wait_for(LISTENING)[0]["port"])
    options: dict[str, Any] = {"origin": "http://localhost:5173", "open_timeout": SECONDS, "close_timeout": SECONDS, "proxy": None}
    client: ClientConnection = connect(f"ws://127.0.0.1:{port}/chat", **options)
    return client


def closed(client: ClientConnection) -> tuple[int, str]:
    """Close code and reason of the daemon; 1006 without a Close frame."""
    with pytest.raises(ConnectionClosed) as ended:
        client.recv(SECONDS)
    close = ended.value.rcvd
    return (1006, "") if close is None else (close.code, close.reason)


def check_restart(program: Program, client: ClientConnection) -> None:
    """The client is told to come again, unless the machine is so busy that the old process had to be killed."""
    assert closed(client) == (1012, "restart; retry=0") or KILLED in program.log


def asked(client: ClientConnection, text: str) -> object:
    client.send(text)
    return client.recv(SECONDS)


def children(program: Program) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()]


def test_code_is_changed_broken_and_mended(tmp_path: Path) -> None:
    with development(tmp_path) as program:
        with page(program) as client:
            assert asked(client, "\x1b[31mhello") == "one \x1b[31mhello"
            client.send("fail")
            assert closed(client) == (1011, "ValueError: no such room; chat.py:5 in app")
        program.output.wait_for(r"Traceback")
        program.output.wait_for(r" /chat in  text 10 B \\x1b\[31mhello$")
        with page(program) as client:
            assert asked(client, "x") == "one x"
            (tmp_path / "chat.py").write_text(APP.format(word="two"))
            check_restart(program, client)
        with page(program) as client:  # at once: the socket is open, and the new process takes the client
            assert asked(client, "x") == "two x"
            (tmp_path / "chat.py").write_text("def app(:")
            check_restart(program, client)
        program.output.wait_for(r"SyntaxError")
        program.output.wait_for(r"the daemon has ended with status 1; it starts again with the next change")
        (tmp_path / "chat.py").write_text(APP.format(word="three"))
        with page(program) as client:
            assert asked(client, "x") == "three x"
        assert program.output.wait_for(r"--dev is on, for development only", 4)
        assert "\x1b" not in program.log
        pids = children(program)
        assert program.stop(signal.SIGINT) == 0
        for pid in pids:
            wait_for_end(pid)


def test_no_child_outlives_a_killed_parent(tmp_path: Path) -> None:
    with development(tmp_path) as program:
        with page(program) as client:
            assert asked(client, "x") == "one x"
        pids = children(program)
        assert pids
        program.stop(signal.SIGKILL)
        for pid in pids:
            wait_for_end(pid)


def test_an_address_that_others_reach_is_refused(tmp_path: Path) -> None:
    with development(tmp_path, re.sub(":interface=127.0.0.1", "", SETTINGS)) as program:
        assert program.wait() == 1
        assert "--dev serves this machine alone" in program.log
