"""command/exits.py: the statuses, and the page that promises them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.command.test_output import Terminal
from wsdaemon.command.exits import CommandFailed, Exit

PAGE = Path(__file__).parents[2] / "docs" / "command.md"


def test_the_page_has_each_status_and_no_other() -> None:
    table = PAGE.read_text().partition("## Exit status")[2].partition("## ")[0]
    assert [int(found) for found in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == sorted(Exit)


def test_a_failure_has_status_1_unless_it_has_another() -> None:
    assert CommandFailed("no").exit_code == 1
    assert CommandFailed("later", Exit.BUSY).exit_code == 3


@pytest.mark.parametrize(("variable", "coloured"), [("", True), ("1", False)])
def test_messages_have_no_colour_if_none_is_wanted(variable: str, coloured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setenv("NO_COLOR", variable)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setattr("click.echo", lambda text, err: told.append(text))
    CommandFailed("no").show()
    assert told == ["\x1b[31mwsdaemon:\x1b[0m no" if coloured else "wsdaemon: no"]
