"""daemon/supervisor_state.py: everything that a program leaves to the one after it."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from wsdaemon.daemon.inheritance import VARIABLE, InheritanceError, InheritedLog
from wsdaemon.daemon.sockets import LeftSocket
from wsdaemon.daemon.supervisor_state import RunningChild, SupervisorState
from wsdaemon.settings.inherited import InheritedFile

TEXT = "[daemon]\nworkers = 2\n[listener:web]\naddress = unix:/run/ws.sock\n[mount:/]\napp = echo\n"

STATE = SupervisorState(
    since=1.5, state="ready", generation=3, workers=2, settings=TEXT, new_settings=TEXT.replace("echo", "ticker"), source="ws.ini",
    children=[RunningChild(number=0, pid=77, ready_for=2.5), RunningChild(number=1, pid=78, ready_for=2.0)],
    directory="/srv", log=InheritedLog(destination="stdout", prefix="ws"), pidfile="/run/ws.pid", control=None,
    sockets={"listener:web": LeftSocket(address="unix:/run/ws.sock:mode=660", path="/run/ws.sock", file=(5, 9))},
    descriptors={}, counts={"last": {}, "ended": []}, files={"/srv/key": InheritedFile(b"\0secret", 0o600, (1, 2, 3))},
)  # fmt: skip


def test_it_arrives_as_it_was_left_and_the_variable_is_gone() -> None:
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    environ = {VARIABLE: str(replace(STATE, descriptors={"channel:0": reading}).write()), "PATH": "/bin"}
    state = SupervisorState.read(environ)
    state.close_on_exec()
    assert state == replace(STATE, descriptors={"channel:0": reading})
    assert environ == {"PATH": "/bin"} and not os.get_inheritable(reading)
    os.close(reading)
    os.close(writing)


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(STATE) and "mount" not in repr(STATE)


def test_the_settings_before_and_after() -> None:
    (old, problems), (new, more) = STATE.read_settings(STATE.settings), STATE.read_settings(STATE.new_settings)
    assert old is not None and new is not None and not problems and not more
    assert (old.mounts[0].app, new.mounts[0].app, new.source) == ("echo", "ticker", "ws.ini")


def test_another_version_is_refused_in_clear_words() -> None:
    descriptor = replace(STATE, protocol=99).write()
    with pytest.raises(InheritanceError, match="version 1 of the upgrade protocol and the running daemon 99: restart the daemon"):
        SupervisorState.read({VARIABLE: str(descriptor)})


@pytest.mark.parametrize("content", [b"{}", b"no JSON", json.dumps({"protocol": 1, "more": 1}).encode()])
def test_another_file_is_refused(content: bytes) -> None:
    descriptor = os.memfd_create("test")
    os.write(descriptor, content)
    with pytest.raises(InheritanceError):
        SupervisorState.read({VARIABLE: str(descriptor)})


def test_nobody_starts_it_by_hand() -> None:
    with pytest.raises(InheritanceError, match="by the command `upgrade` of a running daemon"):
        SupervisorState.read({})
