"""daemon/hosting.py: from the settings of a mount to the app that hosts a program, and the faults that --check finds."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from wsdaemon.apps.loading import LoadError
from wsdaemon.apps.process import ProcessApp, SharedApp
from wsdaemon.apps.process.framing import Framing, JsonLines, Lines, Netstrings, Plain
from wsdaemon.daemon.apps import load_app
from wsdaemon.daemon.hosting import make_framing, make_launch
from wsdaemon.settings.build import build, section
from wsdaemon.settings.process import ProcessOptions

PATH = {b"PATH": b"/usr/bin:/bin"}


def load(folder: Path, **options: Any) -> Any:
    settings = build([section("listener:a", address="tcp:0"), section("mount:/p", **options)], "test", folder)
    return load_app(settings.mounts[0], lambda connection, doing, error: None).app


def options(folder: Path, **values: Any) -> ProcessOptions:
    sections = [section("listener:a", address="tcp:0"), section("mount:/p", app="process", **values)]
    made = build(sections, "test", folder).mounts[0].options
    assert isinstance(made, ProcessOptions)
    return made


def test_a_program_for_each_connection_or_one_for_all(tmp_path: Path) -> None:
    assert isinstance(load(tmp_path, app="process", command="cat"), ProcessApp)
    assert isinstance(load(tmp_path, app="process", command="cat", slow_client="wait"), ProcessApp)
    assert isinstance(load(tmp_path, app="process", command="cat", shared=True), SharedApp)
    assert isinstance(load(tmp_path, app="process", command="cat", shared=True, slow_client="latest"), SharedApp)


def test_a_program_in_path_is_found_once(tmp_path: Path) -> None:
    launch = make_launch(options(tmp_path, command="sh -c 'exit 1'"), PATH)
    assert (launch.executable, launch.argv, launch.directory) == ("/usr/bin/sh", ("sh", "-c", "exit 1"), tmp_path)
    assert launch.limits == ""


def test_a_relative_program_starts_from_the_directory_of_the_ini_file(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "run"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    assert make_launch(options(tmp_path, command="bin/run x"), PATH).executable == str(program)


def test_a_shell(tmp_path: Path) -> None:
    launch = make_launch(options(tmp_path, command="nowhere | cat", shell=True, directory="/tmp"), PATH)
    assert (launch.executable, launch.argv, launch.directory) == ("/bin/sh", ("/bin/sh", "-c", "nowhere | cat"), Path("/tmp"))


def test_limits(tmp_path: Path) -> None:
    launch = make_launch(options(tmp_path, command="cat", max_cpu="1500ms", max_memory="1MiB", max_files=20), PATH)
    assert launch.limits == "ulimit -t 2 && ulimit -v 1024 && ulimit -n 20 && "


@pytest.mark.parametrize(
    ("values", "key", "message"),
    [
        ({"command": "no-such-program x"}, "command", "there is no program no-such-program in PATH"),
        ({"command": "./nowhere"}, "command", "there is no program"),
        ({"command": "./plain"}, "command", "is not executable"),
        ({"command": "cat", "environment": "PATH=/nowhere"}, "command", "there is no program cat in PATH"),
        ({"command": "cat", "directory": "nowhere"}, "directory", "there is no such directory"),
        ({"command": "cat", "slow_client": "drop_oldest"}, "slow_client", "may lose no bytes"),
        ({"command": "cat", "slow_client": "latest"}, "slow_client", "may lose no bytes"),
    ],
)
def test_a_command_that_cannot_run(tmp_path: Path, values: dict[str, str], key: str, message: str) -> None:
    (tmp_path / "plain").write_text("x")
    with pytest.raises(LoadError, match=message) as caught:
        load(tmp_path, app="process", **values)
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("values", "kind", "encoded"),
    [
        ({}, Lines, b"x\n"),
        ({"newlines": "escape"}, Lines, b"x\n"),
        ({"framing": "binary"}, Plain, b"x"),
        ({"framing": "netstring"}, Netstrings, b"1:x,"),
        ({"framing": "json"}, JsonLines, b'{"text":"x"}\n'),
    ],
)
def test_framings(tmp_path: Path, values: dict[str, str], kind: type, encoded: bytes) -> None:
    make = make_framing(options(tmp_path, command="cat", **values))
    first: Framing = make()
    assert isinstance(first, kind)
    assert first is not make()
    assert first.encode(b"x", True) == encoded


@pytest.mark.parametrize(("framing", "output", "text"), [
    ("lines", "auto", True), ("lines", "binary", False), ("binary", "auto", False), ("binary", "text", True), ("netstring", "text", True),
])  # fmt: skip
def test_the_type_of_output(tmp_path: Path, framing: str, output: str, text: bool) -> None:
    made = make_framing(options(tmp_path, command="cat", framing=framing, output=output))()
    [event] = made.feed(made.encode(b"x", True))
    assert getattr(event, "text", None) is text
