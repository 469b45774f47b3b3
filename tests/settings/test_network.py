"""settings/network.py: networks and host names."""

from __future__ import annotations

import pytest

from wsdaemon.settings.network import HostForm, NetworkForm
from wsdaemon.settings.problems import BadValue


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7/32", "192.0.2.7"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("UNIX", "unix"),
    ],
)
def test_networks(text: str, value: str) -> None:
    assert NetworkForm().parse(text) == value


@pytest.mark.parametrize("text", ["", "10.0.0.0/33", "10.0.0", "localhost", "10.0.0.1-10.0.0.9", "*", "fe80::1%eth0/64"])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(BadValue, match=r"10\.0\.0\.0/8"):
        NetworkForm().parse(text)


def test_a_network_with_bits_behind_its_prefix() -> None:
    with pytest.raises(BadValue, match=r"did you mean 10\.1\.0\.0/16"):
        NetworkForm().parse("10.1.2.3/16")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("WWW.Example.com.", "www.example.com"),
        ("*.example.com", "*.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("localhost", "localhost"),
    ],
)
def test_hosts(text: str, value: str) -> None:
    assert HostForm().parse(text) == value


@pytest.mark.parametrize("text", ["", "*", "a.*.example", "https://example.com", "example.com:443", "::1", "-a.example", "a b", "a" * 64])
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(BadValue, match=r"www\.example\.com"):
        HostForm().parse(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::fffe:0:0/95", "::fffe:0:0/95"),
    ],
)
def test_a_network_of_mapped_addresses_is_that_of_ipv4(text: str, value: str) -> None:
    assert NetworkForm().parse(text) == value
