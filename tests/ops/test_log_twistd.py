"""What twistd's own options do to the log. tests/live/test_logs_live.py has the same with a real twistd."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from wsdaemon.ops.log_destinations import LogError, SyslogDestination
from wsdaemon.ops.log_twistd import install, log_for_twistd
from wsdaemon.ops.logs import DaemonLog, LogOptions, make_log


def logger_to(log: DaemonLog) -> Logger:
    observer: Any = log
    return Logger("wsdaemon.test", observer=observer)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_a_new_file_belongs_to_the_user_that_the_daemon_becomes(tmp_path: Path) -> None:
    twistd = {"nodaemon": True, "logfile": str(tmp_path / "ws.log"), "uid": 12345, "gid": 54321}
    log = log_for_twistd(LogOptions(), twistd, {})
    assert log is not None
    log.open()
    log.close()
    status = (tmp_path / "ws.log").stat()
    assert (status.st_uid, status.st_gid) == (12345, 54321)


def test_syslog_gets_priority_and_text(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr("syslog.openlog", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr("syslog.syslog", lambda *arguments: calls.append(arguments))
    for format_name in ("auto", "json"):
        log = log_for_twistd(LogOptions(format=format_name), {"syslog": True, "prefix": "mine", "logfile": "x"}, {})
        assert log is not None
        assert isinstance(log._destination, SyslogDestination)
        log.open()
        logger_to(log).error("bad\nnews")
    assert calls[0][0] == "mine"
    assert calls[1] == (3, "wsdaemon.test: bad\\nnews")
    assert json.loads(calls[3][1])["message"] == "bad\nnews"


@pytest.mark.parametrize(
    ("configured", "twistd", "expected"),
    [
        ("auto", {"nodaemon": True}, "standard output"),
        ("auto", {"debug": True}, "standard output"),
        ("auto", {}, "{cwd}/twistd.log"),
        ("auto", {"nodaemon": True, "logfile": "-"}, "standard output"),
        ("/a/b.log", {"nodaemon": True}, "/a/b.log"),
        ("/a/b.log", {}, "/a/b.log"),
        ("/a/b.log", {"nodaemon": True, "logfile": "c.log"}, "{cwd}/c.log"),
        ("/a/b.log", {"nodaemon": True, "logfile": "-"}, "standard output"),
        ("/a/b.log", {"nodaemon": True, "syslog": True, "logfile": "c.log"}, "syslog"),
        ("journal", {"nodaemon": True, "logfile": "journal"}, "{cwd}/journal"),
    ],
)
def test_the_command_line_wins_over_the_settings(configured: str, twistd: dict[str, Any], expected: str) -> None:
    log = log_for_twistd(LogOptions(destination=configured), twistd, {})
    assert log is not None
    assert log._destination.name == expected.format(cwd=Path.cwd())


def test_an_observer_from_the_command_line_stays_in_charge() -> None:
    assert log_for_twistd(LogOptions(), {"logger": lambda: None, "nodaemon": True}, {}) is None


@pytest.mark.parametrize(("configured", "logfile"), [("stdout", None), ("auto", "-")])
def test_a_daemon_cannot_log_to_standard_output(configured: str, logfile: str | None) -> None:
    with pytest.raises(LogError, match="add --nodaemon, or name a log file"):
        log_for_twistd(LogOptions(destination=configured), {"logfile": logfile}, {})


def test_install_opens_the_log_and_gives_it_to_the_application(tmp_path: Path) -> None:
    make: Callable[[], Any] = Componentized
    application = make()
    log = make_log(LogOptions(destination=str(tmp_path / "ws.log")), {})
    install(log, application)
    assert application.getComponent(ILogObserver) is log
    observer_interface: Any = ILogObserver
    assert observer_interface.providedBy(log)
    log.close()


def test_install_ends_the_start_with_one_line() -> None:
    with pytest.raises(SystemExit, match=r"^wsdaemon: cannot open the log file /nowhere/ws\.log: No such file or directory$"):
        install(make_log(LogOptions(destination="/nowhere/ws.log"), {}), object())
