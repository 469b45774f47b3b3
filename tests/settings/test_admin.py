"""[admin]: no door without a key, and no key that is easily guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsdaemon.settings.addresses import SystemdAddress, TcpAddress, UnixAddress
from wsdaemon.settings.admin import AdminSettings, is_token
from wsdaemon.settings.build import build, section
from wsdaemon.settings.ini import load
from wsdaemon.settings.model import Settings
from wsdaemon.settings.problems import SettingsError
from wsdaemon.settings.reference import effective

SERVED = (section("listener:web", address="tcp:8080"), section("mount:/", app="echo"))
TOKEN = "0123456789abcdef"


def made(**values: object) -> Settings:
    return build([*SERVED, section("admin", **values)], "x")


def problems(**values: object) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        made(**values)
    return [str(problem) for problem in caught.value.problems]


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    return path


def test_without_the_section_there_are_no_pages() -> None:
    assert build(SERVED, "x").admin is None


def test_the_defaults_stay_on_this_machine(token: Path) -> None:
    settings = made(token_file=token)
    assert settings.admin is not None
    assert settings.admin.address == TcpAddress(9464, "127.0.0.1")
    assert not settings.admin.metrics_open
    assert settings.admin.tap == "off"
    assert settings.warnings == ()


@pytest.mark.parametrize("address", [None, "tcp:9464", "tcp:9464:interface=127.0.0.1", "tcp:9464:interface=[::1]", "systemd:name=admin"])
def test_without_a_token_only_a_unix_socket_will_do(address: str | None) -> None:
    [problem] = problems(address=address)
    assert problem.endswith("expected token_file too: only a unix socket can do without a token")
    assert made(address="unix:/run/admin.sock").admin == AdminSettings(address=UnixAddress("/run/admin.sock"))


@pytest.mark.parametrize("bad", ["short", "a" * 15, "a" * 20 + " b", "a" * 20 + "é", "=" * 20, "a" * 20 + '"'])
def test_a_bad_token_is_refused_and_never_shown(token: Path, bad: str) -> None:
    token.write_text(bad)
    [problem] = problems(token_file=token)
    assert problem == "x: [admin] token_file = (hidden): expected a file with one line of at least 16 letters, digits and -._~+/"
    assert not is_token(bad)


def test_an_empty_token_is_refused(token: Path) -> None:
    token.write_text("\n")
    [problem] = problems(token_file=token)
    assert "one line" in problem


def test_an_address_beyond_this_machine_is_a_warning(token: Path) -> None:
    for address in ("tcp:9464", "tcp:9464:interface=192.0.2.1"):
        [warning] = made(token_file=token, address=address).warnings
        assert "plain HTTP" in warning
    assert made(token_file=token, address="systemd:name=admin").warnings == ()


def test_a_listener_does_not_have_the_same_address(token: Path) -> None:
    assert problems(token_file=token, address="tcp:8080") == [
        "x: [admin] address = tcp:8080: same address as [listener:web]; expected one listener for it"
    ]


def test_effective_settings_load_again(tmp_path: Path, token: Path) -> None:
    (tmp_path / "ws.ini").write_text(
        "[listener:web]\naddress = tcp:8080\n[mount:/]\napp = echo\n"
        "[admin]\naddress = systemd:name=admin\ntoken_file = token\nmetrics_open = on\nmax_body = 1KiB\ntimeout = 2s\nmax_connections = 3\n"
    )
    settings = load(tmp_path / "ws.ini")
    assert settings.admin is not None
    assert settings.admin.address == SystemdAddress(name="admin")
    assert TOKEN not in repr(settings)
    (tmp_path / "again.ini").write_text(effective(settings))
    assert load(tmp_path / "again.ini") == settings
