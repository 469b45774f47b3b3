"""daemon/resources.py: what a daemon takes before it serves, and every problem with it at once."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from wsdaemon.daemon.resources import Resources, find_modules
from wsdaemon.daemon.sockets import ADMIN, Bound, ListenError
from wsdaemon.settings.addresses import Address
from wsdaemon.settings.build import Section, build, section


class Source:
    """Gives unbound sockets, except for addresses that are said to be in use."""

    def __init__(self, *in_use: str, stop_at: str = "") -> None:
        self.given: list[socket.socket] = []
        self._in_use = in_use
        self._stop_at = stop_at

    def take(self, section: str, address: Address, backlog: int) -> Bound:
        if str(address) == self._stop_at:
            raise KeyboardInterrupt
        if str(address) in self._in_use:
            raise ListenError("the address is in use")
        self.given.append(socket.socket())
        return Bound(self.given[-1])


@pytest.fixture(autouse=True)
def module_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])


def taken(directory: Path, *sections: Section, source: Source | None = None, app: Any = "echo") -> Resources:
    settings = build([section("listener:web", address="tcp:1"), section("mount:/", app=app), *sections], "ws.ini", directory)
    return Resources(settings, source or Source(), lambda connection, doing, error: None, directory)


def test_everything_is_taken(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef")
    resources = taken(tmp_path, section("admin", token_file="token"))
    try:
        assert resources.problems == []
        assert set(resources.sockets) == {"listener:web", ADMIN}
        assert set(resources.apps) == {"/"}
        assert resources.token is not None
        assert resources.certificates == {}
    finally:
        resources.close()


def test_a_fault_of_one_hides_no_other(tmp_path: Path) -> None:
    for name in ("cert", "key"):
        (tmp_path / name).write_text("nonsense")
    resources = taken(
        tmp_path,
        section("mount:/a", app="nowhere:app"),
        section("mount:/b", app="nobody:app"),
        section("listener:tls", address="tcp:2", tls_certificate="cert", tls_key="key"),
        section("listener:busy", address="tcp:3"),
        source=Source("tcp:3"),
    )
    try:
        assert [(problem.section, problem.key) for problem in resources.problems] == [
            ("mount:/a", "app"),
            ("mount:/b", "app"),
            ("listener:tls", "tls_certificate"),
            ("listener:tls", "tls_key"),
            ("listener:busy", "address"),
        ]
        assert str(resources.problems[-1]) == "ws.ini: [listener:busy] address = tcp:3: the address is in use"
        assert set(resources.sockets) == {"listener:web", "listener:tls"}
    finally:
        resources.close()


def test_closing_gives_every_socket_back(tmp_path: Path) -> None:
    source = Source()
    taken(tmp_path, section("listener:other", address="tcp:2"), source=source).close()
    assert [sock.fileno() for sock in source.given] == [-1, -1]


def test_a_start_that_is_stopped_leaves_no_socket_open(tmp_path: Path) -> None:
    source = Source(stop_at="tcp:2")
    with pytest.raises(KeyboardInterrupt):
        taken(tmp_path, section("listener:other", address="tcp:2"), source=source)
    assert [sock.fileno() for sock in source.given] == [-1]


def test_python_path_comes_before_all_and_the_directory_after_all(tmp_path: Path) -> None:
    before = [*sys.path]
    find_modules([tmp_path / "a", tmp_path / "b"], tmp_path)
    find_modules([tmp_path / "a", tmp_path / "b"], tmp_path)
    assert sys.path == [str(tmp_path / "a"), str(tmp_path / "b"), *before, str(tmp_path)]
