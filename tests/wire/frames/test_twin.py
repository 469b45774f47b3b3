"""wire/frames/twin.py: the parts that only the twin in Python has. test_twin_reading.py and test_twin_partial.py test both twins."""

from __future__ import annotations

import random
import socket

import pytest

from tests.support.fakes import MASK, binary
from wsdaemon.wire.frames import twin
from wsdaemon.wire.frames.twin import Partial, begin, longest_compressed, send, take


@pytest.mark.parametrize("size", [0, 1, 3, 4, 16_383, 16_384, 16_387, 70_001])
def test_both_ways_of_unmasking_agree(size: int) -> None:
    """Short payloads are one XOR of two integers, long ones four look-ups in a table."""
    payload = random.Random(size).randbytes(size)
    assert twin._unmask(twin._unmask(payload, MASK), MASK) == payload
    assert take(binary(payload), 0, 100_000, 0, 10) == ([2, payload], len(binary(payload)))


def test_the_memory_of_a_large_payload_costs_nothing_until_it_comes() -> None:
    partial = begin(binary(bytes(1 << 20))[:100], 0, 1 << 20, 0)
    assert isinstance(partial, Partial)
    assert len(partial.room()) == partial.missing == (1 << 20) - 86


def test_a_compressed_payload_may_be_longer_than_the_message() -> None:
    assert longest_compressed(1000) == 1000 + 125 + 64


def test_a_borrowed_socket_stays_open() -> None:
    near, far = socket.socketpair()
    with near, far:
        assert send(near.fileno(), b"one") == 3
        assert send(near.fileno(), b"two") == 3
        assert far.recv(10) == b"onetwo"
    assert send(near.fileno() if near.fileno() >= 0 else 1 << 20, b"x") == -1
