"""wire/deflate/streams.py: a message that compresses badly is cut short by a budget, and can still be read."""

from __future__ import annotations

import random
import zlib
from itertools import count

import pytest

from tests.support.fakes import App, House, request
from wsdaemon.wire.deflate.negotiation import DeflateOptions, DeflateParameters, negotiate
from wsdaemon.wire.deflate.streams import STEP_BYTES, Deflate, compress, deflate_message

PERIOD = random.Random(1).randbytes(2500) * 400
"""A megabyte that repeats itself beyond a window of 11 bits."""


def agreed(bits: int) -> DeflateParameters:
    found = negotiate("permessage-deflate; client_max_window_bits", DeflateOptions(window_bits=bits))
    assert found is not None
    return found[0]


def compressor(bits: int) -> zlib._Compress:
    return zlib.compressobj(6, zlib.DEFLATED, -bits, 4)


@pytest.mark.parametrize("bits", [11, 15])
@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.1])
def test_however_long_it_takes_it_can_be_read(bits: int, seconds: float) -> None:
    clock = count()
    data, in_step = compress(compressor(bits), PERIOD, agreed(bits), lambda: next(clock) * seconds)
    assert zlib.decompressobj(-bits).decompress(data + b"\x00\x00\xff\xff") == PERIOD
    assert in_step is (seconds == 0.0)


def test_a_budget_that_is_used_up_at_once_leaves_one_step_compressed() -> None:
    clock = count()
    payload = b"x" * 10 * STEP_BYTES
    data, _ = compress(compressor(11), payload, agreed(11), lambda: next(clock) * 1.0)
    assert len(payload) / 9 < len(data) < len(payload) / 6, "Huffman codes alone take a bit for each byte"


def test_a_short_message_costs_no_look_at_the_clock() -> None:
    def now() -> float:
        raise AssertionError("not asked")

    assert compress(compressor(11), b"x" * STEP_BYTES, agreed(11), now)[1]


@pytest.mark.parametrize("bits", [11, 15])
def test_the_messages_after_one_that_was_cut_short(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a small window the context goes on, with a large one a new one begins: a client reads both."""
    deflate, decoder = Deflate.server(agreed(bits)), zlib.decompressobj(-bits)
    clock = count()
    monkeypatch.setattr("wsdaemon.wire.deflate.streams.compress.__defaults__", (lambda: next(clock) * 1.0,))
    for payload in (b"before" * 100, PERIOD, b"after" * 100, PERIOD[-3000:]):
        assert decoder.decompress(deflate.deflate(payload) + b"\x00\x00\xff\xff") == payload
    assert zlib.decompressobj(-bits).decompress(deflate_message(PERIOD, agreed(bits)) + b"\x00\x00\xff\xff") == PERIOD


def test_compressing_is_charged_to_the_turn(made: House) -> None:
    client = made.make_wire(App(), opening=request(sec_websocket_extensions="permessage-deflate"), deflate=DeflateOptions(threshold=0))
    clock = count()
    client.turns.now = lambda: float(next(clock))
    client.connection.send("x" * 1000)
    assert client.turns.spent == 1.0
