"""The control channel as commands use it: paths, and asking a daemon that answers well, badly or not at all."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wsdaemon.ops import control
from wsdaemon.ops.control import ControlError, Outcome, ask, chosen_path, make_directory, may_listen, possible_paths

SECONDS = 30.0


def test_the_path_under_systemd_is_in_the_runtime_directory() -> None:
    assert chosen_path(Path("/etc/ws.ini"), {"RUNTIME_DIRECTORY": "/run/ws:/run/more"}, 5) == Path("/run/ws/control.sock")


def test_without_systemd_it_is_made_from_the_path_of_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    root = chosen_path(Path("ws.ini"), {}, 0)
    assert (root.parent.parent, root.name) == (Path("/run/wsdaemon.control"), "control.sock")
    assert root == chosen_path(tmp_path / "ws.ini", {}, 0)
    assert root != chosen_path(tmp_path / "other.ini", {}, 0)
    assert chosen_path(Path("ws.ini"), {}, 99_999) == Path("/tmp/wsdaemon-99999", f"{root.parent.name}.sock")


def test_a_command_looks_wherever_a_daemon_may_have_its_socket() -> None:
    paths = possible_paths(Path("/etc/ws.ini"), {"RUNTIME_DIRECTORY": "/run/ws"}, 0)
    of_root = chosen_path(Path("/etc/ws.ini"), {}, 0)
    assert paths == [Path("/run/ws/control.sock"), of_root, Path("/run/wsdaemon/control.sock")]
    assert possible_paths(Path("/etc/ws.ini"), {}, 99_999)[1] == of_root, "root has started it with --uid"


def test_the_directory_must_belong_to_this_user_alone(tmp_path: Path) -> None:
    own, user = tmp_path / "own", os.geteuid()
    make_directory(own, user)
    make_directory(own, user)
    assert own.stat().st_mode & 0o777 == 0o700
    own.chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path)
    for path, owner in [(own, user), (tmp_path / "link", user), (tmp_path, user + 1)]:
        with pytest.raises(PermissionError, match="not a directory that belongs to this user alone"):
            make_directory(path, owner)


def test_root_takes_the_directory_of_a_daemon_back_before_it_uses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user that owned it could put a link in the place of the socket."""
    monkeypatch.setattr(control, "ROOT_DIRECTORY", tmp_path / "run")
    taken: list[tuple[object, ...]] = []
    monkeypatch.setattr(os, "chown", lambda path, user, group, follow_symlinks: taken.append((path, user, follow_symlinks)))
    monkeypatch.setattr(control, "_make_own", lambda path, user: path.mkdir(0o700, exist_ok=True))
    own = tmp_path / "run" / "daemon"
    make_directory(own, 0)
    assert own.parent.stat().st_mode & 0o777 == 0o711
    make_directory(own, 0)
    assert taken == [(own, 0, False)] * 2


Serve = Callable[[bytes], list[dict[str, object]]]


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Serve]:
    """Answers one client with these bytes; returns the requests that came."""
    requests: list[dict[str, object]] = []
    threads: list[threading.Thread] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "control.sock"))
    listener.listen()
    listener.settimeout(SECONDS)

    def serve(answer: bytes) -> None:
        client, _ = listener.accept()
        with client, client.makefile("rb") as lines:
            requests.append(json.loads(lines.readline()))
            client.sendall(answer)

    def begin(answer: bytes) -> list[dict[str, object]]:
        threads.append(threading.Thread(target=serve, args=(answer,)))
        threads[-1].start()
        return requests

    yield begin
    for thread in threads:
        thread.join(SECONDS)
    listener.close()


def test_an_operation_with_progress_and_an_end(tmp_path: Path, answering: Serve) -> None:
    requests = answering(b'{"line": "one"}\n{"line": "two"}\n{"status": 1, "problems": ["no"], "changed": 3}\n')
    told: list[str] = []
    assert ask(tmp_path / "control.sock", "reload", {"dry_run": True}, told.append, SECONDS) == Outcome(1, ["no"], {"changed": 3})
    assert told == ["one", "two"]
    assert requests == [{"command": "reload", "dry_run": True}]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [(b"", "closed the connection before it had answered"), (b"HTTP/1.1 400\r\n", "not of a wsdaemon"), (b"[]\n", "not of a wsdaemon")],
)
def test_an_answer_that_makes_no_sense(tmp_path: Path, answering: Serve, answer: bytes, problem: str) -> None:
    answering(answer)
    with pytest.raises(ControlError, match=problem):
        ask(tmp_path / "control.sock", "status", timeout=SECONDS)


def test_no_daemon_and_one_that_has_ended(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="no daemon has its control channel there"):
        ask(tmp_path / "nothing.sock", "status")
    with socket.socket(socket.AF_UNIX) as ended:
        ended.bind(str(tmp_path / "ended.sock"))
    with pytest.raises(ControlError, match="has ended"):
        ask(tmp_path / "ended.sock", "status")


def test_a_daemon_that_is_silent(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent.sock"))
        silent.listen()
        with pytest.raises(ControlError, match=r"has not answered within 0\.05 s"):
            ask(tmp_path / "silent.sock", "status", timeout=0.05)


def test_only_root_the_user_and_the_owner_of_a_place_of_its_own_are_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    owners = {"/run/ws": (5, 0o755), "/run": (0, 0o755), "/": (0, 0o755), "/tmp/ws-7": (5, 0o700), "/tmp": (0, 0o1777)}
    owners["/run/open"] = (5, 0o777)

    def found(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        owner, mode = owners[str(path)]
        return os.stat_result((0o040000 | mode, 0, 0, 0, owner, 0, 0, 0, 0, 0))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", found)
        patch.setattr(Path, "resolve", lambda self: self)
        cases = {
            ("/run/ws/s", 5, 7): True, ("/run/ws/s", 6, 7): False, ("/run/open/s", 5, 7): False,
            ("/tmp/ws-7/s", 5, 7): False, ("/tmp/ws-7/s", 0, 7): True, ("/tmp/ws-7/s", 7, 7): True,
        }  # fmt: skip
        assert {case: may_listen(Path(case[0]), *case[1:]) for case in cases} == cases


def test_a_listener_of_another_user_is_told_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Path, int, int]] = []

    def refuse(path: Path, listener: int, user: int) -> bool:
        asked.append((path, listener, user))
        return False

    monkeypatch.setattr("wsdaemon.ops.control.may_listen", refuse)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "other.sock"))
        listener.listen()
        with pytest.raises(ControlError, match="neither root, nor this user"):
            ask(tmp_path / "other.sock", "status")
        client, _ = listener.accept()
        with client:
            assert client.recv(100) == b""
    assert asked == [(tmp_path / "other.sock", os.geteuid(), os.geteuid())]
