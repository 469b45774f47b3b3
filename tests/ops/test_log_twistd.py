"""The effect of twistd's own options on the log. tests/live/test_logs_live.py has the same with a real twistd."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from wsdaemon.ops.log_destinations import LogError, SyslogDestination
from wsdaemon.ops.log_format import JsonRenderer, TextRenderer, TextShape
from wsdaemon.ops.log_twistd import install, log_for_twistd
from wsdaemon.ops.logs import DaemonLog, LevelFilter, LogOptions, make_log


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


class Syslog:
    """A syslog daemon's socket."""

    def __init__(self, path: Path, kind: socket.SocketKind = socket.SOCK_DGRAM) -> None:
        self.socket = socket.socket(socket.AF_UNIX, kind)
        self.socket.bind(str(path))
        self.socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def line(self) -> str:
        return self.socket.recv(65536).decode()


def syslog_log(path: Path, format_name: str = "auto", complaints: list[str] | None = None) -> DaemonLog:
    renderer = JsonRenderer(prefixed=True) if format_name == "json" else TextRenderer(TextShape.PREFIXED)
    told = [] if complaints is None else complaints
    return DaemonLog(LevelFilter("info", {}), renderer, SyslogDestination("mine", str(path)), told.append)


def test_twistds_syslog_option_is_ours() -> None:
    log = log_for_twistd(LogOptions(), {"syslog": True, "prefix": "mine", "logfile": "x"}, {})
    assert log is not None
    assert isinstance(log._destination, SyslogDestination)
    log.open()
    log.close()


def test_syslog_gets_priority_time_and_text(tmp_path: Path) -> None:
    with Syslog(tmp_path / "log") as syslog:
        for format_name in ("auto", "json"):
            log = syslog_log(tmp_path / "log", format_name)
            log.open()
            logger_to(log).error("bad\nnews")
            log.close()
        text = r"<11>(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ 123][0-9] [0-9:]{8} mine: "
        assert re.fullmatch(text + re.escape("wsdaemon.test: bad\\nnews"), syslog.line())
        assert json.loads(syslog.line().partition("mine: ")[2])["message"] == "bad\nnews"


def test_a_syslog_daemon_that_does_not_read_is_not_waited_for(tmp_path: Path) -> None:
    complaints: list[str] = []
    with Syslog(tmp_path / "log") as syslog:
        log = syslog_log(tmp_path / "log", complaints=complaints)
        log.open()
        while log.lost < 3:
            logger_to(log).info("line")
        assert len(complaints) == 1
        syslog.line()
        syslog.line()
        logger_to(log).info("next")
        lines = []
        with contextlib.suppress(BlockingIOError):
            while True:
                lines.append(syslog.line().partition("mine: ")[2])
        assert lines[-2:] == ["wsdaemon.ops.logs: 3 log entries before this one could not be written", "wsdaemon.test: next"]
        log.close()


def test_a_syslog_daemon_that_is_started_later_or_anew_is_found(tmp_path: Path) -> None:
    log = syslog_log(tmp_path / "log")
    log.open()
    logger_to(log).info("no listener")
    assert log.lost == 1
    for _ in range(2):
        with Syslog(tmp_path / "log") as syslog:
            logger_to(log).info("there")
            assert "wsdaemon" in syslog.line()
        (tmp_path / "log").unlink()
    log.close()


def test_a_syslog_daemon_that_wants_a_stream(tmp_path: Path) -> None:
    with Syslog(tmp_path / "log", socket.SOCK_STREAM) as syslog:
        syslog.socket.listen()
        log = syslog_log(tmp_path / "log")
        log.open()
        logger_to(log).info("one")
        logger_to(log).info("two")
        far, _ = syslog.socket.accept()
        with far:
            lines = far.recv(65536).split(b"\0")
        assert [line.partition(b"mine: ")[2] for line in lines] == [b"wsdaemon.test: one", b"wsdaemon.test: two", b""]
        log.close()


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
    before = logging.getLogger().handlers[:]
    undo = install(log, application)
    try:
        assert application.getComponent(ILogObserver) is log
        logging.getLogger("my.app").warning("by Python's logging")
        assert "warn  my.app  by Python's logging" in (tmp_path / "ws.log").read_text()
    finally:
        undo()
    assert logging.getLogger().handlers == before
    observer_interface: Any = ILogObserver
    assert observer_interface.providedBy(log)
    log.close()


def test_install_ends_the_start_with_one_line() -> None:
    with pytest.raises(SystemExit, match=r"^wsdaemon: cannot open the log file /nowhere/ws\.log: No such file or directory$"):
        install(make_log(LogOptions(destination="/nowhere/ws.log"), {}), object())
