"""apps/process/output.py: the log's lines are bounded, and no program has the loop for longer than a slice."""

from __future__ import annotations

import pytest

from tests.support.lines import Lines
from wsdaemon.apps.process.framing import FramingError
from wsdaemon.apps.process.output import ERROR_LINE_BYTES, ERROR_LINES, ErrorLog, Errors, Sliced


def test_errors_go_to_the_log_by_line() -> None:
    lines = Lines()
    errors = Errors(ErrorLog(lines, "/p"))
    errors.feed(7, b"one\ntw")
    errors.feed(7, b"o\r\n\n\xff\x1b[31m")
    errors.finish(7)
    assert lines.lines == ["/p, program 7: one", "/p, program 7: two", "/p, program 7: \\xff?[31m"]


def test_a_mount_s_programs_share_so_many_lines_a_minute() -> None:
    lines = Lines()
    log = ErrorLog(lines, "/p")
    for program in range(3):
        Errors(log).feed(program, b"x\n" * 1000)
    assert len(lines.lines) == ERROR_LINES


def test_a_read_with_many_lines_costs_no_more_than_those_that_may_be_logged() -> None:
    added: list[bytes] = []
    left_out: list[int] = []

    class Counted(ErrorLog):
        def add(self, pid: int, line: bytes) -> None:
            added.append(line)

        def leave_out(self, lines: int) -> None:
            left_out.append(lines)

    errors = Errors(Counted(Lines(), "/p"))
    errors.feed(7, b"\n" * 30_000 + b"  x\n" * 30_000 + b"last")
    assert added == [b"  x"] * ERROR_LINES
    assert left_out == [30_000 - ERROR_LINES]
    errors.finish(7)
    assert added[-1] == b"last"


def test_a_line_of_errors_is_cut() -> None:
    lines = Lines()
    errors = Errors(ErrorLog(lines, "/p"))
    for _ in range(100):
        errors.feed(7, b"x" * 50_000)
    assert len(errors._rest) <= ERROR_LINE_BYTES
    errors.feed(7, b"\n")
    [line] = lines.lines
    assert len(line) < ERROR_LINE_BYTES + 50


def test_events_are_handed_over_in_slices() -> None:
    now = 0.0
    taken: list[int] = []

    def take(event: int) -> bool:
        nonlocal now
        now += 0.0005
        taken.append(event)
        return event != 70

    sliced = Sliced(take, lambda: now)
    sliced.add(range(100))
    assert not sliced.go_on()
    assert len(taken) == 16
    while taken[-1] != 70:
        assert not sliced.go_on()
    assert sliced.busy
    while not sliced.go_on():
        assert len(taken) < 100 or sliced.busy
    assert taken == list(range(100))
    assert not sliced.busy
    assert sliced.go_on()


def test_a_fault_of_the_framing_ends_the_events() -> None:
    def events() -> object:
        yield 1
        raise FramingError("x")

    sliced: Sliced[int] = Sliced(lambda event: True)
    sliced.add(events())  # type: ignore[arg-type]
    with pytest.raises(FramingError):
        sliced.go_on()
    assert not sliced.busy
    sliced.add([1])
    sliced.drop()
    assert not sliced.busy
