"""command/exits.py: the statuses, and the page that promises them."""

from __future__ import annotations

import re
from pathlib import Path

from wsdaemon.command.exits import CommandFailed, Exit

PAGE = Path(__file__).parents[2] / "docs" / "command.md"


def test_the_page_has_each_status_and_no_other() -> None:
    table = PAGE.read_text().partition("## Exit status")[2].partition("## ")[0]
    assert [int(found) for found in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == sorted(Exit)


def test_a_failure_has_status_1_unless_it_has_another() -> None:
    assert CommandFailed("no").exit_code == 1
    assert CommandFailed("later", Exit.BUSY).exit_code == 3
