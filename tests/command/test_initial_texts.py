"""command/initial_texts.py: the INI file, and the units with the paths of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsdaemon.command.exits import CommandFailed, Exit
from wsdaemon.command.initial_texts import InitialChoices, SystemdKind, _escaped, settings_text, unit_texts
from wsdaemon.settings import ini


def choices(**wanted: object) -> InitialChoices:
    given = {
        "address": "tcp:8443", "mounts": (("/echo", "echo"),), "workers": None, "admin": False, "systemd": SystemdKind.NONE, "user": None,
        "tls": None,
    }  # fmt: skip
    return InitialChoices(**{**given, **wanted})  # type: ignore[arg-type]


def test_the_settings_are_what_was_chosen(tmp_path: Path) -> None:
    (tmp_path / "admin-token").write_text("0123456789abcdef0123456789abcdef")
    (tmp_path / "ws.ini").write_text(settings_text(choices(workers="2", admin=True, mounts=(("/a", "echo"), ("/b", "ticker")))))
    settings = ini.load(tmp_path / "ws.ini")
    assert [mount.path for mount in settings.mounts] == ["/a", "/b"]
    assert settings.daemon.workers == 2
    assert settings.admin is not None
    assert str(settings.listeners[0].address) == "tcp:8443"


def test_no_unit_unless_one_is_wanted() -> None:
    assert unit_texts(choices(), Path("/etc/wsdaemon/ws.ini")) == {}


def test_a_service_runs_this_program_with_this_file() -> None:
    found = unit_texts(choices(systemd=SystemdKind.SERVICE, user="www"), Path("/srv/my ws/100%.ini"))
    text = found["wsdaemon.service"]
    assert '-c "/srv/my ws/100%%.ini"' in text
    assert "/opt/wsdaemon" not in text
    assert "\nUser=www\n" in text
    assert "DynamicUser" not in text.replace("DynamicUser=)", "")


def test_a_service_of_a_home_directory_may_read_it() -> None:
    text = unit_texts(choices(systemd=SystemdKind.SERVICE), Path("/home/ada/ws.ini"))["wsdaemon.service"]
    assert "\nProtectHome=read-only\n" in text


def test_a_python_without_twistd_runs_the_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    text = unit_texts(choices(systemd=SystemdKind.SERVICE), Path("/srv/ws.ini"))["wsdaemon.service"]
    assert "-m wsdaemon run -c /srv/ws.ini\n" in text


@pytest.mark.parametrize(
    ("address", "listen"),
    [
        ("tcp:8443", "8443\n"), ("tcp:80:interface=10.0.0.1", "10.0.0.1:80\n"), (r"tcp:80:interface=\:\:1", "[::1]:80\n"),
        ("tcp:80:interface=[::1]", "[::1]:80\n"), ("tcp:port=80:interface=localhost", "127.0.0.1:80\n"),
        ("tcp:80:interface=[::]", "[::]:80\nBindIPv6Only=ipv6-only\n"), ("unix:/x", "/x\nSocketMode=0660\nBacklog="),
        ("unix:run/100%:mode=600:user=www:group=web", "/srv/run/100%%\nSocketMode=0600\nSocketUser=www\nSocketGroup=web\nBacklog="),
    ],
)
def test_systemd_opens_the_address(address: str, listen: str) -> None:
    wanted = choices(systemd=SystemdKind.SOCKET, address=address)
    assert f"\nListenStream={listen}" in unit_texts(wanted, Path("/srv/ws.ini"))["wsdaemon.socket"]
    assert "address = systemd:name=wsdaemon" in settings_text(wanted)


@pytest.mark.parametrize("address", ["8443", "tcp:0", "systemd:name=ws", "tcp:80:interface=host.example", "nowhere", "unix:/a\nb"])
def test_an_address_that_systemd_cannot_open_is_refused(address: str) -> None:
    with pytest.raises(CommandFailed) as failed:
        unit_texts(choices(systemd=SystemdKind.SOCKET, address=address), Path("/srv/ws.ini"))
    assert failed.value.exit_code == Exit.USAGE


def test_paths_are_escaped_for_units() -> None:
    assert _escaped("/plain/path") == "/plain/path"
    assert _escaped("/a b/$x") == '"/a b/$$x"'
