"""command/main.py: subcommands, usage errors, the version, and the libraries that a daemon never loads."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from wsdaemon.command import main as command
from wsdaemon.command.exits import CommandFailed, Exit
from wsdaemon.version import __version__

DAEMONS = "wsdaemon.tap, wsdaemon.server, wsdaemon.daemon.daemon, wsdaemon.daemon.supervisor, wsdaemon.daemon.worker, wsdaemon.daemon.hub"


def ended(monkeypatch: pytest.MonkeyPatch, *line: str) -> int:
    monkeypatch.setattr(sys, "argv", ["wsdaemon", *line])
    with pytest.raises(SystemExit) as end:
        command.main()
    return int(end.value.code or 0)


def test_the_version_goes_to_standard_output(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(monkeypatch, "--version") == Exit.DONE
    assert capsys.readouterr().out == f"wsdaemon {__version__}\n"


@pytest.mark.parametrize("name", command.SUBCOMMANDS)
def test_each_subcommand_has_help_of_its_own(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(monkeypatch, name, "--help") == Exit.DONE
    shown = capsys.readouterr().out
    assert shown.startswith(f"Usage: wsdaemon {name}")
    found = command.cli.get_command(click.Context(command.cli), name)
    assert found is not None
    assert found.name == name
    assert found.help


def test_the_help_lists_the_subcommands_in_order(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(monkeypatch, "--help") == Exit.DONE
    lines = capsys.readouterr().out.partition("Commands:\n")[2].splitlines()
    listed = [line.split()[0] for line in lines if line.startswith("  ") and line[2:3].isalpha()]
    assert [name for name in listed if name in command.SUBCOMMANDS] == list(command.SUBCOMMANDS)


@pytest.mark.parametrize("line", [("chek",), ("check", "--no-such-option"), ("completion", "tcsh")])
def test_a_wrong_command_line_is_told_on_standard_error(
    line: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, *line) == Exit.USAGE
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "wsdaemon: " in shown.err
    assert "\x1b" not in shown.err


def test_a_failure_ends_the_process_with_its_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(file: str | None) -> str:
        raise CommandFailed("another operation runs", Exit.BUSY)

    monkeypatch.setattr("wsdaemon.command.serving.settings_file", fail)
    assert ended(monkeypatch, "check") == Exit.BUSY
    assert capsys.readouterr().err == "wsdaemon: another operation runs\n"


def test_ctrl_c_has_the_status_of_shells(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(file: str | None) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("wsdaemon.command.serving.settings_file", interrupt)
    assert ended(monkeypatch, "check") == Exit.INTERRUPTED


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_names_the_program(shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(monkeypatch, "completion", shell) == Exit.DONE
    assert "_WSDAEMON_COMPLETE" in capsys.readouterr().out


def test_no_process_of_a_daemon_loads_the_libraries_of_the_command() -> None:
    program = f"import sys, {DAEMONS}; print(*[name for name in ('click', 'rich', 'wsdaemon.command') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_python_m_wsdaemon_is_the_command_and_a_closed_pipe_is_no_traceback() -> None:
    line = [sys.executable, "-m", "wsdaemon"]
    done = subprocess.run([*line, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"wsdaemon {__version__}\n"
    with subprocess.Popen([*line, "completion", "bash"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as piped:
        assert piped.stdout is not None
        assert piped.stderr is not None
        piped.stdout.close()
        assert piped.stderr.read() == b""
