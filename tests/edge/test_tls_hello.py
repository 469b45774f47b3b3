"""edge/tls_hello.py: the server name in a ClientHello, however it is cut into records."""

from __future__ import annotations

import itertools
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.edge.tls_hello import MAX_HELLO, HelloReader, server_name
from wsdaemon.edge.tls_records import HANDSHAKE, HEADER

NAME = b"www.example.com"


def hello(name: str | None = NAME.decode()) -> bytes:
    """The ClientHello of a real client, as a handshake message."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()[HEADER:]


def record(data: bytes, kind: int = HANDSHAKE) -> bytes:
    return bytes([kind, 3, 1]) + len(data).to_bytes(2, "big") + data


def foreign() -> bytes:
    """The same with a name that is not ASCII."""
    return hello().replace(NAME, b"www.\xe9xample.com")


def test_the_name_is_found() -> None:
    assert server_name(hello()) == NAME
    assert server_name(hello(None)) == b""


@given(st.lists(st.integers(1, 600), max_size=4))
def test_a_name_that_is_not_ascii_is_found_however_the_message_is_cut(cuts: list[int]) -> None:
    message = foreign()
    places = sorted({0, len(message), *(cut for cut in cuts if cut < len(message))})
    *early, last = (record(message[start:end]) for start, end in itertools.pairwise(places))
    reader = HelloReader()
    assert all(reader.acceptable(one) for one in early), "nothing is said before the message is whole"
    assert not reader.acceptable(last)


def test_a_second_one_is_looked_at_too_and_nothing_behind_the_handshake() -> None:
    reader = HelloReader()
    assert reader.acceptable(record(hello()))
    assert not reader.acceptable(record(foreign()))
    reader = HelloReader()
    assert reader.acceptable(record(b"\x10\0\0\1x"))
    assert reader.acceptable(record(foreign())), "another message came first: OpenSSL takes no ClientHello any more"


def test_records_of_other_types_are_openssls_matter() -> None:
    assert HelloReader().acceptable(record(foreign(), 23))


def test_what_is_collected_has_a_bound() -> None:
    reader = HelloReader()
    endless = b"\1\xff\xff\xff" + bytes(16_000)
    taken = 0
    while reader._message or not taken:
        assert reader.acceptable(record(endless if not taken else bytes(16_000)))
        taken += 16_000
        assert taken <= MAX_HELLO + 16_004


@given(st.binary(max_size=200))
def test_no_bytes_break_it(data: bytes) -> None:
    assert isinstance(server_name(data), bytes)
    assert isinstance(HelloReader().acceptable(record(data)), bool)


@given(st.integers(0, 600), st.integers(0, 255))
def test_no_changed_byte_breaks_it(place: int, byte: int) -> None:
    message = bytearray(hello())
    message[place % len(message)] = byte
    assert isinstance(server_name(bytes(message)), bytes)
