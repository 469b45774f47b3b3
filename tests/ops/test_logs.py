"""The observer and its destinations: levels, streams, files, the journal, and what happens when writing fails."""

from __future__ import annotations

import errno
import itertools
import json
import os
import pty
import select
import socket
import stat
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import LogEvent, Logger, LogLevel

from wsdaemon.ops.log_destinations import MAX_BACKLOG_BYTES, DescriptorDestination, FileDestination, LogError
from wsdaemon.ops.log_format import JsonRenderer, TextRenderer, TextShape
from wsdaemon.ops.log_writing import PIPE_BYTES, NeverWaiting
from wsdaemon.ops.logs import DaemonLog, LevelFilter, LogOptions, make_log, stream_shape


def log_to(destination: Any, complaints: list[str] | None = None) -> DaemonLog:
    """A log in the shape that is easiest to compare."""
    return DaemonLog(
        LevelFilter("debug", {}), TextRenderer(TextShape.PREFIXED), destination, ([] if complaints is None else complaints).append
    )


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def logger_to(log: DaemonLog, namespace: str = "wsdaemon.test") -> Logger:
    observer: Any = log
    return Logger(namespace, observer=observer)


def event(namespace: str | None, level: Any) -> LogEvent:
    return {"log_namespace": namespace, "log_level": level, "log_format": "x"}


class Pipe:
    """Standard output that is a pipe."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)

    def text(self) -> str:
        try:
            return os.read(self.reading, 1 << 20).decode()
        except BlockingIOError:
            return ""


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.close(made.writing)
    if made.reading >= 0:
        os.close(made.reading)


class FailingDestination:
    """Keeps entries in memory while ``problem`` is None."""

    name = "a disk"

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.problem: OSError | None = None

    def open(self) -> None: ...

    def write(self, entry: bytes) -> None:
        if self.problem is not None:
            raise self.problem
        self.entries.append(entry.decode())

    def take_dropped(self) -> int:
        return 0

    def reopen(self) -> None:
        if self.problem is not None:
            raise self.problem

    def close(self) -> None: ...


# Levels


def test_the_longest_dotted_name_decides() -> None:
    levels = LevelFilter("warn", {"wsdaemon": "info", "wsdaemon.edge": "debug", "wsdaemon.edge.tls": "critical"})
    wanted = {
        name: next(level.name for level in LogLevel.iterconstants() if levels.wants(event(name, level)))
        for name in (
            "other",
            "wsdaemon",
            "wsdaemon.core",
            "wsdaemon.edge",
            "wsdaemon.edge.gate",
            "wsdaemon.edge.tls.x",
            "wsdaemon.edgeless",
        )
    }
    assert wanted == {
        "other": "warn",
        "wsdaemon": "info",
        "wsdaemon.core": "info",
        "wsdaemon.edge": "debug",
        "wsdaemon.edge.gate": "debug",
        "wsdaemon.edge.tls.x": "critical",
        "wsdaemon.edgeless": "info",
    }


def test_events_without_level_or_namespace_have_the_default() -> None:
    assert LevelFilter("info", {}).wants({"log_format": "x"})
    assert not LevelFilter("warn", {}).wants({"log_format": "x"})
    assert LevelFilter("info", {}).wants(event(None, LogLevel.info))


def test_made_up_namespaces_do_not_fill_memory() -> None:
    levels = LevelFilter("info", {"app": "debug"})
    for number in range(10_000):
        assert levels.wants(event(f"app.{number}", LogLevel.debug))
    assert len(levels._known) <= 4096


@pytest.mark.parametrize(
    "options", [LogOptions(level="loud"), LogOptions(levels={"a": "INFO"}), LogOptions(format="xml"), LogOptions(destination="")]
)
def test_wrong_options_are_named(options: LogOptions) -> None:
    with pytest.raises(LogError, match=r"'(loud|INFO|xml)' is not a log .*expected one of|destination: expected"):
        make_log(options, {})


# Standard output


def test_no_colour_in_a_pipe(pipe: Pipe) -> None:
    logger_to(make_log(LogOptions(), {}, descriptor=pipe.writing)).warn("hello")
    line = pipe.text()
    assert line.endswith(" warn  wsdaemon.test  hello\n")
    assert "\x1b" not in line


@pytest.mark.parametrize(
    ("environ", "coloured"),
    [
        ({"TERM": "xterm"}, True),
        ({"NO_COLOR": ""}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": "0"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
@pytest.mark.parametrize("format_name", ["auto", "text"])
def test_colour_on_a_terminal_unless_asked_not_to(environ: dict[str, str], coloured: bool, format_name: str) -> None:
    ours, theirs = pty.openpty()
    try:
        logger_to(make_log(LogOptions(format=format_name, destination="stdout"), environ, descriptor=theirs)).info("hello")
        assert (b"\x1b[32m" in os.read(ours, 1000)) is coloured
    finally:
        os.close(ours)
        os.close(theirs)


def test_text_is_shaped_for_the_journal_only_when_it_reads_this_descriptor(pipe: Pipe) -> None:
    status = os.fstat(pipe.writing)
    environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    assert stream_shape("auto", environ, pipe.writing) is TextShape.PREFIXED
    assert stream_shape("text", environ, pipe.writing) is TextShape.PLAIN
    for other in ("", "1:2", "nonsense"):
        assert stream_shape("auto", {"JOURNAL_STREAM": other}, pipe.writing) is TextShape.PLAIN
    assert stream_shape("auto", environ, 999999) is TextShape.PLAIN
    logger_to(make_log(LogOptions(), environ, descriptor=pipe.writing)).error("hello")
    assert pipe.text() == "<3>wsdaemon.test: hello\n"


def test_json_to_standard_output(pipe: Pipe) -> None:
    logger_to(make_log(LogOptions(format="json"), {}, descriptor=pipe.writing)).info("hello {who}", who="you")
    assert json.loads(pipe.text())["who"] == "you"


def test_a_pipe_that_nobody_reads_does_not_raise(pipe: Pipe) -> None:
    os.close(pipe.reading)
    pipe.reading = -1
    complaints: list[str] = []
    log = log_to(DescriptorDestination(pipe.writing), complaints)
    logger_to(log).info("one")
    logger_to(log).info("two")
    assert log.lost == 2
    assert complaints == ["wsdaemon: cannot write to standard output: Broken pipe; log entries are lost"]


# Loss


def test_lost_entries_are_counted_and_reported() -> None:
    disk, complaints = FailingDestination(), list[str]()
    log = log_to(disk, complaints)
    logger = logger_to(log)
    logger.info("one")
    disk.problem = OSError(errno.ENOSPC, "No space left on device")
    logger.info("two")
    logger.info("three")
    assert log.lost == 2
    disk.problem = None
    logger.info("four")
    logger.info("five")
    assert log.lost == 0
    assert disk.entries == [
        "<6>wsdaemon.test: one\n",
        "<3>wsdaemon.ops.logs: 2 log entries before this one could not be written\n",
        "<6>wsdaemon.test: four\n",
        "<6>wsdaemon.test: five\n",
    ]
    assert complaints == ["wsdaemon: cannot write to a disk: No space left on device; log entries are lost"]


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


# A reader that is behind


def fill(destination: DescriptorDestination, entry: bytes) -> int:
    """Write until no more is taken: how many entries were."""
    for count in itertools.count():
        try:
            destination.write(entry)
        except BlockingIOError:
            return count
    raise AssertionError


def read_until(pipe: Pipe, end: str) -> list[str]:
    """The lines in the pipe up to one that contains `end`."""
    text = ""
    while end not in text or not text.endswith("\n"):
        select.select([pipe.reading], [], [], 20)
        text += pipe.text()
    return text.splitlines()


def test_a_full_pipe_never_waits_and_the_loss_is_told_when_it_flows_again(pipe: Pipe) -> None:
    complaints: list[str] = []
    log = log_to(DescriptorDestination(pipe.writing), complaints)
    logger = logger_to(log)
    written = 0
    while log.lost < 5:
        logger.info("{number} {filling}", number=written, filling="x" * 5000)
        written += 1
    assert complaints == ["wsdaemon: cannot write to standard output: its reader does not keep up; log entries are lost"]
    # The report comes by itself: nothing is logged after this.
    lines = read_until(pipe, "could not be written")
    assert lines[-1] == "<3>wsdaemon.ops.logs: 5 log entries before this one could not be written"
    assert [int(line.split()[1]) for line in lines[:-1]] == list(range(written - 5)), "whole, and in order"
    logger.info("next")
    assert read_until(pipe, "next") == ["<6>wsdaemon.test: next"]
    assert log.lost == 0


def test_the_descriptor_keeps_its_flags_and_is_not_closed(pipe: Pipe) -> None:
    destination = DescriptorDestination(pipe.writing)
    before = descriptors()
    destination.open()
    destination.write(b"one\n")
    assert os.get_blocking(pipe.writing), "the shell that started the daemon has this descriptor too"
    destination.close()
    assert descriptors() == before and pipe.text() == "one\n"


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


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_a_socket_that_is_not_read_never_waits(kind: socket.SocketKind) -> None:
    """Standard output under systemd is a stream socket of the journal."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    with ours, theirs:
        destination = DescriptorDestination(ours.fileno())
        fill(destination, b"x" * 999 + b"\n")
        assert ours.getblocking()
        destination.close()


def test_a_terminal_that_is_stopped_never_waits() -> None:
    master, terminal = os.openpty()
    try:
        termios.tcflow(terminal, termios.TCOOFF)  # Ctrl-S
        destination = DescriptorDestination(terminal)
        fill(destination, b"x" * 999 + b"\n")
        assert os.get_blocking(terminal)
        destination.close()
    finally:
        os.close(master)
        os.close(terminal)


def test_a_pipe_that_cannot_be_opened_again_is_polled(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a daemon whose standard output belongs to another user."""
    real = os.open

    def refuse(path: str, *arguments: Any) -> int:
        if str(path).startswith("/proc/"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *arguments)

    monkeypatch.setattr(os, "open", refuse)
    destination = DescriptorDestination(pipe.writing)
    fill(destination, b"x" * 9999 + b"\n")
    destination.close()


def test_an_event_that_breaks_the_renderer_is_reported() -> None:
    class Unhashable(dict[str, object]):
        pass

    disk = FailingDestination()
    log = log_to(disk)
    log({"log_format": "x", "log_namespace": Unhashable(not_empty=True), "log_level": LogLevel.info})
    assert disk.entries == ["<3>wsdaemon.ops.logs: an event could not be rendered: TypeError\n"]


# Files


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
    for path, problem in ((tmp_path / "none" / "ws.log", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(LogError, match=f"^cannot open the log file {path}: {problem}$"):
            make_log(LogOptions(destination=str(path)), {}).open()


def test_a_fifo_without_a_reader_does_not_stop_the_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(LogError, match="No such device or address"):
        make_log(LogOptions(destination=str(tmp_path / "fifo")), {}).open()


def test_a_relative_path_stays_where_it_was_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log = make_log(LogOptions(destination="ws.log"), {})
    monkeypatch.chdir("/")
    log.open()
    log.close()
    assert (tmp_path / "ws.log").exists()
