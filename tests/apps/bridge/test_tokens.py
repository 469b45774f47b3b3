"""apps/bridge/tokens.py: files of tokens that change while the daemon runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.lines import Lines
from wsdaemon.apps.bridge.tokens import MAX_FILE_BYTES, MAX_FILES, Tokens, TokensError
from wsdaemon.core.rare_lines import RareLines


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    path, clock, log = tmp_path / "tokens", Clock(), Lines()
    path.write_text("a: h:1\n")
    tokens = Tokens(path, RareLines(log), clock)
    assert (str(tokens.get("a")), tokens.get("b")) == ("tcp:h:1", None)
    path.write_text("b: h:2\n")
    assert tokens.get("b") is None
    clock.now = 1.0
    assert (tokens.get("a"), str(tokens.get("b"))) == (None, "tcp:h:2")
    path.write_text("secret-token\n")
    clock.now = 2.0
    assert str(tokens.get("b")) == "tcp:h:2"
    path.unlink()
    clock.now = 3.0
    assert str(tokens.get("b")) == "tcp:h:2"
    assert len(log.lines) == 2
    assert all("stay in use" in line and "secret" not in line for line in log.lines)
    path.write_text("c: h:3\n")
    clock.now = 4.0
    assert str(tokens.get("c")) == "tcp:h:3"


def test_a_directory(tmp_path: Path) -> None:
    clock = Clock()
    (tmp_path / "one").write_text("a: h:1\n")
    (tmp_path / ".two").write_text("b: h:1\n")
    tokens = Tokens(tmp_path, RareLines(Lines()), clock)
    assert (str(tokens.get("a")), tokens.get("b")) == ("tcp:h:1", None)
    (tmp_path / "three").write_text("c: h:3\n")
    clock.now = 1.0
    assert str(tokens.get("c")) == "tcp:h:3"


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    lines = RareLines(Lines())
    (tmp_path / "latin").write_bytes(b"\xe4: h:1\n")
    (tmp_path / "large").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    (tmp_path / "bad").write_text("a: h:1\nb\n")
    (tmp_path / "mark").write_bytes("\ufeffa: h:1\r\n".encode())
    wrong = {"latin": "UTF-8", "mark": "byte order mark", "large": "bytes", "bad": "line 2", "nowhere": "No such file"}
    for name, message in wrong.items():
        with pytest.raises(TokensError, match=message):
            Tokens(tmp_path / name, lines)
    many = tmp_path / "many"
    many.mkdir()
    for number in range(MAX_FILES + 1):
        os.link(tmp_path / "bad", many / str(number))
    with pytest.raises(TokensError, match="1000 files"):
        Tokens(many, lines)


def test_a_file_that_every_user_may_write_is_warned_of(tmp_path: Path) -> None:
    log = Lines()
    (tmp_path / "t").write_text("a: h:1\n")
    (tmp_path / "t").chmod(0o666)
    Tokens(tmp_path / "t", RareLines(log))
    assert "every user of this machine may write it" in log.lines[0]
