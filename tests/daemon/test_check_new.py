"""daemon/check_new.py: everything that keeps a new generation from a start is found before."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.daemon.test_supervisor_state import STATE, TEXT
from wsdaemon.daemon import check_new
from wsdaemon.daemon.check_new import problems_of
from wsdaemon.daemon.inheritance import VARIABLE
from wsdaemon.daemon.supervisor_state import SupervisorState


def state(folder: Path, text: str) -> SupervisorState:
    return replace(STATE, new_settings=text, directory=str(folder), source="ws.ini", files={})


def test_the_sockets_that_the_daemon_has_are_not_bound_once_more(tmp_path: Path) -> None:
    assert problems_of(state(tmp_path, TEXT)) == [], "/run is another user's, and the socket stands there"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TEXT.replace("app = echo", "app = nowhere:App"), "nowhere"),
        (TEXT.replace("workers = 2", "wokers = 2"), "unknown key; did you mean workers?"),
        (TEXT.replace("workers = 2", "workers ="), "workers is empty now: restart the daemon"),
        (TEXT.replace("/run/ws.sock", "/tmp/other.sock"), "an upgrade keeps the listening sockets as they are"),
        (TEXT.replace("workers = 2", "workers = 2\ncontrol = none"), "[daemon] control has changed, and an upgrade keeps"),
        (TEXT + "[logging]\ndestination = /run/other.log\n", "[logging] destination has changed, and an upgrade keeps"),
    ],
)
def test_each_problem_has_its_line(tmp_path: Path, text: str, expected: str) -> None:
    [problem] = problems_of(state(tmp_path, text))
    assert expected in problem and "ws.ini" in problem


def test_the_last_line_has_the_problems_whatever_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    def raise_it(state: SupervisorState) -> list[str]:
        raise RuntimeError("broken code")

    monkeypatch.setattr(check_new, "problems_of", raise_it)
    monkeypatch.setenv(VARIABLE, str(state(tmp_path, TEXT).write()))
    with pytest.raises(SystemExit) as ended:
        check_new.main()
    assert ended.value.code == 1 and VARIABLE not in os.environ
    [problem] = json.loads(capsys.readouterr().out.splitlines()[-1])["problems"]
    assert problem.endswith("RuntimeError: broken code")
