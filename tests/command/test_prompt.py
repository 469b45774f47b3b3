"""command/prompt.py: lines above the prompt, and the file with the history. A pseudo-terminal is the terminal."""

from __future__ import annotations

import os
import pty
import sys
from pathlib import Path

import pytest

from wsdaemon.command.prompt import MOST_LINES, Prompt, history_path


def test_lines_are_printed_above_the_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    prompt = Prompt()
    prompt.above("first")
    prompt._reading = True
    prompt.above("second")
    assert capsys.readouterr().out == "first\n\r\x1b[Ksecond\n> "


def test_lines_end_with_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["one", "two"])

    def read(prompt: str) -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", read)
    assert list(Prompt().lines()) == ["one", "two"]


def test_the_history_is_kept_and_is_the_users_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    readline = pytest.importorskip("readline")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    master, slave = pty.openpty()
    try:
        with os.fdopen(os.dup(slave), "r") as terminal:
            monkeypatch.setattr(sys, "stdin", terminal)
            readline.clear_history()
            with Prompt().kept():
                for number in range(MOST_LINES + 5):
                    readline.add_history(f"line {number}")
            assert history_path() == tmp_path / "wsdaemon" / "history"
            assert history_path().stat().st_mode & 0o777 == 0o600
            assert len([line for line in history_path().read_text().splitlines() if line.startswith("line ")]) == MOST_LINES
            readline.clear_history()
            with Prompt().kept():
                assert readline.get_history_item(1) == "line 5"
    finally:
        readline.clear_history()
        os.close(master)
        os.close(slave)
