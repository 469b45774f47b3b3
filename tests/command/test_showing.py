"""command/showing.py: a pipe, a terminal and JSON lines."""

from __future__ import annotations

import io
import json
import sys

import pytest

from wsdaemon.command.showing import JsonShown, PipeShown, TerminalShown


def test_json_lines_carry_text_and_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    shown = JsonShown()
    shown.message("a\nb")
    shown.message(b"\x00\xff")
    shown.closed(1000, "bye", True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.pop("time") > 0 for line in lines] == [True] * 3
    assert lines == [
        {"event": "message", "data": "a\nb"},
        {"event": "message", "data": "AP8=", "encoding": "base64"},
        {"event": "close", "code": 1000, "reason": "bye", "clean": True},
    ]


@pytest.mark.parametrize(("binary", "expected"), [(False, b"text\n\x00\xff\n"), (True, b"text\x00\xff")])
def test_a_pipe_is_given_the_bytes_as_they_are(binary: bool, expected: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written))
    shown = PipeShown(binary, verbose=False)
    shown.message("text")
    shown.message(b"\x00\xff")
    assert written.getvalue() == expected


def test_a_pipe_is_told_only_of_bad_ends(capsys: pytest.CaptureFixture[str]) -> None:
    shown = PipeShown(False, verbose=False)
    shown.closed(1000, "", True)
    assert capsys.readouterr() == ("", "")
    shown.closed(1006, "gone", False)
    shown.closed(1000, "", False)
    assert capsys.readouterr() == (
        "", "closed with 1006 (gone), without a whole closing handshake\nclosed with 1000, without a whole closing handshake\n"
    )  # fmt: skip


def test_a_terminal_is_not_steered_by_the_server() -> None:
    lines: list[str] = []
    shown = TerminalShown(lines.append)
    shown.message("\x1b]0;title\x07")
    shown.message(bytes(range(40)))
    shown.closed(1000, "\x1b[2J", True)
    assert not any("\x1b]" in line or "\x1b[2J" in line or "\x07" in line for line in lines)
    assert "40 bytes: 00 01" in lines[1]
    assert lines[1].endswith("1f ...")


def test_a_terminal_at_the_end_of_a_pipe_is_not_steered_either(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, "utf-8")
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdout", stream)
    shown = PipeShown(True, verbose=False)
    shown.message("\x1b[2J\x9b")
    shown.message(b"\x1b[2J")
    stream.flush()
    assert written.getvalue() == b"\\x1b[2J\\x9b\n4 bytes: 1b 5b 32 4a\n"
