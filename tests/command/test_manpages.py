"""command/manpages.py: the pages in etc/man are those of the help. `python -m wsdaemon.command.manpages etc/man` writes them anew."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from wsdaemon.command.exits import Exit
from wsdaemon.command.main import SUBCOMMANDS
from wsdaemon.command.manpages import MEANINGS, _escaped, main, pages

MAN = Path(__file__).parents[2] / "etc" / "man"


def test_the_pages_are_those_of_the_help() -> None:
    assert {path.name: path.read_text() for path in MAN.glob("*.1")} == pages()


def test_each_command_and_each_status_is_told() -> None:
    assert set(pages()) == {"wsdaemon.1", *(f"wsdaemon-{name}.1" for name in SUBCOMMANDS)}
    assert list(MEANINGS) == list(Exit)
    assert r"\fB\-r, \-\-rate N\fR" in pages()["wsdaemon-bench.1"]


def test_the_pages_are_well_formed(tmp_path: Path) -> None:
    for name, text in pages().items():
        assert all(re.match(r"\.(TH|SH|TP|PP|B)\b|[^.']", line) for line in text.splitlines()), name
    if shutil.which("groff") is None:
        pytest.skip("groff is missing (groff-base)")
    for name, text in pages().items():
        done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z"], input=text, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), name


def test_text_is_no_request_of_roff() -> None:
    assert _escaped(".TH x") == r"\&.TH x"
    assert _escaped(r"a-b\c") == r"a\-b\ec"


def test_pages_of_commands_that_are_no_more_are_removed(tmp_path: Path) -> None:
    (tmp_path / "wsdaemon-old.1").write_text("")
    (tmp_path / "mine.txt").write_text("")
    main(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*pages(), "mine.txt"}
