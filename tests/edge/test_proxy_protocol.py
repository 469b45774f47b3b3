"""edge/proxy_protocol.py: both versions, every split, and nothing read past the header's end."""

from __future__ import annotations

import itertools
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.core.handshake import UNIX, Peer
from wsdaemon.edge.proxy_protocol import MAX_V1, MAX_V2, SIGNATURE, ProxyHeader, ProxyHeaderError, ProxyHeaderReader

CLIENT = b"\x16\x03\x01 what the client sends"


def v2(command: int, family: int, block: bytes, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack(">BBH", 0x20 | command, family, len(block) if length is None else length) + block


def block4(source: str, destination: str, source_port: int, destination_port: int) -> bytes:
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    return addresses + struct.pack(">HH", source_port, destination_port)


def block6(source: str, destination: str, source_port: int, destination_port: int) -> bytes:
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, destination)
    return addresses + struct.pack(">HH", source_port, destination_port)


TLVS = b"\x03\x00\x04\xde\xad\xbe\xef" + b"\x02\x00\x09localhost" + b"\x04\x00\x03\0\0\0"
FOUR = block4("203.0.113.9", "198.51.100.1", 51812, 443)
GOOD = {
    b"PROXY TCP4 203.0.113.9 198.51.100.1 51812 443\r\n": (Peer("203.0.113.9", 51812), Peer("198.51.100.1", 443)),
    b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n": (Peer("0.0.0.0", 0), Peer("255.255.255.255", 65535)),
    b"PROXY TCP6 2001:db8::1 ::1 51812 443\r\n": (Peer("2001:db8::1", 51812), Peer("::1", 443)),
    b"PROXY TCP6 :: :: 1 1\r\n": (Peer("::", 1), Peer("::", 1)),
    b"PROXY TCP6 ::ffff:203.0.113.9 ::1 51812 443\r\n": (Peer("203.0.113.9", 51812), Peer("::1", 443)),
    b"PROXY UNKNOWN\r\n": (None, None),
    b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n": (None, None),
    v2(1, 0x11, FOUR): (Peer("203.0.113.9", 51812), Peer("198.51.100.1", 443)),
    v2(1, 0x11, FOUR + TLVS): (Peer("203.0.113.9", 51812), Peer("198.51.100.1", 443)),
    v2(1, 0x21, block6("2001:db8::1", "::1", 51812, 443)): (Peer("2001:db8::1", 51812), Peer("::1", 443)),
    v2(1, 0x21, block6("::ffff:203.0.113.9", "::1", 1, 2)): (Peer("203.0.113.9", 1), Peer("::1", 2)),
    v2(1, 0x31, b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0")): (UNIX, UNIX),
    v2(1, 0x00, b""): (None, None),
    v2(1, 0x00, TLVS): (None, None),
    v2(1, 0x12, FOUR): (None, None),
    v2(0, 0x00, b""): (None, None),
    v2(0, 0x11, FOUR): (None, None),
    v2(0, 0xFF, b"whatever"): (None, None),
    v2(1, 0x11, FOUR + b"\0" * (MAX_V2 - len(FOUR))): (Peer("203.0.113.9", 51812), Peer("198.51.100.1", 443)),
}


def outcome(chunks: list[bytes]) -> tuple[ProxyHeader, bytes] | str | None:
    """The header and what follows it, "refused", or None for an unfinished one."""
    reader = ProxyHeaderReader()
    for index, chunk in enumerate(chunks):
        try:
            header = reader.feed(chunk)
        except ProxyHeaderError:
            return "refused"
        if header is not None:
            return header, reader.rest + b"".join(chunks[index + 1 :])
    return None


@pytest.mark.parametrize(("data", "addresses"), GOOD.items())
def test_a_header_and_what_follows(data: bytes, addresses: tuple[Peer | None, Peer | None]) -> None:
    header = ProxyHeader(2 if data.startswith(SIGNATURE) else 1, *addresses)
    assert outcome([data]) == (header, b"")
    assert outcome([data + CLIENT]) == (header, CLIENT)


@pytest.mark.parametrize("data", [data for data in GOOD if len(data) < 300])
def test_every_split(data: bytes) -> None:
    whole = outcome([data + CLIENT])
    everything = data + CLIENT
    assert all(outcome([everything[:place], everything[place:]]) == whole for place in range(len(everything)))
    assert outcome([everything[i : i + 1] for i in range(len(everything))]) == whole


@pytest.mark.parametrize("data", GOOD)
def test_needed_never_goes_past_the_end(data: bytes) -> None:
    """A caller who receives exactly `needed` bytes each time takes the header and nothing of TLS."""
    reader, place, reads, header = ProxyHeaderReader(), 0, 0, None
    while header is None:
        count = reader.needed
        assert count > 0
        header = reader.feed((data + CLIENT)[place : place + count])
        place, reads = place + count, reads + 1
    assert place == len(data)
    assert reader.rest == b""
    assert reader.needed == 0
    assert reads <= (4 if data.startswith(SIGNATURE) else 25)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        CLIENT,
        b"proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n",
        b"PROXY TCP5 1.1.1.1 1.1.1.1 1 1\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n",
        b"PROXY TCP4  1.1.1.1 1.1.1.1 1 1\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 1 65536\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 99999 1\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 -1 1\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n",
        b"PROXY TCP4 1.1.1.256 1.1.1.1 1 1\r\n",
        b"PROXY TCP4 ::1 ::1 1 1\r\n",
        b"PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n",
        b"PROXY TCP6 ::g ::1 1 1\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n",
        b"PROXY UNKNOWNX\r\n",
        b"PROXY UNKNOWN\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n",
        b"PROXY TCP4 1.1.1.1\r1.1.1.1 1 1\r\n",
        b"PROXY UNKNOWN " + b"a" * MAX_V1,
        b"PROXY UNKNOWN " + b"a" * (MAX_V1 - 15) + b"\r\n",
        b"\r\n\r\nGET / HTTP/1.1\r\n",
        SIGNATURE + b"\x11\x11\x00\x0c" + FOUR,
        SIGNATURE + b"\x31\x11\x00\x0c" + FOUR,
        SIGNATURE + b"\x22\x11\x00\x0c" + FOUR,
        v2(1, 0x41, FOUR),
        v2(1, 0x13, FOUR),
        v2(1, 0x11, FOUR[:-1]),
        v2(1, 0x21, FOUR),
        v2(1, 0x31, FOUR),
        v2(1, 0x11, b"", length=MAX_V2 + 1),
        v2(0, 0x00, b"", length=65535),
    ],
)
def test_what_is_refused(data: bytes) -> None:
    assert outcome([data]) == "refused"
    assert outcome([data[i : i + 1] for i in range(len(data))]) == "refused"


def ssl_tlv(flags: int, rest: bytes = b"\0\0\0\0") -> bytes:
    return b"\x20" + struct.pack(">H", 1 + len(rest)) + bytes([flags]) + rest


VERSION = b"\x21\x00\x07TLSv1.3"
"""A TLV inside the TLV."""


@pytest.mark.parametrize(
    ("data", "secure"),
    [
        (b"PROXY TCP4 203.0.113.9 198.51.100.1 51812 443\r\n", None),
        (v2(1, 0x11, FOUR), None),
        (v2(1, 0x11, FOUR + TLVS), None),
        (v2(1, 0x11, FOUR + ssl_tlv(1)), True),
        (v2(1, 0x11, FOUR + ssl_tlv(7, b"\0\0\0\0" + VERSION) + TLVS), True),
        (v2(1, 0x11, FOUR + TLVS + ssl_tlv(1)), True),
        (v2(1, 0x11, FOUR + ssl_tlv(0)), False),
        (v2(1, 0x11, FOUR + ssl_tlv(2)), False),
        (v2(1, 0x21, block6("2001:db8::1", "::1", 51812, 443) + ssl_tlv(1)), True),
        (v2(1, 0x31, bytes(216) + ssl_tlv(1)), True),
        (v2(1, 0x11, FOUR + ssl_tlv(1, b"")), None),  # too short to be one
        (v2(1, 0x11, FOUR + ssl_tlv(1)[:-1]), None),  # cut off
        (v2(1, 0x11, FOUR + b"\x02\x00\xff" + ssl_tlv(1)), None),  # swallowed by a longer one
        (v2(0, 0x11, FOUR + ssl_tlv(1)), None),
    ],
)
def test_whether_the_client_came_over_tls(data: bytes, secure: bool | None) -> None:
    header = ProxyHeaderReader().feed(data)
    assert header is not None
    assert header.secure is secure


def test_a_version_1_line_may_have_107_bytes() -> None:
    line = b"PROXY UNKNOWN " + b"a" * (MAX_V1 - 16) + b"\r\n"
    assert len(line) == MAX_V1
    assert outcome([line]) == (ProxyHeader(1), b"")


def test_an_unfinished_header() -> None:
    assert outcome([b""]) is None
    assert outcome([b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r"]) is None
    assert outcome([v2(1, 0x11, FOUR)[:-1]]) is None


addresses4 = st.ip_addresses(v=4).map(str)
addresses6 = st.ip_addresses(v=6).map(str)
ports = st.integers(0, 65535)
headers = st.one_of(
    st.builds(lambda *values: "PROXY TCP4 {} {} {} {}\r\n".format(*values).encode(), addresses4, addresses4, ports, ports),
    st.builds(lambda *values: "PROXY TCP6 {} {} {} {}\r\n".format(*values).encode(), addresses6, addresses6, ports, ports),
    st.builds(lambda tlvs, *values: v2(1, 0x11, block4(*values) + tlvs), st.binary(max_size=30), addresses4, addresses4, ports, ports),
    st.builds(lambda tlvs, *values: v2(1, 0x21, block6(*values) + tlvs), st.binary(max_size=30), addresses6, addresses6, ports, ports),
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(headers, st.binary(max_size=20), st.lists(st.integers(0), max_size=5))
def test_any_cut_gives_the_same_header(data: bytes, rest: bytes, places: list[int]) -> None:
    whole = outcome([data + rest])
    assert isinstance(whole, tuple)
    assert whole[1] == rest
    assert outcome(cut(data + rest, places)) == whole


@given(
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21"]),
    st.binary(max_size=60),
    st.lists(st.integers(0), max_size=5),
)
def test_bytes_of_any_kind_are_read_or_refused_alike_however_cut(start: bytes, end: bytes, places: list[int]) -> None:
    assert outcome(cut(start + end, places)) == outcome([start + end])
