"""command/doctor.py: the order of the checks, the output and the exit status."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from wsdaemon.command import doctor as command
from wsdaemon.command.exits import Exit
from wsdaemon.command.findings import CheckFinding, Verdict
from wsdaemon.command.main import cli


@pytest.mark.parametrize(("verdict", "status"), [("good", 0), ("note", 0), ("warning", 0), ("problem", 1)])
def test_a_problem_is_the_status_and_has_its_line(verdict: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = CheckFinding("upgrade", Verdict(verdict), "the text", {"nginx": "the line;"})
    monkeypatch.setattr(command, "_examine", lambda *arguments: iter([found]))
    done = CliRunner().invoke(cli, ["doctor", "ws://server.example/"])
    assert done.exit_code == status
    assert "upgrade: the text" in done.stdout
    assert ("nginx: the line;" in done.stdout) is (verdict != "good")
    done = CliRunner().invoke(cli, ["doctor", "--json", "ws://server.example/"])
    assert json.loads(done.stdout) == {"url": "ws://server.example/", "findings": [found.as_json()]}


@pytest.mark.parametrize("line", [["gopher://x/"], ["-H", "none", "ws://x/"], ["--idle-time", "x", "ws://x/"]])
def test_wrong_usage(line: list[str]) -> None:
    assert CliRunner().invoke(cli, ["doctor", *line]).exit_code == Exit.USAGE


def test_no_server() -> None:
    assert CliRunner().invoke(cli, ["doctor", "ws://127.0.0.1:1/"]).exit_code == Exit.UNREACHABLE
