"""ops/logs.py: the entries of one turn of the loop are written together, and none is lost, at the end neither."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.logger import Logger

from wsdaemon.ops.log_destinations import DescriptorDestination
from wsdaemon.ops.log_writing import NeverWaiting
from wsdaemon.ops.logs import MAX_GATHERED_BYTES, LogOptions, make_log


class Turning:
    """A loop whose turns a test makes."""

    def __init__(self) -> None:
        self.running = True
        self.soon: list[Any] = []

    def is_running(self) -> bool:
        return self.running

    def call_soon(self, callback: Any) -> None:
        self.soon.append(callback)

    def turn(self) -> None:
        soon, self.soon = self.soon, []
        for callback in soon:
            callback()


class Gathering:
    """A log that writes to a pipe, its loop, and the writes that the pipe has seen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reader, self._writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.log = make_log(LogOptions(level="debug", format="text"), {}, descriptor=self._writer)
        self.log.open()
        self.writes: list[bytes] = []
        send = NeverWaiting.send

        def counted(sink: NeverWaiting, data: bytes) -> int:
            written = send(sink, data)
            self.writes.append(data[:written])
            return written

        monkeypatch.setattr(NeverWaiting, "send", counted)
        self.loop = Turning()
        loop: Any = self.loop
        self.log.gather(loop)
        observer: Any = self.log
        self.logger = Logger("there", observer=observer)

    def read(self) -> list[str]:
        with contextlib.suppress(BlockingIOError):
            return [line.rpartition("  ")[2] for line in os.read(self.reader, 1 << 20).decode().splitlines()]
        return []

    def close(self) -> None:
        self.log.close()
        os.close(self.reader)
        os.close(self._writer)


@pytest.fixture
def gathering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gathering]:
    made = Gathering(monkeypatch)
    yield made
    made.close()


def test_the_entries_of_a_turn_are_written_together_and_in_order(gathering: Gathering) -> None:
    for number in range(10):
        gathering.logger.info("line {number}", number=number)
    assert gathering.read() == [] and len(gathering.loop.soon) == 1
    gathering.loop.turn()
    assert gathering.read() == [f"line {number}" for number in range(10)] and len(gathering.writes) == 1
    gathering.logger.info("again")
    gathering.loop.turn()
    assert gathering.read() == ["again"]


def test_a_warning_is_written_at_once_behind_all_that_came_before(gathering: Gathering) -> None:
    gathering.logger.info("one")
    gathering.logger.warn("two")
    assert gathering.read() == ["one", "two"]
    gathering.loop.turn()
    assert gathering.read() == []


def test_another_thread_writes_at_once_and_in_order(gathering: Gathering) -> None:
    gathering.logger.info("one")
    thread = threading.Thread(target=lambda: gathering.logger.info("two"))
    thread.start()
    thread.join()
    assert gathering.read() == ["one", "two"]


def test_without_a_turn_nothing_waits(gathering: Gathering) -> None:
    """The loop has stopped: the process ends, and may be killed by the signal that ended it."""
    gathering.logger.info("one")
    gathering.loop.running = False
    gathering.logger.info("two")
    assert gathering.read() == ["one", "two"]


@pytest.mark.parametrize("end", ["close", "flush", "reopen"])
def test_at_the_end_nothing_is_left(gathering: Gathering, end: str) -> None:
    gathering.logger.info("one")
    gathering.logger.info("two")
    getattr(gathering.log, end)()
    assert gathering.read() == ["one", "two"]


def test_gathered_entries_are_bounded(gathering: Gathering) -> None:
    most = 0
    for _ in range(300):
        gathering.logger.info("x" * 1000)
        most = max(most, gathering.log._gathered_bytes)
    assert most <= MAX_GATHERED_BYTES and len(gathering.writes) >= 4
    gathering.loop.turn()
    assert len(gathering.read()) == 300


class Narrow:
    """A reader that takes so many bytes, and later the rest."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.taken = b""

    def send(self, data: bytes) -> int:
        if not self.room:
            raise BlockingIOError
        part = data[: self.room]
        self.room -= len(part)
        self.taken += part
        return len(part)

    def close(self) -> None: ...


@pytest.mark.parametrize("room", range(16))
def test_entries_that_are_cut_anywhere_come_whole_and_in_order(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", lambda thread: None)  # the test passes on what waits by itself
    entries = [b"one\n", b"second\n", b"3\n"]
    destination, sink = DescriptorDestination(-1), Narrow(room)
    destination._sink = sink  # type: ignore[assignment]
    for entry in destination.write_together(entries):
        destination.write(entry)
    sink.room = 1000
    destination.write(b"last\n")
    assert sink.taken == b"".join(entries) + b"last\n"
    assert destination.take_dropped() == 0
