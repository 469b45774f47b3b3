"""edge/tls_reader.py: records in, data out, and the cost of records that carry none."""

from __future__ import annotations

import ssl
from itertools import product
from pathlib import Path

import pytest

from tests.support.fake_loop import Loop
from tests.support.tls import Keys, World
from wsdaemon.edge.tls_reader import BATCHES, GATHER, GIVEN, RECORDS, TlsReader


def opened() -> tuple[TlsReader, World]:
    """The reader of an open connection, and its client."""
    with Loop() as loop:
        world = World(loop).greet()
        return world.layer._reader, world


def test_a_whole_record_is_read_at_once() -> None:
    reader, world = opened()
    data = world.encrypt(b"hello")
    assert reader.read_short(data, len(data)) == b"hello"
    assert not reader.waits and reader.cost == 0


def test_a_few_whole_records_are_read_together() -> None:
    reader, world = opened()
    data = world.encrypt(b"x" * 16_392)
    assert data[3] << 8 | data[4] < len(data) - 5 and len(data) <= GIVEN
    assert reader.read_short(data, len(data)) == b"x" * 16_392
    assert not reader.waits and reader.cost == 0


def test_what_is_no_few_whole_records_is_left_alone() -> None:
    reader, world = opened()
    many = b"".join(world.encrypt(b"12") for _ in range(RECORDS + 1))
    for data in (many, many[:-1], many + b"\x17", b"GET / HTTP/1.1"):
        assert reader.read_short(data, len(data)) is None
    reader.keep(many)
    assert reader.read_short(many, len(many)) is None
    assert reader.read() == (b"12" * (RECORDS + 1), False)


def test_the_beginning_of_a_header_is_not_read_for_ever() -> None:
    reader, world = opened()
    data = world.encrypt(b"hello")
    reader.keep(data + data[:3])
    assert reader.read()[0] == b"hello"
    assert reader.read() == (b"", False)
    assert reader.waits


@pytest.mark.parametrize("cut", range(1, 27))
def test_a_record_in_two_parts(cut: int) -> None:
    reader, world = opened()
    data = world.encrypt(b"hello")
    reader.keep(data[:cut])
    assert reader.read() == (b"", False)
    reader.keep(data[cut:] + world.encrypt(b" again"))
    assert reader.read() == (b"hello again", False)
    assert reader.cost == 0


def test_one_delivery_has_a_bound() -> None:
    reader, world = opened()
    reader.keep(b"".join(world.encrypt(b"y" * 16_384) for _ in range(8)))
    data, more = reader.read()
    assert GATHER <= len(data) < GATHER + 16_384 and more
    while more:
        piece, more = reader.read()
        data += piece
    assert data == b"y" * 8 * 16_384


@pytest.mark.parametrize("size", [7, 16_384, 100_000, 131_072])
def test_a_buffer_that_is_filled_exactly_again_and_again_costs_nothing(size: int) -> None:
    reader, world = opened()
    room = memoryview(bytearray(size))
    for _ in range(20):
        reader.keep(world.encrypt(b"z" * size))
        filled = 0
        while filled < size:
            count, _ = reader.read_into(room[filled:])
            assert count
            filled += count
        assert reader.read_into(room) == (0, False)
    assert reader.cost == 0 and not reader.ended


def test_a_record_larger_than_the_buffer_is_read_on_by_either_way() -> None:
    reader, world = opened()
    reader.keep(world.encrypt(b"a" * 10 + b"b" * 5))
    room = memoryview(bytearray(10))
    assert reader.read_into(room) == (10, True)
    assert reader.read() == (b"b" * 5, False)
    assert reader.cost == 0


def test_close_notify_is_an_end_without_a_fault() -> None:
    reader, world = opened()
    reader.keep(world.encrypt(b"bye") + world.close_notify())
    assert reader.read() == (b"bye", False)
    assert reader.ended and reader.fault is None and reader.waits


def test_a_fault_comes_after_the_data_before_it() -> None:
    reader, world = opened()
    good, bad = world.encrypt(b"good"), world.encrypt(b"bad")
    reader.keep(good + bad[:-1] + bytes([bad[-1] ^ 1]))
    data, more = reader.read()
    assert (data, more) == (b"good", False)
    assert reader.ended and reader.fault is not None and reader.fault[0] == "tls_broken"


def test_after_the_end_nothing_is_read() -> None:
    reader, world = opened()
    reader.keep(world.encrypt(b"late"))
    reader.let_go()
    assert reader.read() == (b"", False) and not reader.waits


def test_tiny_records_cost_little_and_the_work_of_one_call_has_a_bound() -> None:
    reader, world = opened()
    reader.keep(b"".join(world.encrypt(b"t") for _ in range(RECORDS * BATCHES)))
    assert reader.read() == (b"t" * RECORDS, True)
    assert reader.cost == RECORDS
    assert isinstance(world.client, ssl.SSLObject)


RECORD_KINDS = ["data", "long", "tiny", "empty", "key_update", "close_notify", "broken"]


def record(keys: Keys, kind: str) -> bytes:
    if kind == "key_update":
        return keys.key_update()
    if kind == "close_notify":
        return keys.record(b"\x01\x00", 21)
    made = keys.record({"data": b"some data", "long": b"l" * 16_384, "tiny": b"t", "empty": b"", "broken": b"spoilt"}[kind])
    return made[:-1] + bytes([made[-1] ^ 1]) if kind == "broken" else made


def findings(reader: TlsReader, data: bytes, short: bool) -> tuple[object, ...]:
    """All that a reader knows after these bytes."""
    plain: bytes | None
    if short:
        plain = reader.read_short(data, len(data))
    else:
        reader.keep(data)
        plain, _ = reader.read()
    return plain, reader.cost, reader.ended, reader.fault


@pytest.mark.parametrize(("first", "second"), [pair for pair in product(RECORD_KINDS, repeat=2) if pair != ("long", "long")])
def test_two_records_by_the_short_way_and_by_the_long_one(first: str, second: str, tmp_path: Path) -> None:
    found = []
    for short in (True, False):
        with Loop() as loop:
            world = World(loop, keylog=tmp_path / f"keys{short}").greet()
            cipher = world.client.cipher()
            assert cipher is not None
            keys = Keys(tmp_path / f"keys{short}", cipher[0])
            data = record(keys, first) + record(keys, second)
            assert len(data) <= GIVEN, "the short way has no room for two long records"
            found.append(findings(world.layer._reader, data, short))
            if first not in ("close_notify", "broken") and second not in ("close_notify", "broken"):
                more = keys.record(b"more")
                assert world.layer._reader.read_short(more, len(more)) == b"more"
    assert found[0] == found[1]
