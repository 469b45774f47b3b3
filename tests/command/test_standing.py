"""command/standing.py: status and top."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.support.command_servers import admin_server, control_server
from wsdaemon.command.exits import Exit
from wsdaemon.command.main import cli
from wsdaemon.command.standing import Busiest

STATUS: dict[str, Any] = {
    "version": "9.9", "pid": 42, "generation": 3, "state": "ready", "since": 1.0, "connections": 17, "settings": "ws.ini",
    "listeners": [{"name": "web", "address": "tcp:80", "port": 80, "tls": False, "mounts": []}],
    "mounts": [{"path": "/echo", "app": "echo"}],
    "hub": {"number": 0, "pid": 50, "generation": 3, "state": "ready", "connections": 0, "ready_since": 1.0},
    "workers": [{"number": 1, "pid": 51, "generation": 3, "state": "starting", "connections": 17, "ready_since": None}],
}  # fmt: skip

PAGE = {
    "version": "9.9", "pid": 42, "state": "draining", "started_at": 1.0, "connections": {"now": 17, "total": 20, "most": None},
    "listeners": [{"name": "web", "port": 80}], "mounts": [{"path": "/echo", "app": "echo", "connections": {"now": 16}}],
}  # fmt: skip


def connection(name: str, messages_in: int, messages_out: int) -> dict[str, Any]:
    return {"id": name, "mount": "/echo", "address": "192.0.2.7", "messages_in": messages_in, "messages_out": messages_out}


def test_status_of_the_control_channel_shows_generations_and_workers(tmp_path: Path) -> None:
    with control_server(tmp_path / "s", lambda request: [{"status": 0, **STATUS}]):
        ended = CliRunner().invoke(cli, ["status", "--control", str(tmp_path / "s")])
        assert ended.exit_code == Exit.DONE
        assert "wsdaemon 9.9: ready, process 42" in ended.stdout
        assert "17 connections, generation 3" in ended.stdout
        assert [line.split() for line in ended.stdout.splitlines()[-2:]] == [
            ["hub", "50", "3", "ready", "0"], ["worker", "1", "51", "3", "starting", "17"]
        ]  # fmt: skip
        ended = CliRunner().invoke(cli, ["status", "--json", "--control", str(tmp_path / "s")])
        assert json.loads(ended.stdout) == STATUS


def test_status_of_the_admin_pages() -> None:
    with admin_server({("GET", "/status"): (200, PAGE)}) as server:
        ended = CliRunner().invoke(cli, ["status", "--url", f"http://127.0.0.1:{server.port}"])
        assert ended.exit_code == Exit.DONE
        assert "wsdaemon 9.9: draining" in ended.stdout
        assert "mount /echo: echo, 16 connections" in ended.stdout


def test_top_in_a_pipe_is_a_line_of_json_at_each_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsdaemon.command.standing.time.sleep", lambda seconds: None)
    answers: dict[tuple[str, str], tuple[int, object]] = {
        ("GET", "/status"): (200, PAGE),
        ("GET", "/api/connections?after=&limit=1000"): (200, {"connections": [connection("a", 1, 2), connection("b", 3, 4)], "count": 2}),
    }
    with admin_server(answers) as server:
        ended = CliRunner().invoke(cli, ["top", "--count", "2", "--lines", "1", "--json", "--url", f"http://127.0.0.1:{server.port}"])
        assert ended.exit_code == Exit.DONE
        looks = [json.loads(line) for line in ended.stdout.splitlines()]
        assert [(look["count"], look["in_per_second"], len(look["connections"])) for look in looks] == [(2, 0.0, 1)] * 2
        ended = CliRunner().invoke(cli, ["top", "--count", "1", "--url", f"http://127.0.0.1:{server.port}"])
        assert "wsdaemon 9.9: draining, 2 connections" in ended.stdout


def test_rates_are_those_since_the_look_before() -> None:
    busy = Busiest()
    assert [row[:2] for row in busy.rated([connection("a", 100, 100)], 10.0)] == [(0, 0)], "the first look knows no rates"
    rated = busy.rated([connection("a", 110, 100), connection("b", 40, 4), connection("c", 0, 0)], 12.0)
    assert [(row[2]["id"], row[0], row[1]) for row in rated] == [("b", 20.0, 2.0), ("a", 5.0, 0.0), ("c", 0.0, 0.0)]
    assert [row[2]["id"] for row in busy.rated([connection("a", 0, 0)], 14.0)] == ["a"], "a counter that begins anew is no rate below 0"


def test_a_status_does_not_steer_a_terminal(tmp_path: Path) -> None:
    hostile = "\x1b[2J\x9b"
    found = {
        **STATUS, "version": hostile, "generation": hostile, "listeners": [{"name": hostile, "address": hostile}],
        "mounts": [{"path": hostile, "app": hostile}],
    }  # fmt: skip
    with control_server(tmp_path / "s", lambda request: [{"status": 0, **found}]):
        ended = CliRunner().invoke(cli, ["status", "--control", str(tmp_path / "s")])
    assert ended.exit_code == Exit.DONE
    assert ended.stdout.count(r"\x1b[2J\x9b") == 6
    assert "\x1b" not in ended.stdout
    assert "\x9b" not in ended.stdout


def test_a_daemon_that_the_command_line_names_comes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    controlled = control_server(tmp_path / "s", lambda request: [{"status": 0, **STATUS}])
    with admin_server({("GET", "/status"): (200, PAGE)}) as server, controlled:
        monkeypatch.setenv("WSDAEMON_ADMIN_URL", f"http://127.0.0.1:{server.port}")
        file = tmp_path / "ws.ini"
        file.write_text("[daemon]\ncontrol = unix:s\n[listener:web]\naddress = tcp:0\n[mount:/echo]\napp = echo\n")
        for line in (["--control", str(tmp_path / "s")], ["-c", str(file)]):
            assert "ready, process 42" in CliRunner().invoke(cli, ["status", *line]).stdout
        assert server.seen == []
        assert "draining" in CliRunner().invoke(cli, ["status"]).stdout
