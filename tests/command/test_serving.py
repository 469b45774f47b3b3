"""command/serving.py: run and check."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from wsdaemon.command.exits import CommandFailed, Exit
from wsdaemon.command.main import cli
from wsdaemon.command.serving import settings_file, twistd_line

GOOD = "[listener:web]\naddress = tcp:0:interface=127.0.0.1\n[mount:/echo]\napp = echo\n"


def command(folder: Path, *line: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, because a check installs the reactor."""
    return subprocess.run([sys.executable, "-m", "wsdaemon", *line], cwd=folder, capture_output=True, text=True, check=False)


def test_run_becomes_twistd_in_the_foreground(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    begun: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda program, line: begun.append(line))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ws.ini").write_text(GOOD)
    CliRunner().invoke(cli, ["run"])
    CliRunner().invoke(cli, ["run", "-c", "other.ini", "--pidfile", "ws.pid", "--uid", "www", "--gid", "www"])
    assert begun == [twistd_line("ws.ini", ("--pidfile=",)), twistd_line("other.ini", ("--pidfile=ws.pid", "--uid=www", "--gid=www"))]
    assert begun[0][0] == sys.executable
    assert begun[0][-5:] == ["--nodaemon", "--pidfile=", "wsdaemon", "-c", "ws.ini"]


def test_run_for_development(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda program, line: begun.append(line))
    CliRunner().invoke(cli, ["run", "--dev", "-c", "ws.ini"])
    CliRunner().invoke(cli, ["run", "--frame-log", "--dev", "-c", "ws.ini"])
    assert [line[-6:] for line in begun] == [
        ["--nodaemon", "--pidfile=", "wsdaemon", "--dev", "-c", "ws.ini"],
        ["--pidfile=", "wsdaemon", "--dev", "--frame-log", "-c", "ws.ini"],
    ]
    refused = CliRunner().invoke(cli, ["run", "--frame-log", "-c", "ws.ini"])
    assert refused.exit_code == Exit.USAGE
    assert "--frame-log shows frames with --dev alone" in refused.output


def test_run_does_without_the_script_twistd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    assert twistd_line("ws.ini")[:2] == [sys.executable, "-c"]
    line = [*twistd_line("missing.ini"), "--check"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "missing.ini: no such file" in done.stderr


def test_a_file_is_wanted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("wsdaemon.command.serving.PLACES", ("none.ini",))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["run"])
    assert done.exit_code == Exit.USAGE
    assert "there is no none.ini" in done.output


def test_check_says_all_that_twistd_says(tmp_path: Path) -> None:
    (tmp_path / "ws.ini").write_text(GOOD + "interval = 0\n[mount:/mine]\napp = missing_module:app\n")
    done = command(tmp_path, "check")
    assert (done.returncode, done.stdout) == (1, "")
    assert "interval" in done.stderr
    assert "missing_module" in done.stderr


def test_check_as_json(tmp_path: Path) -> None:
    (tmp_path / "ws.ini").write_text(GOOD)
    done = command(tmp_path, "check", "--json")
    assert done.returncode == 0
    answer = json.loads(done.stdout)
    assert answer["good"] is True
    assert answer["problems"] == []
    assert answer["listeners"] == [{"name": "web", "address": "tcp:0:interface=127.0.0.1", "scheme": "ws", "mounts": ["/echo"]}]
    (tmp_path / "ws.ini").write_text(GOOD + "no_such_key = 1\n[mount:/mine]\napp = missing_module:app\n")
    done = command(tmp_path, "check", "--json")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["good"] is False
    assert [(problem["line"], problem["key"]) for problem in answer["problems"]] == [(5, "no_such_key"), (7, "app")]


def test_check_as_json_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    """In this process: without settings there is nothing that needs a reactor."""
    done = CliRunner().invoke(cli, ["check", "--json", "-c", str(tmp_path / "none.ini")])
    assert done.exit_code == Exit.FAILED
    answer = json.loads(done.stdout)
    assert answer["good"] is False
    assert "no such file" in answer["problems"][0]["message"]


@pytest.mark.parametrize(
    ("owner", "mode", "taken"),
    [(None, 0o644, True), (0, 0o644, True), (12_345, 0o644, False), (None, 0o666, False), (None, 0o664, False), (None, 0o777, False)],
)
@pytest.mark.parametrize("name", ["ws.ini", ""])
def test_a_file_that_another_user_can_have_made_is_not_taken(
    name: str, owner: int | None, mode: int, taken: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As user 4321, whose files are those without an owner here."""
    (tmp_path / "ws.ini").write_text(GOOD)
    plain = Path.stat

    def stat(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        found = list(plain(path, follow_symlinks=follow_symlinks))
        odd = path.absolute() == tmp_path / name
        found[0] = int(found[0]) & ~0o777 | (mode if odd else 0o755)
        found[4] = owner if odd and owner is not None else 4321
        found[5] = 54_321
        return os.stat_result(found)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setattr("os.geteuid", lambda: 4321)
    if taken:
        assert settings_file(None) == "ws.ini"
        return
    with pytest.raises(CommandFailed, match="name it with -c") as failed:
        settings_file(None)
    assert failed.value.exit_code == Exit.USAGE
    assert settings_file("ws.ini") == "ws.ini"
