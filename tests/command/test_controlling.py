"""command/controlling.py: operations by way of the control channel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.support.command_servers import control_server
from wsdaemon.command.controlling import control_paths
from wsdaemon.command.exits import CommandFailed, Exit
from wsdaemon.command.main import cli

FILE = "[daemon]\ncontrol = {control}\n[listener:web]\naddress = tcp:0\n[mount:/echo]\napp = echo\n{more}"


def write(folder: Path, control: str, more: str = "") -> str:
    (folder / "ws.ini").write_text(FILE.format(control=control, more=more))
    return str(folder / "ws.ini")


def done(request: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"line": "at work"}, {"status": 0, "connections": 3}]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["reload"], {"command": "reload", "dry_run": False}),
        (["reload", "--dry-run"], {"command": "reload", "dry_run": True}),
        (["drain"], {"command": "drain"}),
        (["drain", "--over", "2m"], {"command": "drain", "over": 120.0}),
        (["resume"], {"command": "resume"}),
        (["upgrade"], {"command": "upgrade"}),
        (["reopen-logs"], {"command": "reopen-logs"}),
    ],
)
def test_each_command_is_one_request(line: list[str], expected: dict[str, Any], tmp_path: Path) -> None:
    with control_server(tmp_path / "s", done) as seen:
        ended = CliRunner().invoke(cli, [*line, "--control", str(tmp_path / "s")])
        assert (ended.exit_code, ended.stdout, ended.stderr) == (0, "at work\nconnections: 3\n", "")
        ended = CliRunner().invoke(cli, [*line, "--json", "--control", str(tmp_path / "s")])
        assert json.loads(ended.stdout) == {"status": 0, "problems": [], "connections": 3}
        assert ended.stderr == "at work\n"
        assert seen == [expected, expected]


@pytest.mark.parametrize(
    ("answer", "status", "text"),
    [
        ({"status": 1, "problems": ["ws.ini:3: no", "ws.ini:4: no"]}, Exit.FAILED, "wsdaemon: ws.ini:3: no\nwsdaemon: ws.ini:4: no\n"),
        ({"status": 2, "problems": ["busy: reload is under way"]}, Exit.BUSY, "wsdaemon: busy: reload is under way\n"),
        ({"status": 2}, Exit.BUSY, "wsdaemon: the daemon is busy with another operation\n"),
    ],
)
def test_the_status_is_the_answers(answer: dict[str, Any], status: Exit, text: str, tmp_path: Path) -> None:
    with control_server(tmp_path / "s", lambda request: [answer]):
        ended = CliRunner().invoke(cli, ["reload", "--control", str(tmp_path / "s")])
        assert (ended.exit_code, ended.stdout, ended.stderr) == (status, "", text)


def test_results_that_progress_has_told_are_not_told_again(tmp_path: Path) -> None:
    change = "[logging] level: info > debug"
    answer: list[dict[str, Any]] = [{"line": change}, {"status": 0, "changes": [change], "restart": ["[daemon] workers"]}]
    with control_server(tmp_path / "s", lambda request: answer):
        ended = CliRunner().invoke(cli, ["reload", "--dry-run", "--control", str(tmp_path / "s")])
        assert ended.stdout == "[logging] level: info > debug\nrestart: [daemon] workers\n"
    (tmp_path / "s").unlink()
    with control_server(tmp_path / "s", lambda request: [{"status": 0, "changes": []}]):
        assert CliRunner().invoke(cli, ["reload", "--control", str(tmp_path / "s")]).stdout == "changes: none\n"


def test_the_file_names_the_socket_even_if_it_has_problems(tmp_path: Path) -> None:
    file = write(tmp_path, "unix:control.sock", "no_such_key = 1\n")
    assert control_paths(file, None) == [tmp_path / "control.sock"]
    with control_server(tmp_path / "control.sock", lambda request: [{"status": 1, "problems": ["no_such_key"]}]):
        assert CliRunner().invoke(cli, ["reload", "-c", file]).exit_code == Exit.FAILED


def test_a_daemon_without_a_control_channel(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="control = none"):
        control_paths(write(tmp_path, "none"), None)


def test_no_daemon_is_there(tmp_path: Path) -> None:
    ended = CliRunner().invoke(cli, ["resume", "-c", write(tmp_path, "auto")])
    assert ended.exit_code == Exit.UNREACHABLE
    assert "no daemon has its control channel there" in ended.stderr
    (tmp_path / "s").write_text("")
    assert CliRunner().invoke(cli, ["resume", "--control", str(tmp_path / "s")]).exit_code == Exit.UNREACHABLE


def test_an_answer_that_breaks_off_is_no_success(tmp_path: Path) -> None:
    with control_server(tmp_path / "s", lambda request: [{"line": "at work"}]):
        assert CliRunner().invoke(cli, ["upgrade", "--control", str(tmp_path / "s")]).exit_code == Exit.UNREACHABLE


def test_a_wrong_duration_asks_nothing(tmp_path: Path) -> None:
    assert CliRunner().invoke(cli, ["drain", "--over", "soon", "--control", str(tmp_path / "s")]).exit_code == Exit.USAGE


def test_answers_do_not_steer_a_terminal(tmp_path: Path) -> None:
    hostile = "\x1b]0;title\x07\x9b2J"
    answer: list[dict[str, Any]] = [{"line": hostile}, {"status": 1, "problems": [hostile], "text": hostile, hostile: [hostile]}]
    with control_server(tmp_path / "s", lambda request: answer):
        ended = CliRunner().invoke(cli, ["reload", "--control", str(tmp_path / "s")])
    assert not any(character in ended.output for character in "\x1b\x07\x9b")
    assert ended.stderr == "wsdaemon: \\x1b]0;title\\x07\\x9b2J\n"
    assert "text: \\x1b]0" in ended.stdout


def test_a_stranger_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsdaemon.ops.control.may_listen", lambda path, listener, user: False)
    with control_server(tmp_path / "s", done):
        ended = CliRunner().invoke(cli, ["reload", "--control", str(tmp_path / "s")])
    assert ended.exit_code == Exit.REFUSED
    assert "neither root, nor this user" in ended.stderr
