"""The settings file, read again: with secrets that this process may still read, and those that only the start could read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wsdaemon.daemon.control import OperationFailed
from wsdaemon.daemon.inheritance import take_files
from wsdaemon.daemon.reread import SettingsFile
from wsdaemon.settings.ini import load

TEXT = "[admin]\ntoken_file = token\n[listener:web]\naddress = tcp:0\n[mount:/echo]\napp = echo\n"


def make(folder: Path) -> SettingsFile:
    (folder / "ws.ini").write_text(TEXT)
    (folder / "token").write_text("the-first-token-1234")
    return SettingsFile("ws.ini", folder, take_files(load(folder / "ws.ini")))


def token(file: SettingsFile) -> str:
    admin = file.parse(file.read()).admin
    assert admin is not None and admin.token_file is not None
    return admin.token_file.reveal()


def test_secrets_are_read_again(tmp_path: Path) -> None:
    file = make(tmp_path)
    (tmp_path / "token").write_text("the-other-token-1234")
    assert token(file) == "the-other-token-1234"
    assert file.unreadable == []


def test_a_secret_that_only_the_start_could_read_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = make(tmp_path)
    (tmp_path / "token").write_text("the-other-token-1234")
    monkeypatch.setattr(os, "access", lambda path, mode, effective_ids: not str(path).endswith("token"))
    assert file.unreadable == [str(tmp_path / "token")]
    assert token(file) == token(file) == "the-first-token-1234"
    before = len(list(Path("/proc/self/fd").iterdir()))
    token(file)
    assert len(list(Path("/proc/self/fd").iterdir())) == before, "the content is kept once"


def test_every_problem_is_told(tmp_path: Path) -> None:
    file = make(tmp_path)
    (tmp_path / "ws.ini").write_text(TEXT + "bogus = 1\nmax_message = x\n")
    with pytest.raises(OperationFailed) as failed:
        file.parse(file.read(), lambda settings: [settings.problem("daemon", "and one beyond")])
    assert len(failed.value.problems) == 3
    (tmp_path / "ws.ini").write_bytes(b"\xff")
    with pytest.raises(OperationFailed, match="UTF-8"):
        file.read()
    (tmp_path / "ws.ini").unlink()
    with pytest.raises(OperationFailed, match="no such file"):
        file.read()
