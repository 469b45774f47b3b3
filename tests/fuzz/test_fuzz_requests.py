"""Request heads, PROXY headers and Forwarded headers: values or the one refusal, and the same however the bytes were cut."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from random import Random

from tests.support.fuzzing import Budget, again, run
from tests.support.mutators import cut, mutate
from tests.support.requests import written_again
from tests.support.streams import STRANGERS, opening
from wsdaemon.core.handshake import UNIX, Headers, Peer
from wsdaemon.edge.forwarded import ForwardedHeader, Networks, true_client
from wsdaemon.edge.proxy_protocol import MAX_V2, SIGNATURE, ProxyHeader, ProxyHeaderError, ProxyHeaderReader
from wsdaemon.edge.request import MAX_HEAD, BadRequest, Head, HeadReader, parse_head
from wsdaemon.edge.upgrade import upgrade

Reads = list[bytes]

FOUND_REQUESTS: list[Reads] = []
FOUND_PROXY: list[Reads] = []
FOUND_FORWARDED: list[tuple[list[bytes], bool]] = []


def a_peer(peer: Peer) -> None:
    """Fails for what is no address."""
    if peer != UNIX:
        ipaddress.ip_address(peer.host)
        assert 0 <= peer.port <= 65535


# -- request heads

_LINE_ENDS = re.compile(rb"\r\n|[\n\r\x0b\x0c\x1c-\x1e]")


def make_request(random: Random) -> Reads:
    head = mutate(random, random.choice((opening(random), opening(random), random.choice(STRANGERS))), STRANGERS)
    return cut(random, head) or [b""]


def read_head(reads: Sequence[bytes]) -> Head | str | None:
    """The head, the reason of a refusal, or None when more must come."""
    reader = HeadReader(max_body=100)
    for data in reads:
        try:
            head = reader.feed(data)
        except BadRequest as error:
            return error.reason if 400 <= error.status <= 505 and error.detail else None
        if head is not None:
            return head
        assert reader._held is not None and len(reader._held) <= MAX_HEAD + len(data), "it holds more than a head"
    return None


def check_requests(inputs: Sequence[Reads]) -> None:
    for reads in inputs:
        cut_up, whole = read_head(reads), read_head([b"".join(reads)])
        assert type(cut_up) is type(whole), f"cut: {cut_up!r}, whole: {whole!r}"
        if not isinstance(whole, Head):
            continue
        assert cut_up == whole, "cuts made another head of it"
        read_again = parse_head(written_again(whole), 100)
        assert replace(read_again, raw=b"") == replace(whole, raw=b""), "written out and read again, it is another head"
        lines = written_again(whole).removesuffix(b"\r\n\r\n")
        assert len(_LINE_ENDS.split(lines)) == 1 + len(whole.headers.raw), "others would cut its lines elsewhere"
        with suppress(BadRequest):
            assert len(upgrade(whole).key) == 24


# -- PROXY headers

_ADDRESSES = bytes([192, 0, 2, 1, 192, 0, 2, 2, 4, 0, 0, 80])

PROXY = (
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1024 80\r\n",
    b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.2 65535 0\r\n",
    b"PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
    SIGNATURE + b"\x21\x11\x00\x0c" + _ADDRESSES,
    SIGNATURE + b"\x21\x21\x00\x2b" + bytes(range(36)) + b"\x03\x00\x04abcd",
    SIGNATURE + b"\x21\x31\x00\xd8" + b"/run/x".ljust(108, b"\0") * 2,
    SIGNATURE + b"\x20\x00\x00\x00",
    SIGNATURE + b"\x21\x00\x01\x00" + bytes(256),
)


def make_proxy(random: Random) -> Reads:
    data = random.choice(PROXY)
    if random.random() < 0.8:
        data = mutate(random, data, PROXY)
    return cut(random, data + random.choice((b"", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", data))) or [b""]


def read_proxy(reads: Sequence[bytes]) -> tuple[ProxyHeader, bytes] | bool | None:
    """The header and what follows, False when it is none, None when more must come."""
    reader = ProxyHeaderReader()
    for number, data in enumerate(reads):
        try:
            header = reader.feed(data)
        except ProxyHeaderError:
            return False
        if header is not None:
            return header, reader.rest + b"".join(reads[number + 1 :])
        assert 0 < reader.needed <= MAX_V2 + 16
    return None


def read_exactly(data: bytes) -> tuple[ProxyHeader, bytes] | bool | None:
    """As the listener reads: as much as is needed for sure, so that nothing is taken that is not the header's."""
    reader, position, budget = ProxyHeaderReader(), 0, Budget()
    budget.set(MAX_V2 + 16)
    while position < len(data):
        budget.spend()
        part = data[position : position + reader.needed]
        position += len(part)
        try:
            header = reader.feed(part)
        except ProxyHeaderError:
            return False
        if header is not None:
            assert reader.rest == b"", "it took what follows the header"
            return header, data[position:]
    return None


def check_proxy(inputs: Sequence[Reads]) -> None:
    for reads in inputs:
        found = read_proxy(reads)
        whole = b"".join(reads)
        assert found == read_proxy([whole]), "cuts made something else of it"
        assert found == read_exactly(whole), "reading only what is needed made something else of it"
        if isinstance(found, tuple):
            for peer in (found[0].source, found[0].destination):
                if peer is not None:
                    a_peer(peer)


# -- Forwarded

FORWARDED = (
    b"for=192.0.2.60;proto=http;by=203.0.113.43",
    b'for="[2001:db8:cafe::17]:4711", for=10.0.0.1;proto=https',
    b'For="192.0.2.43:47011";Proto=WSS, for=unknown, for="_hid\\"den"',
    b'for=10.0.0.2;host="a,b;c=\\"d", for=10.0.0.3',
    b",".join([b"for=10.0.0.1"] * 60),
)
FOR = (b"192.0.2.43", b"2001:db8::1, 10.0.0.1", b"[2001:db8::1]:80, 192.0.2.1:65535", b"unknown, 10.0.0.9", b",".join([b"10.1.2.3"] * 70))
PROTO = (b"https", b"http, https", b"wss", b"", b"HTTPS ,ws")
TRUSTED = Networks.parse("10.0.0.0/8, ::1, 2001:db8::/32, unix")


def make_forwarded(random: Random) -> tuple[list[bytes], bool]:
    """Header lines, and whether the client came over TLS."""
    lines = []
    for name, values in ((b"forwarded", FORWARDED), (b"x-forwarded-for", FOR), (b"x-forwarded-proto", PROTO)):
        lines += [name + b":" + mutate(random, random.choice(values), values) for _ in range(random.choice((0, 1, 1, 2)))]
    return lines, random.random() < 0.5


def check_forwarded(inputs: Sequence[tuple[list[bytes], bool]]) -> None:
    for lines, secure in inputs:
        for seen in (Peer("10.0.0.1", 1), UNIX, Peer("192.0.2.9", 2)):
            kinds: tuple[ForwardedHeader, ...] = ("x-forwarded-for", "forwarded")
            for kind in kinds:
                client = true_client(Headers.trusted(lines), seen, secure, TRUSTED, kind)
                a_peer(client.peer)
                assert isinstance(client.secure, bool)
                if seen not in TRUSTED:
                    assert client == (seen, secure, False), "a stranger was believed"


def test_requests() -> None:
    run("requests", make_request, check_requests)


def test_proxy() -> None:
    run("proxy", make_proxy, check_proxy)


def test_forwarded() -> None:
    run("forwarded", make_forwarded, check_forwarded)


def test_found() -> None:
    for reads in FOUND_REQUESTS:
        again(reads, check_requests)
    for reads in FOUND_PROXY:
        again(reads, check_proxy)
    for lines in FOUND_FORWARDED:
        again(lines, check_forwarded)
