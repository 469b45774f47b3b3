"""The settings of the edge: networks, host names, [tls:NAME] sections, and how they become listeners."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsdaemon.settings.build import Section, build, section
from wsdaemon.settings.ini import load
from wsdaemon.settings.model import Settings
from wsdaemon.settings.network import HostForm, NetworkForm
from wsdaemon.settings.problems import Refused, SettingsError


def settings(*extra: Section, **listener: object) -> Settings:
    return build([section("listener:web", address="tcp:0", **listener), section("mount:/", app="echo"), *extra], "test")


def problems(*extra: Section, **listener: object) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        settings(*extra, **listener)
    return [str(problem) for problem in caught.value.problems]


def test_the_defaults_are_safe() -> None:
    listener = settings().listeners[0]
    assert listener.max_connections_per_address == 100
    assert listener.max_handshakes_per_address == 50
    assert listener.connections_per_second_per_address == 20
    assert listener.trusted_proxies == listener.proxy_protocol_from == ()
    assert listener.forwarded_header == "x-forwarded-for"
    assert settings().mounts[0].max_connections_per_user == 0
    assert not listener.secure


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
    with pytest.raises(Refused, match=r"10\.0\.0\.0/8"):
        NetworkForm().parse(text)


def test_a_network_with_bits_behind_its_prefix() -> None:
    with pytest.raises(Refused, match=r"did you mean 10\.1\.0\.0/16"):
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
    with pytest.raises(Refused, match=r"www\.example\.com"):
        HostForm().parse(text)


def test_sections_of_certificates(tmp_path: Path) -> None:
    (tmp_path / "ws.ini").write_text(
        "[listener:web]\naddress = tcp:0\ntls = www, api\nclient_ca = ca.pem\nclient_certificate = optional\n"
        "[tls:www]\ncertificate = www.pem\nkey = www.key\nhosts = www.example.com, *.www.example.com\n"
        "[tls:api]\ncertificate = /etc/api.pem\nkey = /etc/api.key\n"
        "[mount:/]\napp = echo\n"
    )
    made = load(tmp_path / "ws.ini")
    assert made.listeners[0].secure and made.listeners[0].tls == ("www", "api")
    www, api = made.tls
    assert (www.certificate, www.key, www.hosts) == (tmp_path / "www.pem", tmp_path / "www.key", ("www.example.com", "*.www.example.com"))
    assert (api.certificate, api.hosts) == (Path("/etc/api.pem"), ())


PAIR = section("tls:www", certificate="c", key="k")


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


def test_where_tls_ends_is_stated_beside_the_proxies() -> None:
    made = settings(proxy_protocol_from="127.0.0.1", proxy_protocol_secure="on")
    assert made.listeners[0].proxy_protocol_secure and not settings().listeners[0].proxy_protocol_secure


def test_what_does_not_fit_together() -> None:
    assert "no [tls:wwww] section; did you mean www?" in problems(PAIR, tls="wwww")[0]
    assert "expected either tls or tls_certificate" in problems(PAIR, tls="www", tls_certificate="c", tls_key="k")[0]
    assert "expected client_ca too" in problems(PAIR, tls="www", client_certificate="required")[0]
    assert "expected client_certificate = optional or required" in problems(PAIR, tls="www", client_ca="ca")[0]
    assert "client certificates need TLS" in problems(client_ca="ca", client_certificate="optional")[0]
    assert "missing key" in problems(section("tls:www", certificate="c"))[0]
    assert "with a name of up to 64" in problems(section("tls:a b", certificate="c", key="k"))[0]


def test_the_kind_of_header_that_proxies_write() -> None:
    assert settings(trusted_proxies="unix", forwarded_header="forwarded").listeners[0].forwarded_header == "forwarded"
    assert "x-forwarded-for" in problems(forwarded_header="both")[0]


def test_what_looks_like_a_mistake_is_warned_of() -> None:
    made = settings(PAIR, trusted_proxies="0.0.0.0/0", proxy_protocol_from="::/0")
    assert len(made.warnings) == 3
    assert "[tls:www] is used by no listener" in made.warnings[0]
    assert all("any client can claim any address" in warning for warning in made.warnings[1:])
