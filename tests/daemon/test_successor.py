"""daemon/successor.py: the parts of the new program that need no process. tests/live/test_upgrade.py has the whole."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.logger import capturedLogs

from tests.daemon.test_supervisor_state import STATE
from wsdaemon.daemon import successor
from wsdaemon.daemon.parts import StartError
from wsdaemon.daemon.sockets import Bound, LeftSocket
from wsdaemon.daemon.successor import Asker, NewProgram


def test_the_client_that_asked_the_former_program_gets_its_answer() -> None:
    client, ours = socket.socketpair()
    asker = Asker(ours.detach())
    asker.answer({"status": 0, "generation": 2})
    asker.answer({"status": 1})
    with client:
        assert json.loads(client.makefile().read()) == {"status": 0, "generation": 2}


def test_a_client_that_has_gone_is_no_problem() -> None:
    client, ours = socket.socketpair()
    client.close()
    Asker(ours.detach()).answer({"status": 0})
    Asker(None).answer({"status": 0})


def test_a_socket_of_before_removes_its_own_file_and_no_other(tmp_path: Path) -> None:
    path = str(tmp_path / "ws.sock")
    first = socket.socket(socket.AF_UNIX)
    first.bind(path)
    left = LeftSocket(address="", path=path, file=Bound(first, path).file)
    Path(path).unlink()
    other = socket.socket(socket.AF_UNIX)
    other.bind(path)
    Bound.again(first.detach(), left).close()
    assert Path(path).exists(), "it is that of another daemon by now"
    mine = LeftSocket(address="", path=path, file=Bound(other, path).file)
    Bound.again(other.detach(), mine).close()
    assert not Path(path).exists()


def test_files_that_cannot_be_read_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(settings: object) -> None:
        raise StartError("key.pem: Permission denied", "more")

    monkeypatch.setattr(successor, "take_files", refuse)
    client, ours = socket.socketpair()
    logged: list[str] = []
    program: Any = NewProgram.__new__(NewProgram)
    program._new, program._problem, program._state = object(), None, STATE
    program._asker = Asker(ours.detach())
    program.supervisor = SimpleNamespace(log_failed_upgrade=lambda reason: logged.append(str(reason)))
    with capturedLogs() as events:
        program._begin()
    with client:
        assert json.loads(client.makefile().read()) == {"status": 1, "problems": ["key.pem: Permission denied\nmore"]}
    assert logged == ["key.pem: Permission denied\nmore"] and len(events) == 1
