"""command/output.py: colours, units, and text of other machines."""

from __future__ import annotations

import io
import json

import pytest

from wsdaemon.command import output


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "stream", "expected"),
    [
        ({}, Terminal(), True),
        ({}, io.StringIO(), False),
        ({"NO_COLOR": "1"}, Terminal(), False),
        ({"NO_COLOR": ""}, Terminal(), True),  # an empty one counts as none
        ({"TERM": "dumb"}, Terminal(), False),
    ],
)
def test_colours_are_for_terminals(environ: dict[str, str], stream: io.StringIO, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert output.coloured(stream) is expected


def test_text_of_other_machines_cannot_steer_a_terminal() -> None:
    assert output.harmless("plain \N{SNOWMAN}\ttab") == "plain \N{SNOWMAN}\ttab"
    assert output.harmless("\x1b]0;title\x07\n\r\N{RIGHT-TO-LEFT OVERRIDE}\udc80") == r"\x1b]0;title\x07\n\r\u202e\udc80"


def test_json_is_one_line_and_valid(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"text": "two\nlines \N{SNOWMAN}"})
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1
    assert json.loads(shown) == {"text": "two\nlines \N{SNOWMAN}"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.00025, "250 us"), (0.00125, "1.25 ms"), (1.5, "1.50 s"), (90, "1m 30s"), (3700, "1h 1m"), (200_000, "2d 7h")],
)
def test_durations_have_a_unit_that_suits_them(seconds: float, text: str) -> None:
    assert output.seconds_text(seconds) == text


def test_a_row_is_one_line_in_a_pipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    output.console.cache_clear()
    output.console().print(output.table(("id", "mount"), [("4f6d22553e29c459-2", "/" + "x" * 200)]))
    output.console.cache_clear()
    assert capsys.readouterr().out.splitlines()[1:] == ["4f6d22553e29c459-2  /" + "x" * 200]


def test_a_narrow_terminal_never_breaks_an_id() -> None:
    from rich.console import Console

    shown = io.StringIO()
    Console(file=shown, width=30).print(output.table(("id", "mount"), [("4f6d22553e29c459-2", "/" + "x" * 40)]))
    assert "4f6d22553e29c459-2" in shown.getvalue()


def test_a_table_shows_hostile_cells_as_escapes() -> None:
    from rich.console import Console

    shown = Console(file=io.StringIO(), width=80)
    shown.print(output.table(("name", "size"), [("a\x1b[2J", 12), ("[b]bold[/b]", 7)], right=("size",)))
    assert isinstance(shown.file, io.StringIO)
    text = shown.file.getvalue()
    assert r"a\x1b[2J" in text
    assert "[b]bold[/b]" in text, "no markup of a client is obeyed"


def test_json_on_a_terminal_has_no_control_characters(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    text = "\x1b\x7f\x9b2J"
    output.print_json({"text": text})
    shown = capsys.readouterr().out
    assert json.loads(shown) == {"text": text}
    assert shown.rstrip("\n").isprintable()


def test_complaints_are_harmless_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    output.complain("one\x1b[2J\ntwo\x9b")
    assert capsys.readouterr().err == "wsdaemon: one\\x1b[2J\ntwo\\x9b\n"
