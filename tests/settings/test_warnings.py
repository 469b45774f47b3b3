"""settings/warnings.py: settings that work, but look like a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsdaemon.settings.build import Section, build, section

LISTENER = section("listener:web", address="tcp:0")
MOUNT = section("mount:/chat", app="echo")


def warnings(*sections: Section, directory: Path | None = None) -> tuple[str, ...]:
    return build(sections, "test", directory).warnings


def test_plain_settings_look_like_no_mistake() -> None:
    assert warnings(LISTENER, MOUNT) == ()


def test_a_timeout_that_is_longer_than_its_interval() -> None:
    [line] = warnings(LISTENER, section("mount:/chat", app="echo", ping_interval="5s", ping_timeout="6s"))
    assert line.startswith("[mount:/chat] ping_timeout is longer than ping_interval")
    assert warnings(LISTENER, section("mount:/chat", app="echo", ping_interval=0, ping_timeout="6s")) == ()


def test_a_mount_that_no_listener_serves() -> None:
    served = section("listener:web", address="tcp:0", mounts="/chat")
    other = section("mount:/other", app="echo")
    assert warnings(served, MOUNT, other) == ("[mount:/other] is served by no listener",)
    assert warnings(served, section("listener:all", address="tcp:1"), MOUNT, other) == ()


def test_a_certificate_that_no_listener_uses() -> None:
    pair = section("tls:www", certificate="c", key="k")
    assert warnings(LISTENER, MOUNT, pair) == ("[tls:www] is used by no listener",)
    assert warnings(section("listener:web", address="tcp:0", tls="www"), MOUNT, pair) == ()


@pytest.mark.parametrize("key", ["trusted_proxies", "proxy_protocol_from"])
def test_a_network_of_all_addresses_is_trusted(key: str) -> None:
    [line] = warnings(section("listener:web", address="tcp:0", **{key: "10.0.0.0/8, ::/0"}), MOUNT)
    assert line == f"[listener:web] {key} has a network of all addresses: any client can claim any address"


def test_authentication_that_no_mount_asks_for_or_that_cannot_work() -> None:
    way = section("auth:certificates", kind="tls")
    assert warnings(LISTENER, MOUNT, way) == ("[auth:certificates] is used by no mount",)
    [line] = warnings(LISTENER, section("mount:/chat", app="echo", auth="certificates"), way)
    assert line.startswith("[auth:certificates] needs client certificates, and no listener asks for them")


def test_admin_pages_that_others_can_read(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef")
    [line] = warnings(LISTENER, MOUNT, section("admin", address="tcp:9464", token_file="token"), directory=tmp_path)
    assert line.startswith("[admin] address = tcp:9464: these pages are plain HTTP")
    for address in ("tcp:9464:interface=127.0.0.1", "unix:admin.sock", "systemd:index=0"):
        assert warnings(LISTENER, MOUNT, section("admin", address=address, token_file="token"), directory=tmp_path) == ()
