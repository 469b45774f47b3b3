"""edge/tls_records.py: where a record ends, and how many records without data a client may send."""

from __future__ import annotations

import pytest

from wsdaemon.edge.tls_records import BURST, EMPTY_COST, HANDSHAKE, HEADER, MAX_RECORD, PER_SECOND, RecordAllowance, record_size


def header(kind: int = HANDSHAKE, major: int = 3, length: int = 10) -> bytes:
    return bytes([kind, major, 3]) + length.to_bytes(2, "big")


@pytest.mark.parametrize("kind", range(20, 25))
def test_a_record_has_the_length_of_its_header_and_its_rest(kind: int) -> None:
    assert record_size(header(kind), 0) == HEADER + 10
    assert record_size(b"xyz" + header(kind, length=0), 3) == HEADER
    assert record_size(header(kind, length=MAX_RECORD - HEADER), 0) == MAX_RECORD


@pytest.mark.parametrize("data", [header(19), header(25), header(major=2), header(length=MAX_RECORD - HEADER + 1), b"GET / HTTP/1.1"])
def test_what_is_no_record(data: bytes) -> None:
    assert record_size(data, 0) == 0


def test_a_burst_is_allowed_and_then_a_rate() -> None:
    allowance = RecordAllowance(100.0)
    assert all(allowance.spend(EMPTY_COST, 100.0) for _ in range(BURST // EMPTY_COST))
    assert not allowance.spend(EMPTY_COST, 100.0)
    assert not allowance.spend(EMPTY_COST, 100.0 + EMPTY_COST / PER_SECOND), "what was refused counts too"
    assert allowance.spend(EMPTY_COST, 101.0)


def test_a_pause_saves_up_no_more_than_a_burst() -> None:
    allowance = RecordAllowance(0.0)
    assert all(allowance.spend(1, 1000.0) for _ in range(BURST))
    assert not allowance.spend(1, 1000.0)


def test_the_rate_may_go_on_for_ever() -> None:
    allowance = RecordAllowance(0.0)
    assert all(allowance.spend(EMPTY_COST, number * EMPTY_COST / PER_SECOND) for number in range(5000))
