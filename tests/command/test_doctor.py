"""command/doctor.py: the order of the checks, the output and the exit status."""

from __future__ import annotations

import json
import ssl
from typing import Self

import pytest
from click.testing import CliRunner

from wsdaemon.client.target import Target
from wsdaemon.command import doctor as command
from wsdaemon.command.exits import Exit
from wsdaemon.command.findings import CheckFinding, Verdict
from wsdaemon.command.main import cli
from wsdaemon.command.raw import RawAnswer


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


@pytest.mark.parametrize("verdict", [Verdict.GOOD, Verdict.PROBLEM])
def test_a_server_with_a_bad_certificate_gets_no_credentials(verdict: Verdict, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, str]] = []
    verified: list[bool] = []

    class Connection:
        def __init__(self, target: Target, context: ssl.SSLContext | None = None) -> None:
            self.target, self.context = target, context

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *reason: object) -> None:
            """Nothing is open."""

        def request(self, headers: list[tuple[str, str]]) -> RawAnswer:
            told.append(("resource", self.target.resource))
            told.extend(header for header in headers if header != command.OFFER)
            verified.append(self.context is not None and self.context.verify_mode is ssl.CERT_REQUIRED)
            return RawAnswer(401, {})

    monkeypatch.setattr(command, "RawConnection", Connection)
    monkeypatch.setattr(command, "check_tls", lambda target, trusted: iter([CheckFinding("certificate", verdict, "text")]))
    done = CliRunner().invoke(cli, ["doctor", "-H", "Authorization: Bearer of-mine", "wss://server.example/a?ticket=of-mine"])
    assert done.exit_code == Exit.FAILED
    if verdict is Verdict.GOOD:
        assert told == [("resource", "/a?ticket=of-mine"), ("Authorization", "Bearer of-mine")]
        assert verified == [True], "each connection with credentials verifies for itself"
        assert "credentials" not in done.stdout.partition("401")[0]
    else:
        assert told == [("resource", "/a")]
        assert "credentials: the certificate is not trusted" in done.stdout


@pytest.mark.parametrize("value", ["a\r\nX: b", "secret \N{EURO SIGN}", "secret\x7f"])
def test_headers_that_cannot_be_sent_are_not_repeated(value: str) -> None:
    done = CliRunner().invoke(cli, ["doctor", "-H", f"X: {value}", "ws://127.0.0.1:1/"])
    assert done.exit_code == Exit.USAGE
    assert "--header" in done.stderr
    assert value not in done.stderr


def test_findings_do_not_steer_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    found = CheckFinding("certificate", Verdict.PROBLEM, "names \x1b[2J", {"nginx": "\x1b[2J"})
    monkeypatch.setattr(command, "_examine", lambda *arguments: iter([found]))
    assert "\x1b" not in CliRunner().invoke(cli, ["doctor", "ws://server.example/"]).stdout
