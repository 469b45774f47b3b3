"""resources.py: modules, files and sockets, and every problem with them."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import make_certificate
from wsdaemon.core.connection import Connection
from wsdaemon.daemon.resources import Resources, find_modules
from wsdaemon.daemon.sockets import Bound, ListenError
from wsdaemon.settings.addresses import Address
from wsdaemon.settings.build import build, section


@pytest.fixture(autouse=True)
def module_path() -> Iterator[None]:
    path = list(sys.path)
    yield
    sys.path[:] = path


class Source:
    """Gives sockets, until it is told to fail."""

    def __init__(self, fails_at: int = -1, error: BaseException | None = None) -> None:
        self.given: list[socket.socket] = []
        self._fails_at = fails_at
        self._error = error or ListenError("the port is in use by another process")

    def take(self, address: Address, backlog: int) -> Bound:
        if len(self.given) == self._fails_at:
            self._fails_at = -1
            raise self._error
        sock = socket.socket()
        self.given.append(sock)
        return Bound(sock)


def failed(connection: Connection, doing: str, error: BaseException) -> None: ...


def take(folder: Path, source: Source, app: object = "echo", **listener: Any) -> Resources:
    sections = [
        section("listener:one", address="tcp:0:interface=127.0.0.1", **listener),
        section("listener:two", address="tcp:0:interface=127.0.0.1"),
        section("mount:/x", app=app),
    ]
    return Resources(build(sections, "test", folder), source, failed, folder)


def test_everything_is_there(tmp_path: Path) -> None:
    make_certificate(tmp_path)
    source = Source()
    resources = take(tmp_path, source, tls_certificate="cert.pem", tls_key="key.pem")
    assert resources.problems == []
    assert set(resources.apps) == {"/x"}
    assert set(resources.certificates) == {"one"}
    assert set(resources.sockets) == {"listener:one", "listener:two"}
    resources.close()
    assert [sock.fileno() for sock in source.given] == [-1, -1]


def test_one_fault_hides_no_other(tmp_path: Path) -> None:
    source = Source(fails_at=0)
    resources = take(tmp_path, source, "nowhere:app", tls_certificate="cert.pem", tls_key="key.pem")
    assert [(problem.section, problem.key) for problem in resources.problems] == [
        ("mount:/x", "app"), ("listener:one", "tls_certificate"), ("listener:one", "tls_key"), ("listener:one", "address"),
    ]  # fmt: skip
    resources.close()


def test_a_signal_in_between_leaves_no_socket(tmp_path: Path) -> None:
    source = Source(fails_at=1, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        take(tmp_path, source)
    assert [sock.fileno() for sock in source.given] == [-1]


def test_where_modules_are_found(tmp_path: Path) -> None:
    before = list(sys.path)
    find_modules([tmp_path / "first"], tmp_path)
    assert sys.path == [str(tmp_path / "first"), *before, str(tmp_path)]
    find_modules([tmp_path / "first"], tmp_path)
    assert sys.path == [str(tmp_path / "first"), *before, str(tmp_path)]
