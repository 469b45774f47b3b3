"""tap.py: the options after `wsdaemon` on twistd's command line, and how a start fails. tests/live/ runs twistd."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from twisted.python import usage

import wsdaemon
from wsdaemon.tap import Options, fail


def options() -> Any:
    return Options()


def test_the_ini_file_has_to_be_named() -> None:
    with pytest.raises(usage.UsageError, match="name the INI file: twistd wsdaemon -c FILE"):
        options().parseOptions([])


@pytest.mark.parametrize("words", [["--nope"], ["-c"], ["-c", "x", "y"]])
def test_what_is_no_option(words: list[str]) -> None:
    with pytest.raises(usage.UsageError):
        options().parseOptions(words)


def test_frames_are_shown_with_dev_alone() -> None:
    with pytest.raises(usage.UsageError, match="--frame-log shows frames with --dev alone"):
        options().parseOptions(["-c", "ws.ini", "--frame-log"])


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        options().parseOptions(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"wsdaemon {wsdaemon.__version__}\n"


@pytest.mark.parametrize("words", [[], ["--check"], ["--print-config"]])
def test_signals_are_the_daemons_before_it_reads_the_settings(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    """SIGHUP would end the process until then; a check is ended by its signals."""
    made = options()

    def read_settings() -> None:
        raise SystemExit(signal.getsignal(signal.SIGHUP) == made.signals._asked_for_later)

    monkeypatch.setattr(made, "_read_settings", read_settings)
    try:
        with pytest.raises(SystemExit) as ended:
            made.parseOptions(["-c", "ws.ini", *words])
    finally:
        made.signals.uninstall()
    assert ended.value.code is not bool(words)


@pytest.mark.parametrize("name", ["config", "check", "print-config", "dev", "frame-log"])
def test_every_option_is_in_the_help(name: str) -> None:
    assert f"--{name}" in Options().getUsage()


@pytest.mark.parametrize(
    ("text", "told"), [("one line", "wsdaemon: one line\n"), ("two\nlines", "wsdaemon:\ntwo\nlines\n"), ("é", "wsdaemon: é\n")]
)
def test_a_failed_start_says_why_and_ends_with_1(text: str, told: str) -> None:
    reading, writing = os.pipe()
    try:
        with pytest.raises(SystemExit) as ended:
            fail(text, writing)
        assert ended.value.code == 1
        assert os.read(reading, 1000) == told.encode()
    finally:
        os.close(reading)
        os.close(writing)


def test_a_terminal_that_is_gone_does_not_hide_the_status() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with pytest.raises(SystemExit) as ended:
            fail("nobody reads this", writing)
        assert ended.value.code == 1
    finally:
        os.close(writing)
