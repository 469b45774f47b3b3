"""ops/log_destinations.py: files, and what is lost or kept when a reader is behind."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from tests.support.logs import Pipe, descriptors, fill, log_to, logger_to
from wsdaemon.ops.log_destinations import MAX_BACKLOG_BYTES, DescriptorDestination, FileDestination, LogError
from wsdaemon.ops.log_format import JsonRenderer
from wsdaemon.ops.log_writing import PIPE_BYTES, NeverWaiting
from wsdaemon.ops.logs import DaemonLog, LevelFilter, LogOptions, make_log


def test_a_full_disk_for_real() -> None:
    complaints: list[str] = []
    log = log_to(FileDestination("/dev/full"), complaints)
    log.open()
    logger_to(log).info("one")
    assert log.lost == 1
    assert complaints == ["wsdaemon: cannot write to /dev/full: No space left on device; log entries are lost"]
    log.close()


def test_a_torn_line_is_ended_before_the_next(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    destination = DescriptorDestination(pipe.writing)
    log = DaemonLog(LevelFilter("info", {}), JsonRenderer(), destination, lambda _: None)
    logger = logger_to(log)
    logger.info("one")
    sink, real, sizes = destination._sink, NeverWaiting.send, iter([7, None])

    def full_disk(self: NeverWaiting, data: bytes) -> int:
        size = next(sizes)
        if size is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, data[:size])

    assert sink is not None
    monkeypatch.setattr(NeverWaiting, "send", full_disk)
    logger.info("two")
    monkeypatch.undo()
    logger.info("three")
    lines = pipe.text().splitlines()
    assert len(lines[1]) == 7
    assert [json.loads(line)["message"] for line in lines[2:]] == ["1 log entries before this one could not be written", "three"]


def test_memory_for_a_reader_that_is_behind_has_a_bound(pipe: Pipe) -> None:
    destination = DescriptorDestination(pipe.writing)
    entry = b"x" * 9999 + b"\n"
    count = fill(destination, entry)
    assert destination._backlog_bytes <= MAX_BACKLOG_BYTES
    assert count * len(entry) <= MAX_BACKLOG_BYTES + PIPE_BYTES + len(entry)
    os.close(pipe.reading)
    pipe.reading = -1
    waiting = len(destination._backlog)
    with pytest.raises(OSError, match="Broken pipe"):
        destination.write(entry)
    assert destination.take_dropped() == waiting and destination.take_dropped() == 0
    assert destination._backlog_bytes == 0


def test_a_file_is_made_with_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "ws.log"
    log = make_log(LogOptions(destination=str(path)), {})
    assert not path.exists()
    before = os.umask(0o077)
    try:
        log.open()
        log.open()
    finally:
        os.umask(before)
    logger_to(log).info("hello")
    log.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.read_text().endswith("info  wsdaemon.test  hello\n")


def test_an_existing_file_keeps_its_mode_and_content(tmp_path: Path) -> None:
    path = tmp_path / "ws.log"
    path.write_text("before\n")
    path.chmod(0o600)
    log = make_log(LogOptions(destination=str(path)), {})
    log.open()
    logger_to(log).info("after")
    log.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith("before\n2")


def test_logrotate_renames_and_the_file_is_opened_anew(tmp_path: Path) -> None:
    path, old = tmp_path / "ws.log", tmp_path / "ws.log.1"
    log = make_log(LogOptions(destination=str(path), format="json"), {})
    log.open()
    logger = logger_to(log)
    logger.info("one")
    path.rename(old)
    logger.info("two")
    before = descriptors()
    assert log.reopen()
    assert descriptors() == before
    logger.info("three")
    log.close()
    assert [json.loads(line)["message"] for line in old.read_text().splitlines()] == ["one", "two"]
    assert [json.loads(line)["message"] for line in path.read_text().splitlines()] == ["three"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_the_old_file_stays_when_the_new_one_cannot_be_opened(tmp_path: Path) -> None:
    path, old = tmp_path / "ws.log", tmp_path / "ws.log.1"
    log = make_log(LogOptions(destination=str(path)), {})
    log.open()
    path.rename(old)
    path.mkdir()
    assert not log.reopen()
    logger_to(log).info("still here")
    log.close()
    lines = old.read_text().splitlines()
    assert f"cannot open {path} again: Is a directory; the old file stays in use" in lines[0]
    assert lines[1].endswith("still here")


def test_a_file_that_cannot_be_opened_is_a_clear_error(tmp_path: Path) -> None:
    for path, problem in ((tmp_path / "none" / "ws.log", "No such file or directory"), (tmp_path, "it is a directory; name a file in it")):
        with pytest.raises(LogError, match=f"^cannot open the log file {path}: {problem}$"):
            make_log(LogOptions(destination=str(path)), {}).open()


def test_a_fifo_without_a_reader_does_not_stop_the_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(LogError, match=r"fifo: it is a FIFO that no process reads, or a socket; start its reader first, or name a file$"):
        make_log(LogOptions(destination=str(tmp_path / "fifo")), {}).open()


def test_a_relative_path_stays_where_it_was_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log = make_log(LogOptions(destination="ws.log"), {})
    monkeypatch.chdir("/")
    log.open()
    log.close()
    assert (tmp_path / "ws.log").exists()
