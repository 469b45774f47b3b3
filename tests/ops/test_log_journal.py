"""The journal's protocol, spoken to a fake journald."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import Logger

from wsdaemon.ops.log_destinations import LogError
from wsdaemon.ops.log_journal import JournalRenderer
from wsdaemon.ops.logs import DaemonLog, LevelFilter, LogOptions, make_log


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def logger_to(log: DaemonLog) -> Logger:
    observer: Any = log
    return Logger("wsdaemon.test", observer=observer)


class Journal:
    """journald's socket, and a reader of its protocol."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.setblocking(False)

    def entry(self) -> dict[str, str]:
        data, ancillary, _, _ = self.socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
        for _, _, content in ancillary:
            descriptor = array.array("i", content)[0]
            with pytest.raises(PermissionError):
                os.write(descriptor, b"x")
            data = os.pread(descriptor, 1 << 20, 0)
            os.close(descriptor)
        return self.parsed(data)

    def waiting(self) -> dict[str, str] | None:
        try:
            return self.entry()
        except BlockingIOError:
            return None

    @staticmethod
    def parsed(data: bytes) -> dict[str, str]:
        fields = {}
        while data:
            line, _, data = data.partition(b"\n")
            name, equals, value = line.partition(b"=")
            if not equals:
                length = int.from_bytes(data[:8], "little")
                value, end, data = data[8 : 8 + length], data[8 + length : 9 + length], data[9 + length :]
                assert end == b"\n"
            fields[name.decode()] = value.decode()
        return fields


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "journal")
    yield made
    made.socket.close()


@pytest.fixture
def journal_log(journal: Journal) -> Iterator[DaemonLog]:
    log = make_log(LogOptions(destination="journal"), {}, journal_socket=journal.path)
    log.open()
    log.open()
    yield log
    log.close()


def test_journal_fields(journal: Journal, journal_log: DaemonLog) -> None:
    fields = {"peer": "203.0.113.9:51812", "ok": True, "none": None, "agent": "a\nPRIORITY=0\nb", "ä": "x", "x" * 70: 1, "payload": b"x"}
    logger_to(journal_log).warn("hello {peer} {agent}", **fields)
    assert journal.entry() == {
        "MESSAGE": "hello 203.0.113.9:51812 a\\nPRIORITY=0\\nb",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "wsdaemon",
        "WSDAEMON_NAMESPACE": "wsdaemon.test",
        "WSDAEMON_PEER": "203.0.113.9:51812",
        "WSDAEMON_OK": "true",
        "WSDAEMON_AGENT": "a\nPRIORITY=0\nb",
    }


def test_the_journal_has_the_number_of_the_worker(journal: Journal) -> None:
    log = make_log(LogOptions(destination="journal"), {}, journal_socket=journal.path, worker=2)
    log.open()
    logger_to(log).info("hello", worker=7)
    assert journal.entry()["WSDAEMON_WORKER"] == "2"
    log.close()


def test_journal_traceback_is_part_of_the_message(journal: Journal, journal_log: DaemonLog) -> None:
    try:
        raise ValueError("no\nway")
    except ValueError:
        logger_to(journal_log).failure("while testing")
    message = journal.entry()["MESSAGE"].split("\n")
    assert message[0] == "while testing"
    assert message[1] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in message[1:])


def test_a_big_entry_goes_as_a_sealed_memory_file(journal: Journal, journal_log: DaemonLog) -> None:
    destination: Any = journal_log._destination
    destination._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the kernel makes it its minimum, some 4 KiB
    before = descriptors()
    logger_to(journal_log).info("{filling}", filling="x" * 12_000)
    assert journal_log.lost == 0
    assert descriptors() == before
    assert journal.entry()["MESSAGE"] == "x" * 12_000


def test_a_journal_that_does_not_read_loses_entries_and_says_so(journal: Journal) -> None:
    log = make_log(LogOptions(destination="journal"), {}, journal_socket=journal.path)
    log.open()
    quiet = DaemonLog(LevelFilter("info", {}), JournalRenderer(), log._destination, lambda _: None)
    for number in range(2000):
        logger_to(quiet).info("{number}", number=number)
        if quiet.lost == 3:
            break
    taken = [journal.entry()["MESSAGE"]]
    while waiting := journal.waiting():
        taken.append(waiting["MESSAGE"])
    assert taken == [str(number) for number in range(len(taken))]
    logger_to(quiet).info("again")
    assert journal.entry()["MESSAGE"] == "3 log entries before this one could not be written"
    assert journal.entry()["MESSAGE"] == "again"
    log.close()


def test_the_journal_is_found_again_after_its_restart(journal: Journal, journal_log: DaemonLog) -> None:
    journal.socket.close()
    Path(journal.path).unlink()
    quiet = DaemonLog(LevelFilter("info", {}), JournalRenderer(), journal_log._destination, lambda _: None)
    logger_to(quiet).info("one")
    assert quiet.lost == 1
    restarted = Journal(Path(journal.path))
    logger_to(quiet).info("two")
    assert "1 log entries" in restarted.entry()["MESSAGE"]
    assert restarted.entry()["MESSAGE"] == "two"
    restarted.socket.close()


def test_without_a_journal_the_start_fails_with_a_reason(tmp_path: Path) -> None:
    log = make_log(LogOptions(destination="journal"), {}, journal_socket=str(tmp_path / "none"))
    with pytest.raises(LogError, match=r"cannot log to the journal: .*/none: No such file or directory; is systemd-journald running"):
        log.open()
    with pytest.raises(LogError, match="too long"):
        make_log(LogOptions(destination="journal"), {}, journal_socket="/" + "x" * 200).open()
