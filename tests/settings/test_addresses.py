"""Addresses: what is written, what it means, what is refused, and that each shows as text that reads back."""

from __future__ import annotations

import ipaddress
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.settings.addresses import parse_address
from wsdaemon.settings.form import Form
from wsdaemon.settings.problems import BadValue
from wsdaemon.settings.values import Address, AddressText, SystemdAddress, TcpAddress, UnixAddress, get_form

HERE = Path("/srv/ws")


def refused(form: Form[Any], value: object) -> str:
    with pytest.raises(BadValue) as caught:
        form.locate(form.convert(value), HERE)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("tcp:8080", TcpAddress(8080), "tcp:8080"),
        ("tcp:port=443", TcpAddress(443), "tcp:443"),
        ("tcp:0", TcpAddress(0), "tcp:0"),
        ("tcp:8080:interface=127.0.0.1", TcpAddress(8080, "127.0.0.1"), "tcp:8080:interface=127.0.0.1"),
        ("tcp:8080:interface=localhost", TcpAddress(8080, "127.0.0.1"), "tcp:8080:interface=127.0.0.1"),
        ("tcp:8080:interface=[::1]", TcpAddress(8080, "::1"), "tcp:8080:interface=[::1]"),
        ("tcp:8080:interface=\\:\\:1", TcpAddress(8080, "::1"), "tcp:8080:interface=[::1]"),
        ("tcp:8080:interface=[2001:0DB8::0001]", TcpAddress(8080, "2001:db8::1"), "tcp:8080:interface=[2001:db8::1]"),
        ("tcp:80:interface=[fe80::1%eth0]", TcpAddress(80, "fe80::1%eth0"), "tcp:80:interface=[fe80::1%eth0]"),
        ("tcp:80:interface=[::]", TcpAddress(80, "::"), "tcp:80:interface=[::]"),
        ("unix:/run/ws.sock", UnixAddress("/run/ws.sock", 0o660), "unix:/run/ws.sock:mode=660"),
        ("unix:/run/ws.sock:mode=0600", UnixAddress("/run/ws.sock", 0o600), "unix:/run/ws.sock:mode=600"),
        (
            "unix:/run/a\\:b\\=c:mode=666:user=www-data:group=33",
            UnixAddress("/run/a:b=c", 0o666, "www-data", "33"),
            "unix:/run/a\\:b\\=c:mode=666:user=www-data:group=33",
        ),
        ("systemd:index=0", SystemdAddress(index=0), "systemd:index=0"),
        ("systemd:name=ws.socket", SystemdAddress(name="ws.socket"), "systemd:name=ws.socket"),
    ],
)
def test_addresses(text: str, address: Address, shown: str) -> None:
    assert parse_address(text) == address
    assert str(address) == shown
    assert get_form(AddressText).convert(address) == address


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "expected an address such as tcp:8080"),
        ("8080", "did you mean tcp:8080?"),
        ("tpc:8080", "did you mean tcp:...?"),
        ("http:80", "expected an address such as"),
        ("ssl:443:privateKey=x", "give the listener tls_certificate and tls_key"),
        ("tls:443", "give the listener tls_certificate and tls_key"),
        ("tcp", "one PORT"),
        ("tcp:", "PORT is a number from 0 to 65535"),
        ("tcp:65536", "PORT is a number from 0 to 65535"),
        ("tcp:-1", "PORT is a number from 0 to 65535"),
        ("tcp:http", "PORT is a number from 0 to 65535"),
        ("tcp: 80", "PORT is a number from 0 to 65535"),
        ("tcp:٣", "PORT is a number from 0 to 65535"),
        ("tcp:80:90", "one PORT"),
        ("tcp:80:port=90", "one PORT"),
        ("tcp:80:interface=::1", "an IPv6 address stands in brackets"),
        ("tcp:80:interface=", "interface is empty"),
        ("tcp:80:interface=[127.0.0.1]", "ADDRESS is an IPv4 address"),
        ("tcp:80:interface=example.org", "ADDRESS is an IPv4 address"),
        ("tcp:80:interface=999.0.0.1", "ADDRESS is an IPv4 address"),
        ("tcp:80:interfce=127.0.0.1", "interfce is no option of tcp, did you mean interface?"),
        ("tcp:80:backlog=50", "backlog is no option of tcp"),
        ("tcp:80:interface=127.0.0.1:interface=127.0.0.1", "interface only once"),
        ("tcp:80:interface=[::1", "without an open ["),
        ("tcp:80\\", "without a backslash at its end"),
        ("unix:", "one PATH"),
        ("unix:/a:mode=888", "mode is three octal digits"),
        ("unix:/a:mode=7777", "mode is three octal digits"),
        ("unix:/a:mode=", "mode is empty"),
        ("unix:/a:user=a b", "user is a name or a number"),
        ("unix:/" + "a" * 107, "PATH has 108 bytes, and the system allows 107"),
        ("systemd:", "one of index and name"),
        ("systemd:0", "one of index and name"),
        ("systemd:index=0:name=a", "one of index and name"),
        ("systemd:index=-1", "NUMBER counts the sockets from 0"),
        ("systemd:domain=INET:index=0", "domain is no option of systemd"),
        ("systemd:name=a b", "FileDescriptorName="),
    ],
)
def test_no_address(text: str, part: str) -> None:
    message = refused(get_form(AddressText), text)
    assert message.startswith("expected ")
    assert part in message


@pytest.mark.parametrize(
    "address",
    [
        TcpAddress(-1),
        TcpAddress(80, "nowhere"),
        UnixAddress("/a", -1),
        UnixAddress("/a", 0o1777),
        UnixAddress("/a\nb"),
        UnixAddress("", 0o600),
        SystemdAddress(),
        SystemdAddress(0, "both"),
        SystemdAddress(-1),
        80,
        None,
    ],
)
def test_address_objects_are_checked_too(address: object) -> None:
    assert refused(get_form(AddressText), address).startswith("expected ")


interfaces = st.just("") | st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str)
names = st.text(string.ascii_letters + string.digits, min_size=1, max_size=10)
unix_paths = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x17F, exclude_categories=["Cc", "Zs"]), min_size=1, max_size=40)
addresses = (
    st.builds(TcpAddress, st.integers(0, 65535), interfaces)
    | st.builds(UnixAddress, unix_paths.map("/{}".format), st.integers(0, 0o777), st.none() | names, st.none() | names)
    | st.builds(SystemdAddress, index=st.integers(0, 99999))
    | st.builds(SystemdAddress, name=st.text(string.ascii_letters + string.digits + "=[]\\.@-", min_size=1))
)


@given(addresses)
def test_every_address_reads_back(address: Address) -> None:
    form = get_form(AddressText)
    assert form.locate(form.convert(str(address)), HERE) == form.convert(address) == address


@given(st.text(alphabet="tcpunixsystemd:=[]\\/0189.% ", max_size=40))
def test_any_text_is_an_address_or_is_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except BadValue:
        return
    assert parse_address(str(address)) == address


@given(st.ip_addresses(v=6))
def test_twisted_escapes_and_brackets_are_the_same(interface: ipaddress.IPv6Address) -> None:
    escaped = str(interface).replace(":", "\\:")
    assert parse_address(f"tcp:1:interface={escaped}") == parse_address(f"tcp:1:interface=[{interface}]")
