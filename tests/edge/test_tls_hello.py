"""edge/tls_hello.py: server names that are not ASCII, however the ClientHello is cut into records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tls import hello_for
from wsdaemon.edge.tls_hello import MAX_HELLO, HelloReader, server_name

HELLO = hello_for("localhost")
STRANGE = HELLO.replace(b"localhost", b"caf\xc3\xa9.host"[:9])


def fragments(record: bytes, size: int) -> list[bytes]:
    """The same message in records of so many bytes."""
    message = record[5:]
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return [record[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces]


def test_the_name() -> None:
    assert server_name(HELLO[5:]) == b"localhost"
    assert server_name(STRANGE[5:]) == b"caf\xc3\xa9.hos"
    assert server_name(hello_for("192.0.2.1")[5:]) == b""


@pytest.mark.parametrize("size", [1, 3, 100, 16_384])
def test_records_of_any_size(size: int) -> None:
    reader = HelloReader()
    assert all(reader.acceptable(record) for record in fragments(HELLO, size))
    reader = HelloReader()
    answers = [reader.acceptable(record) for record in fragments(STRANGE, size)]
    assert answers == [True] * (len(answers) - 1) + [False]


def test_the_second_hello_too() -> None:
    """After a HelloRetryRequest; a ChangeCipherSpec may come between (RFC 8446 D.4)."""
    reader = HelloReader()
    assert reader.acceptable(HELLO) and reader.acceptable(b"\x14\x03\x03\x00\x01\x01")
    assert not reader.acceptable(STRANGE)


def test_other_messages_end_the_search() -> None:
    reader = HelloReader()
    assert reader.acceptable(HELLO)
    assert reader.acceptable(b"\x16\x03\x03\x00\x05\x10\x00\x00\x01\x00")  # ClientKeyExchange
    assert reader.acceptable(STRANGE)  # encrypted by now, whatever it looks like


def test_no_more_is_kept_than_openssl_takes() -> None:
    reader = HelloReader()
    record = b"\x16\x03\x03\x40\x00" + b"\x01\xff\xff\xff" + bytes(16_380)
    for _ in range(20):
        assert reader.acceptable(record)
        assert len(reader._message) <= MAX_HELLO


@given(st.binary(max_size=300), st.integers(0, len(HELLO) - 6))
def test_nothing_makes_it_raise(noise: bytes, at: int) -> None:
    message = HELLO[5:]
    server_name(message[:at] + noise + message[at + len(noise) :])
    server_name(noise)
    HelloReader().acceptable(b"\x16\x03\x03" + len(noise).to_bytes(2, "big") + noise)
