"""command/initial.py: files that pass the checks, and that nothing overwrites."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from wsdaemon.command import initial
from wsdaemon.command.exits import Exit
from wsdaemon.command.main import cli


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were checked: a real check installs the reactor, which one process can do once."""
    files: list[Path] = []
    monkeypatch.setattr("wsdaemon.command.initial._check", files.append)
    return files


def init(*line: str) -> Result:
    return CliRunner().invoke(cli, ["init", "--yes", *line])


def test_the_settings_pass_the_check_of_the_command_itself(tmp_path: Path) -> None:
    line = ["--mount", "/rooms/{room}=rooms", "--mount", "/echo=echo", "--workers", "2", "--address", "tcp:0:interface=127.0.0.1"]
    done = subprocess.run(
        [sys.executable, "-m", "wsdaemon", "init", "--yes", *line, str(tmp_path / "new")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "new" / "ws.ini").exists()
    token = tmp_path / "new" / "admin-token"
    assert token.stat().st_mode & 0o777 == 0o600
    assert len(token.read_text().strip()) == 64


def test_nothing_is_overwritten_without_force(tmp_path: Path, checked: list[Path]) -> None:
    (tmp_path / "admin-token").write_text("mine")
    done = init(str(tmp_path))
    assert done.exit_code == Exit.FAILED
    assert "admin-token: there already" in done.stderr
    assert not (tmp_path / "ws.ini").exists(), "all or none"
    assert init("--force", str(tmp_path)).exit_code == Exit.DONE
    assert (tmp_path / "admin-token").read_text() != "mine"
    assert checked == [tmp_path / "ws.ini"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["admin-token", "ws.ini"]


def test_a_file_that_comes_meanwhile_stays(tmp_path: Path, checked: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ws.ini").write_text("mine")
    monkeypatch.setattr(Path, "exists", lambda self: False)
    assert init("--no-admin", str(tmp_path)).exit_code == Exit.FAILED
    assert (tmp_path / "ws.ini").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["ws.ini"]


@pytest.mark.parametrize("kind", ["service", "socket"])
def test_the_units_are_verified(kind: str, tmp_path: Path, checked: list[Path]) -> None:
    done = init("--systemd", kind, "--address", "tcp:8443", str(tmp_path))
    assert done.exit_code == Exit.DONE
    units = sorted(str(path) for path in tmp_path.iterdir() if path.suffix in (".service", ".socket"))
    assert len(units) == (1 if kind == "service" else 2)
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing (systemd)")
    verified = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.parametrize(
    "line",
    [
        ["--mount", "echo"], ["--mount", "/a b=echo"], ["--mount", "/a]=echo"], ["--tls-key", "key.pem"], ["--user", "no-such-account"],
        ["--systemd", "service", "--admin"],
    ],
)  # fmt: skip
def test_wrong_choices_write_nothing(line: list[str], tmp_path: Path, checked: list[Path]) -> None:
    assert init(*line, str(tmp_path / "new")).exit_code == Exit.USAGE
    assert not (tmp_path / "new").exists()


def test_questions_are_asked_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answers = {"systemd units": "none", "Address to listen on": "tcp:9000", "First mount, as PATH=APP": "/tick=ticker"}

    def prompt(text: str, **options: object) -> str:
        asked.append(text)
        return answers[text]

    monkeypatch.setattr("click.prompt", prompt)
    monkeypatch.setattr("click.confirm", lambda text, default: False)
    monkeypatch.setattr(initial, "SYSTEMD_RUNS", Path("/"))
    given = {"systemd": None, "address": None, "mounts": (), "tls_certificate": None, "tls_key": None, "admin": None, "user": None}
    found = initial._choices({**given, "workers": None}, True, Path("/tmp"))
    assert asked == list(answers)
    assert (found.address, found.mounts, found.admin) == ("tcp:9000", (("/tick", "ticker"),), False)


def test_the_modes_do_not_hang_on_the_umask(tmp_path: Path, checked: list[Path]) -> None:
    before = os.umask(0o077)
    try:
        assert init("--systemd", "service", "--user", "root", str(tmp_path / "a" / "new")).exit_code == Exit.DONE
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "a").rglob("*")}
    assert modes == {"new": 0o755, "ws.ini": 0o644, "admin-token": 0o600, "wsdaemon.service": 0o644}
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o755


def test_a_token_that_the_service_cannot_read_is_told(tmp_path: Path, checked: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 99_999)
    done = init("--systemd", "service", "--user", "root", str(tmp_path / "new"))
    assert done.exit_code == Exit.DONE
    assert f"warning: root cannot read {tmp_path}/new/admin-token" in done.stderr
