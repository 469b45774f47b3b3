"""The settings of the edge: networks, host names, [tls:NAME] sections, and how they become listeners."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsdaemon.settings.build import Section, build, section
from wsdaemon.settings.ini import load
from wsdaemon.settings.model import Settings
from wsdaemon.settings.problems import SettingsError


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
