"""ops/logs.py: the observer: levels, shapes, and entries that are lost."""

from __future__ import annotations

import errno
import json
import os
import pty
import select
from typing import Any

import pytest
from twisted.logger import LogEvent, LogLevel

from tests.support.logs import Pipe, log_to, logger_to
from wsdaemon.ops.log_destinations import DescriptorDestination, LogError
from wsdaemon.ops.log_format import TextShape
from wsdaemon.ops.logs import LevelFilter, LogOptions, make_log, stream_shape


def event(namespace: str | None, level: Any) -> LogEvent:
    return {"log_namespace": namespace, "log_level": level, "log_format": "x"}


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


def test_an_event_that_breaks_the_renderer_is_reported() -> None:
    class Unhashable(dict[str, object]):
        pass

    disk = FailingDestination()
    log = log_to(disk)
    log({"log_format": "x", "log_namespace": Unhashable(not_empty=True), "log_level": LogLevel.info})
    assert disk.entries == ["<3>wsdaemon.ops.logs: an event could not be rendered: TypeError\n"]
