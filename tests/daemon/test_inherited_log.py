"""The log that a new program of the supervisor goes on with, and a child's: test_child_process has the way there."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import globalLogBeginner

from wsdaemon.daemon.inheritance import InheritedLog
from wsdaemon.daemon.inherited_log import begin_log
from wsdaemon.settings.daemon import LoggingSettings


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found: list[Any] = []
    monkeypatch.setattr(globalLogBeginner, "beginLoggingTo", lambda observers, **options: found.extend(observers))
    return found


@pytest.mark.parametrize(("worker", "shown"), [(None, ""), (3, " worker=3")])
def test_the_lines_go_to_the_open_file_with_the_number_of_the_worker_if_it_is_one(
    begun: list[Any], tmp_path: Path, worker: int | None, shown: str
) -> None:  # fmt: skip
    path = tmp_path / "ws.log"
    opened = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    handlers = list(logging.getLogger().handlers)
    log = begin_log(LoggingSettings(), InheritedLog(destination=str(path), prefix=""), opened, worker)
    assert log is not None
    assert begun == [log]
    log({"log_format": "hello", "log_namespace": "wsdaemon", "log_time": 0.0})
    assert path.read_text() == f"1970-01-01T00:00:00.000Z info  wsdaemon{shown}  hello\n"
    log.close()
    assert handlers and logging.getLogger().handlers == handlers, "the handlers that are there stay"


def test_an_observer_of_the_operators_own_takes_the_lines(begun: list[Any]) -> None:
    assert begin_log(LoggingSettings(), InheritedLog(destination="stdout", prefix="", observer="builtins.list"), -1) is None
    assert begun == [[]]
