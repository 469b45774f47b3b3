"""edge/forwarded.py: believed only from trusted proxies, and only as far as they reach."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.core.handshake import UNIX, Headers, Peer
from wsdaemon.edge.forwarded import ForwardedHeader, Networks, true_client

TRUSTED = Networks.parse("10.0.0.0/8, ::1/128, unix")
PROXY = Peer("10.0.0.1", 40000)


KINDS: tuple[ForwardedHeader, ...] = ("x-forwarded-for", "forwarded")


def headers_of(lines: Sequence[tuple[str, str]]) -> Headers:
    return Headers([(name.encode(), value.encode("latin-1")) for name, value in lines])


def client(
    *lines: tuple[str, str], peer: Peer = PROXY, secure: bool = False, trusted: Networks = TRUSTED, header: ForwardedHeader | None = None
) -> tuple[str, bool]:
    """The client's address, and whether it came over TLS. Where no kind of header is named it is that of the first line."""
    kind = header or ("forwarded" if lines and lines[0][0] == "Forwarded" else "x-forwarded-for")
    found, over_tls, _ = true_client(headers_of(lines), peer, secure, trusted, kind)
    return str(found), over_tls


# -- networks


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("10.0.0.0", True),
        ("10.255.255.255", True),
        ("11.0.0.0", False),
        ("9.255.255.255", False),
        ("::1", True),
        ("::2", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:11.1.2.3", False),
        ("::a00:1", False),
        ("unix", True),
        ("", False),
        ("10.0.0", False),
        ("localhost", False),
    ],
)
def test_membership(host: str, inside: bool) -> None:
    assert (host in TRUSTED) is inside
    assert (Peer(host, 5) in TRUSTED) is inside


@pytest.mark.parametrize("text", ["::ffff:127.0.0.1", "::ffff:7f00:1/128", "::ffff:127.0.0.0/120"])
def test_mapped_addresses_are_the_ipv4_addresses_that_are_compared(text: str) -> None:
    networks = Networks.parse(text)
    assert "127.0.0.1" in networks and "::ffff:127.0.0.1" in networks and "127.0.1.1" not in networks


def test_what_is_no_address_is_in_no_network() -> None:
    number: object = 5
    assert number not in TRUSTED
    assert "unix" not in Networks.parse("10.0.0.0/8")
    assert "10.0.0.1" not in Networks.parse("unix")
    assert "10.0.0.1" not in Networks()


def test_parsing_a_list() -> None:
    assert Networks.parse(" 10.0.0.0/8,127.0.0.1\n ::1/128 , unix ") == Networks.parse("10.0.0.0/8 127.0.0.1/32 ::1 unix")
    assert str(Networks.parse("127.0.0.1, unix, fe80::/10")) == "127.0.0.1/32, fe80::/10, unix"
    assert not Networks.parse("")
    assert Networks.parse("unix")
    assert "1.2.3.4" in Networks.parse("0.0.0.0/0")


@pytest.mark.parametrize("entry", ["10.0.0.1/8", "10.0.0.0/33", "localhost", "10.0.0", "::1/129", "Unix"])
def test_a_bad_entry_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match=r"is not an address, a network") as caught:
        Networks.parse(f"127.0.0.1, {entry}")
    assert repr(entry) in str(caught.value)


@given(st.lists(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), max_size=5), st.integers(0, 32), st.ip_addresses(v=4))
def test_membership_is_that_of_the_standard_library(
    addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address], length: int, probe: ipaddress.IPv4Address
) -> None:
    networks = tuple(ipaddress.ip_network((address, length), strict=False) for address in addresses)
    assert (str(probe) in Networks(networks)) == any(probe in network for network in networks)


# -- trusted proxies


@pytest.mark.parametrize("header", KINDS)
def test_from_others_the_headers_are_nothing(header: ForwardedHeader) -> None:
    stranger = Peer("203.0.113.9", 5)
    lines = [("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Proto", "https"), ("Forwarded", "for=1.2.3.4;proto=https")]
    assert client(*lines, peer=stranger, header=header) == ("203.0.113.9:5", False)
    assert client(*lines, trusted=Networks(), header=header) == ("10.0.0.1:40000", False)
    assert client(*lines, peer=UNIX, trusted=Networks.parse("10.0.0.0/8"), header=header) == ("unix", False)


def test_without_headers_the_peer_is_the_client() -> None:
    assert client() == ("10.0.0.1:40000", False)
    assert client(secure=True) == ("10.0.0.1:40000", True)


def test_a_unix_socket_may_be_trusted() -> None:
    assert client(("X-Forwarded-For", "203.0.113.9"), peer=UNIX) == ("203.0.113.9", False)


# -- X-Forwarded-For


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("203.0.113.9:1234", "203.0.113.9:1234"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:1234", "[2001:db8::1]:1234"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("203.0.113.9, junk, 10.0.0.2", "10.0.0.2"),
        ("203.0.113.9, unknown", "10.0.0.1:40000"),
        ("203.0.113.9,", "10.0.0.1:40000"),
        ("", "10.0.0.1:40000"),
        ("203.0.113.9:99999", "10.0.0.1:40000"),
        ("203.0.113.256", "10.0.0.1:40000"),
        ("unix", "10.0.0.1:40000"),
        ("[203.0.113.9]", "10.0.0.1:40000"),
        ("203.0.113.9 203.0.113.9", "10.0.0.1:40000"),
    ],
)
def test_x_forwarded_for(value: str, found: str) -> None:
    assert client(("X-Forwarded-For", value))[0] == found


def test_x_forwarded_for_on_several_lines_is_one_list() -> None:
    assert client(("X-Forwarded-For", "6.6.6.6"), ("x-forwarded-for", "203.0.113.9, 10.0.0.2"))[0] == "203.0.113.9"


@pytest.mark.parametrize(
    ("forwarded_for", "proto", "secure"),
    [
        ("203.0.113.9", "https", True),
        ("203.0.113.9", "WSS", True),
        ("203.0.113.9", "http", False),
        ("203.0.113.9", "junk", False),
        ("203.0.113.9, 10.0.0.2", "https", True),
        ("203.0.113.9, 10.0.0.2", "https, http", True),
        ("203.0.113.9, 10.0.0.2", "http, https", False),
        ("6.6.6.6, 203.0.113.9, 10.0.0.2", "https, http, https", False),
        ("203.0.113.9", "https, http", False),
    ],
)
def test_x_forwarded_proto(forwarded_for: str, proto: str, secure: bool) -> None:
    assert client(("X-Forwarded-For", forwarded_for), ("X-Forwarded-Proto", proto)) == ("203.0.113.9", secure)


def test_x_forwarded_proto_alone() -> None:
    assert client(("X-Forwarded-Proto", "https")) == ("10.0.0.1:40000", True)
    assert client(("X-Forwarded-Proto", "http"), secure=True) == ("10.0.0.1:40000", False)
    assert client(("X-Forwarded-Proto", "junk"), secure=True) == ("10.0.0.1:40000", True)


# -- Forwarded


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("for=203.0.113.9", ("203.0.113.9", False)),
        ("For=203.0.113.9;Proto=HTTPS", ("203.0.113.9", True)),
        ("for=203.0.113.9; proto=https ;by=10.0.0.1", ("203.0.113.9", True)),
        ('for="203.0.113.9:1234"', ("203.0.113.9:1234", False)),
        ('for="[2001:db8::1]"', ("2001:db8::1", False)),
        ('for="[2001:db8::1]:1234";proto=https', ("[2001:db8::1]:1234", True)),
        ('for="203.0.113.9:_port"', ("203.0.113.9", False)),
        ('for="\\2\\03.0.113.9"', ("203.0.113.9", False)),
        ("for=6.6.6.6, for=203.0.113.9, for=10.0.0.2", ("203.0.113.9", False)),
        ("for=203.0.113.9;proto=https, for=10.0.0.2;proto=http", ("203.0.113.9", True)),
        ("for=203.0.113.9, for=unknown, for=10.0.0.2", ("10.0.0.2", False)),
        ("for=203.0.113.9, for=_hidden", ("10.0.0.1:40000", False)),
        ("for=_hidden;proto=https", ("10.0.0.1:40000", True)),
        ("proto=https", ("10.0.0.1:40000", True)),
        ('by="a,b;c\\"d";for=203.0.113.9', ("203.0.113.9", False)),
        ('for=6.6.6.6;host="a, for=7.7.7.7", for=10.0.0.2', ("6.6.6.6", False)),
        # malformed: the walk ends
        ("for=203.0.113.9, junk", ("10.0.0.1:40000", False)),
        ("for=203.0.113.9;for=6.6.6.6", ("10.0.0.1:40000", False)),
        ("for=2001:db8::1", ("10.0.0.1:40000", False)),
        ('for="2001:db8::1"', ("10.0.0.1:40000", False)),
        ('for="[203.0.113.9]"', ("10.0.0.1:40000", False)),
        ('for="203.0.113.9', ("10.0.0.1:40000", False)),
        ("for=203.0.113.9;proto=gopher", ("10.0.0.1:40000", False)),
        ("for = 203.0.113.9", ("10.0.0.1:40000", False)),
        ("for=203.0.113.9;", ("10.0.0.1:40000", False)),
        ('for="203.0.113.9:99999"', ("10.0.0.1:40000", False)),
        ("for=unix", ("10.0.0.1:40000", False)),
        ("", ("10.0.0.1:40000", False)),
    ],
)
def test_forwarded(value: str, found: tuple[str, bool]) -> None:
    assert client(("Forwarded", value)) == found


def test_forwarded_on_several_lines_is_one_list() -> None:
    assert client(("Forwarded", "for=6.6.6.6"), ("Forwarded", "for=203.0.113.9, for=10.0.0.2"))[0] == "203.0.113.9"


@pytest.mark.parametrize("made_up", ['for="6.6.6.6', 'for="', '"\\', 'for=6.6.6.6;by="a\\"'])
def test_a_quote_that_a_client_left_open_swallows_nothing(made_up: str) -> None:
    assert client(("Forwarded", made_up), ("Forwarded", 'for="203.0.113.9:7"'))[0] == "203.0.113.9:7"
    assert client(("Forwarded", f"{made_up},for=203.0.113.9,for=10.0.0.2"))[0] == "203.0.113.9"


# -- one kind only


def test_a_header_that_the_proxies_do_not_write_is_the_clients_and_is_not_looked_at() -> None:
    """A balancer that appends to X-Forwarded-For passes Forwarded on as the client sent it, and the other way round."""
    lines = [
        ("Forwarded", "for=192.0.2.1;proto=https"), ("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "http"),
    ]  # fmt: skip
    assert client(*lines, header="x-forwarded-for") == ("203.0.113.9", False)
    assert client(*lines, header="forwarded") == ("192.0.2.1", True)
    for header, others in (("x-forwarded-for", lines[:1]), ("forwarded", [("X-Forwarded-Proto", "https"), lines[1]])):
        assert client(*others, header=header) == ("10.0.0.1:40000", False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([("X-Forwarded-For", "203.0.113.9")], True),
        ([("X-Forwarded-For", "127.0.0.1")], True),
        ([("X-Forwarded-For", "unknown")], True),
        ([("X-Forwarded-For", "10.0.0.2")], True),
        ([("X-Forwarded-For", "")], True),
        ([("Forwarded", "for=203.0.113.9")], True),
        ([("Forwarded", "for=unknown")], True),
        ([("Forwarded", "proto=https")], True),
        ([("X-Forwarded-Proto", "https")], False),
        ([], False),
    ],
)
def test_whether_a_proxy_spoke_of_a_client(lines: list[tuple[str, str]], told: bool) -> None:
    """Also where it hides the address: then the client has none of its own to be counted under, and is none the less not the proxy."""
    header: ForwardedHeader = "forwarded" if lines and lines[0][0] == "Forwarded" else "x-forwarded-for"
    assert true_client(headers_of(lines), PROXY, False, TRUSTED, header).told is told
    assert not true_client(headers_of(lines), Peer("203.0.113.9", 5), False, TRUSTED, header).told
    other = KINDS[1 - KINDS.index(header)]
    assert not true_client(headers_of(lines), PROXY, False, TRUSTED, other).told


def test_a_long_list_is_looked_at_from_its_right_end_only() -> None:
    chain = ", ".join(["6.6.6.6", *["10.0.0.2"] * 60])
    assert client(("X-Forwarded-For", chain))[0] == "10.0.0.2"


values = st.one_of(
    st.binary(max_size=60).map(lambda data: data.translate(None, b"\r\n\0").decode("latin-1")),
    st.lists(
        st.sampled_from(
            ["for=", "proto=", '"', "\\", ",", ";", "10.0.0.2", "203.0.113.9", "[::1]", ":80", "https", "unknown", "_x", " ", "="]
        ),
        max_size=12,
    ).map("".join),
)


@given(values, values, values)
def test_headers_of_any_kind_never_raise_and_give_an_address(forwarded: str, forwarded_for: str, proto: str) -> None:
    lines = [("Forwarded", forwarded), ("X-Forwarded-For", forwarded_for), ("X-Forwarded-Proto", proto)]
    for header in KINDS:
        found, _, told = true_client(headers_of(lines), PROXY, False, TRUSTED, header)
        assert told
        assert ipaddress.ip_address(found.host)
        assert 0 <= found.port < 65536


@given(values)
def test_what_a_client_made_up_never_outweighs_what_the_proxy_saw(made_up: str) -> None:
    """The proxy appends the address it saw; whatever stands before it on the same line changes nothing."""
    assert client(("X-Forwarded-For", f"{made_up}, 203.0.113.9"))[0] == "203.0.113.9"
    assert client(("Forwarded", f"{made_up}, for=203.0.113.9"))[0] == "203.0.113.9"
