"""The difference of two settings, key by key, and the part of it that a reload applies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from wsdaemon.settings.addresses import UnixAddress
from wsdaemon.settings.difference import OF_EACH_CONNECTION, RESTARTED_KEYS, difference, in_force, keeps_app
from wsdaemon.settings.ini import load
from wsdaemon.settings.model import MountSettings, Settings
from wsdaemon.settings.schema import keys_of

BASE = """
[daemon]
drain_timeout = 5s
[listener:web]
address = tcp:8080
[mount:/echo]
app = echo
[mount:/rooms/{room}]
app = rooms
[mount:/own]
app = own:talk
[mount:/programs]
app = process
command = cat
"""


def settings(folder: Path, text: str) -> Settings:
    (folder / "ws.ini").write_text(text)
    return load(folder / "ws.ini")


def test_nothing_differs(tmp_path: Path) -> None:
    assert difference(settings(tmp_path, BASE), settings(tmp_path, "# a comment\n" + BASE)) == []


def test_keys_and_sections(tmp_path: Path) -> None:
    old = settings(tmp_path, BASE)
    new = BASE.replace("5s", "7s\nworkers = 2").replace("app = rooms", "app = rooms\nhistory = 5")
    new = new.replace("[mount:/own]\napp = own:talk", "")
    new = new.replace("app = echo", "app = ticker").replace("tcp:8080", "tcp:8081") + "[listener:two]\naddress = unix:two.sock\n"
    found = difference(old, settings(tmp_path, new))
    assert [str(change) for change in found] == [
        "[daemon] drain_timeout: 5s > 7s",
        "[daemon] workers: (empty) > 2 (needs a restart)",
        "[listener:web] address: tcp:8080 > tcp:8081",
        "[listener:two]: new",
        "[mount:/echo] app: echo > ticker",
        "[mount:/rooms/{room}] history: 0 > 5",
        "[mount:/own]: removed",
    ]


def test_of_a_secret_only_the_change_is_told(tmp_path: Path) -> None:
    text = BASE + "[admin]\ntoken_file = token\naddress = tcp:0:interface=127.0.0.1\n"
    (tmp_path / "token").write_text("the-first-token-1234")
    old = settings(tmp_path, text)
    (tmp_path / "token").write_text("the-other-token-1234")
    found = difference(old, settings(tmp_path, text))
    assert [str(change) for change in found] == ["[admin] token_file: the content has changed"]


def pages(folder: Path, more: str = "", tokens: str = "") -> Settings:
    for name in ("token", "other", "reader"):
        (folder / name).write_text(f"the-{name}-token-1234")
    return settings(folder, f"{BASE}[admin]\ntoken_file = token\naddress = tcp:0:interface=127.0.0.1\n{more}{tokens}")


def test_tokens_and_limits_of_the_admin_pages_are_applied_and_their_address_is_not(tmp_path: Path) -> None:
    reader = "[token:one]\nfile = reader\n"
    old, new = pages(tmp_path, tokens=reader), pages(tmp_path, "max_body = 1MiB\nhosts = a.example\n", reader.replace("one", "two"))
    new = replace(new, admin=replace(new.admin, address=UnixAddress("/run/a.sock")))  # type: ignore[type-var]
    found = [str(change) for change in difference(old, new)]
    assert found == [
        "[admin] address: tcp:9464:interface=127.0.0.1 > unix:/run/a.sock:mode=660 (needs a restart)".replace("9464", "0"),
        "[admin] hosts: (empty) > a.example",
        "[admin] max_body: 4MiB > 1MiB",
        "[token:two]: new",
        "[token:one]: removed",
    ]
    forced = in_force(old, new)
    assert forced.admin == replace(new.admin, address=old.admin.address)  # type: ignore[union-attr, type-var]
    assert forced.tokens == new.tokens
    assert not any(change.applied for change in difference(forced, new))


def test_admin_pages_that_stay_at_a_port_keep_their_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef")
    (tmp_path / "token").chmod(0o600)
    old = settings(tmp_path, BASE + "[admin]\ntoken_file = token\naddress = tcp:9100:interface=127.0.0.1\n")
    new = settings(tmp_path, BASE + "[admin]\naddress = unix:admin.sock\n")
    kept = in_force(old, new)
    assert kept.admin == old.admin, "only a unix socket can do without a token"
    assert [change.applied for change in difference(old, new)] == [False, False]
    assert [change.key for change in difference(kept, new)] == ["address", "token_file"]
    of_unix = settings(tmp_path, BASE + "[admin]\ntoken_file = token\naddress = unix:admin.sock\n")
    without = in_force(of_unix, new).admin
    assert without is not None
    assert without.token_file is None


@pytest.mark.parametrize("token", ["token_file = token\n", "[token:reader]\nroles = read\nfile = token\n"])
def test_admin_pages_that_stay_at_an_open_socket_keep_their_tokens(tmp_path: Path, token: str) -> None:
    (tmp_path / "token").write_text("0123456789abcdef")
    (tmp_path / "token").chmod(0o600)
    old = settings(tmp_path, BASE + "[admin]\naddress = unix:admin.sock:mode=666\n" + token)
    new = settings(tmp_path, BASE + "[admin]\naddress = unix:admin.sock:mode=600\n")
    kept = in_force(old, new)
    assert (kept.admin, kept.tokens) == (old.admin, old.tokens)
    assert [change.applied for change in difference(old, new)] == [False, False]
    same = settings(tmp_path, BASE + "[admin]\naddress = unix:admin.sock:mode=666\n")
    found = in_force(old, same)
    assert found.admin is not None
    assert (found.admin.token_file, found.tokens) == (None, ())


def test_admin_pages_appear_and_go_with_a_restart_alone(tmp_path: Path) -> None:
    without, with_pages = settings(tmp_path, BASE), pages(tmp_path, tokens="[token:one]\nfile = reader\n")
    assert [str(each) for each in difference(without, with_pages)] == [
        "[admin]: new (needs a restart)", "[token:one]: new (needs a restart)"
    ]  # fmt: skip
    assert in_force(without, with_pages) == without
    assert [str(each) for each in difference(with_pages, without)] == [
        "[admin]: removed (needs a restart)", "[token:one]: removed (needs a restart)"
    ]  # fmt: skip
    assert in_force(with_pages, without) == with_pages


def test_of_keys_that_may_hold_a_password_only_the_change_is_told(tmp_path: Path) -> None:
    text = BASE + "[mount:/program]\napp = process\ncommand = cat --password first\nenvironment = PASSWORD=first\n"
    found = difference(settings(tmp_path, text), settings(tmp_path, text.replace("first", "second")))
    assert sorted(str(change) for change in found) == [
        "[mount:/program] command: the content has changed",
        "[mount:/program] environment: the content has changed",
    ]


def test_the_admin_pages_keep_the_certificates_that_they_name(tmp_path: Path) -> None:
    for name in ("old.pem", "new.pem"):
        (tmp_path / name).write_text("a-token-of-the-admin")
    admin = "[admin]\ntoken_file = old.pem\naddress = tcp:0:interface=127.0.0.1\ntls = one\n"
    admin += "[tls:one]\ncertificate = old.pem\nkey = old.pem\n"
    old = settings(tmp_path, BASE + admin)
    new = settings(tmp_path, BASE + admin.replace("one", "two").replace("old.pem", "new.pem"))
    forced = in_force(old, new)
    assert forced.admin is not None and forced.admin.tls == ("one",)
    assert {each.name for each in forced.tls} == {"one", "two"}


def test_the_keys_of_a_restart_keep_their_values(tmp_path: Path) -> None:
    old = settings(tmp_path, BASE)
    new = settings(tmp_path, BASE.replace("5s", "7s\nworkers = 2\naccelerator = python") + "[broker]\nkind = redis\nurl = redis://h\n")
    forced = in_force(old, new)
    assert forced == replace(old, daemon=replace(old.daemon, drain_timeout=7.0))
    assert not any(change.applied for change in difference(forced, new))


def test_the_keys_named_here_exist(tmp_path: Path) -> None:
    example = pages(tmp_path)
    assert set(keys_of(MountSettings)) > OF_EACH_CONNECTION
    for name, keys in RESTARTED_KEYS.items():
        assert keys <= set(keys_of(type(getattr(example, name))))


@pytest.mark.parametrize(
    ("path", "change", "kept"),
    [
        ("/echo", {"max_message": 5}, True),
        ("/rooms/{room}", {"max_message": 5, "origins": ("any",), "auth": ("a",)}, True),
        ("/rooms/{room}", {"send_backlog": 5}, False),
        ("/own", {"compression": False}, True),
        ("/own", {"app": "own:other"}, False),
        ("/programs", {"max_message": 5}, False),
        ("/programs", {}, True),
    ],
)
def test_an_app_goes_on_if_no_key_of_its_own_changes(tmp_path: Path, path: str, change: dict[str, object], kept: bool) -> None:
    mount = next(each for each in settings(tmp_path, BASE).mounts if each.path == path)
    changed: MountSettings = replace(mount, **change)  # type: ignore[arg-type]
    assert keeps_app(mount, changed) is kept
