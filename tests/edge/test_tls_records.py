"""edge/tls_records.py: where a record ends, and how many without data a client may send."""

from __future__ import annotations

import pytest

from wsdaemon.edge.tls_records import BURST, EMPTY_COST, MAX_RECORD, PER_SECOND, TINY_COST, RecordAllowance, record_size


@pytest.mark.parametrize(
    ("header", "size"),
    [
        (b"\x17\x03\x03\x00\x00", 5),
        (b"\x16\x03\x01\x02\x00", 5 + 512),
        (b"\x14\x03\x03\x00\x01", 6),
        (b"\x15\x03\x03\x48\x00", MAX_RECORD),
        (b"\x17\x03\x03\x48\x01", 0),
        (b"\x17\x03\x03\xff\xff", 0),
        (b"GET /", 0),
        (b"\x13\x03\x03\x00\x01", 0),
        (b"\x19\x03\x03\x00\x01", 0),
        (b"\x16\x02\x00\x00\x01", 0),
    ],
)
def test_where_a_record_ends(header: bytes, size: int) -> None:
    assert record_size(header, 0) == size
    assert record_size(b"before" + header, 6) == size


@pytest.mark.parametrize("cost", [TINY_COST, EMPTY_COST])
def test_so_many_at_once(cost: int) -> None:
    allowance = RecordAllowance(0.0)
    assert all(allowance.spend(cost, 0.0) for _ in range(BURST // cost))
    assert not allowance.spend(cost, 0.0)


def test_time_earns_them_back_up_to_the_burst() -> None:
    allowance = RecordAllowance(0.0)
    for number in range(10_000):
        assert allowance.spend(EMPTY_COST, number * EMPTY_COST / PER_SECOND)
    later = 1e6
    assert all(allowance.spend(TINY_COST, later) for _ in range(BURST))
    assert not allowance.spend(TINY_COST, later)
