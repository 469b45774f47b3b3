"""daemon/restarted.py: the child's side of a restart."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from wsdaemon.daemon.restarted import GO, VARIABLE, GivenSockets, Restarted, files_of
from wsdaemon.daemon.sockets import ListenError
from wsdaemon.settings.addresses import parse_address

ADDRESS = parse_address("tcp:0:interface=127.0.0.1")


def module(path: Path | str | None) -> Any:
    made = ModuleType("made")
    made.__file__ = None if path is None else str(path)
    return made


def test_the_users_files_are_those_below_the_directories(tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "path"
    modules = {
        "a": module(own / "chat.py"), "b": module(other / "deep" / "b.py"), "c": module(tmp_path / "elsewhere.py"), "d": module(None),
        "e": module(own / ".venv/lib/python3.11/site-packages/x.py"), "f": module(os.__file__), "g": object(),
    }  # fmt: skip
    assert files_of(modules, [own, other]) == [str(own / "chat.py"), str(other / "deep" / "b.py")]
    assert str(Path(os.__file__)) not in files_of(modules, [Path("/")])


def test_the_parents_sockets_are_taken_and_stay_the_parents() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        given = GivenSockets({f"listener:web {ADDRESS}": sock.fileno()})
        bound = given.take("listener:web", ADDRESS, 5)
        assert bound.sock.getsockname() == sock.getsockname()
        bound.close()
        socket.create_connection(sock.getsockname()).close()  # still listening
        with pytest.raises(ListenError, match="has changed while the daemon was starting"):
            given.take("listener:other", ADDRESS, 5)


def test_the_variable_names_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Restarted.take({}) is None
    ours, theirs = socket.socketpair()
    with ours:
        environ = {VARIABLE: json.dumps({"parent": -1, "channel": theirs.detach(), "sockets": {}})}
        with pytest.raises(SystemExit):  # that parent is dead
            Restarted.take(environ)
        assert environ == {}


@pytest.fixture(autouse=True)
def no_death_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own process must not die with its parent."""

    class Libc:
        def prctl(self, *arguments: int) -> int:
            return 0

    monkeypatch.setattr("ctypes.CDLL", lambda *given, **named: Libc())


def test_a_child_waits_until_it_is_wanted() -> None:
    for word, wanted in ((GO, True), (b"", False)):
        ours, theirs = socket.socketpair()
        with theirs:
            child = Restarted.take({VARIABLE: json.dumps({"parent": os.getppid(), "channel": theirs.detach(), "sockets": {}})})
        assert child is not None
        ours.sendall(word)
        ours.shutdown(socket.SHUT_WR)
        if wanted:
            child.wait()
        else:
            with pytest.raises(SystemExit) as ended:
                child.wait()
            assert ended.value.code == 0
        child._channel.close()
        ours.close()


def test_files_are_reported_once_and_the_parents_end_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(report_and_notice(monkeypatch))


async def report_and_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    killed: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
    monkeypatch.setattr("os.kill", lambda pid, number: killed.set_result((pid, number)))
    child = Restarted(theirs, {})
    await child.start()
    child.report(["b.py", "a.py"])
    child.report(["b.py", "c.py"])
    assert [json.loads(line) for line in ours.recv(1000).splitlines()] == [["a.py", "b.py"], ["c.py"]]
    ours.close()
    assert await asyncio.wait_for(killed, 30) == (os.getpid(), signal.SIGTERM)
    await child.stop()
    theirs.close()
