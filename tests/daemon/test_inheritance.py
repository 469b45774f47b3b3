"""A child of the supervisor reads the manifest that the supervisor wrote, and nothing of it stands in the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wsdaemon.daemon.inheritance import VARIABLE, InheritanceError, InheritedLog, Manifest, Role, environment, take_files
from wsdaemon.settings.build import build, section
from wsdaemon.settings.inherited import InheritedFile

KEY = InheritedFile(b"-----BEGIN PRIVATE KEY-----\n\xff\0", 0o100600, (1, 2, 3, 4, 5))


def make_manifest(descriptors: dict[str, int]) -> Manifest:
    return Manifest(
        role=Role.WORKER, number=2, generation=1, supervisor=os.getpid(), workers=4, settings="[daemon]\nworkers = 4\n",
        source="ws.ini", directory="/srv", log=InheritedLog(destination="stdout", prefix="wsdaemon"),
        descriptors=descriptors, files={"/etc/key.pem": KEY}, pages={"/": ("index.html", b"<h1>")},
    )  # fmt: skip


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def test_a_manifest_is_read_as_it_was_written() -> None:
    with pipe() as (reading, writing):
        written = make_manifest({"supervisor": reading, "heartbeats": writing})
        environ = {VARIABLE: str(written.write())}
        assert Manifest.read(environ) == written
        assert environ == {}


def test_inherited_descriptors_are_closed_when_an_app_starts_a_program() -> None:
    with pipe() as (reading, writing):
        os.set_inheritable(reading, True)
        Manifest.read({VARIABLE: str(make_manifest({"supervisor": reading, "hub": writing}).write())})
        assert not os.get_inheritable(reading)


def test_the_memory_of_a_manifest_cannot_be_changed_and_is_closed_once_it_is_read() -> None:
    descriptor = make_manifest({}).write()
    with pytest.raises(PermissionError):
        os.pwrite(descriptor, b"x", 0)
    Manifest.read({VARIABLE: str(descriptor)})
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_process_without_a_supervisor_is_refused() -> None:
    with pytest.raises(InheritanceError, match="started by the supervisor"):
        Manifest.read({})


def test_a_manifest_of_another_version_is_refused() -> None:
    descriptor = os.memfd_create("test")
    os.write(descriptor, json.dumps({"role": "worker", "files": {}, "pages": {}, "log": {}}).encode())
    with pytest.raises(InheritanceError, match="no manifest of this version"):
        Manifest.read({VARIABLE: str(descriptor)})


def test_a_child_gets_no_message_that_is_meant_for_the_supervisor() -> None:
    of_systemd = dict.fromkeys(("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"), "1")
    assert environment({"PATH": "/bin", **of_systemd}, 9) == {"PATH": "/bin", VARIABLE: "9"}


def test_no_secret_is_shown_by_a_manifest() -> None:
    assert "PRIVATE" not in repr(make_manifest({})) + repr(KEY)


def test_every_file_that_sections_and_apps_name_is_taken(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef")
    for name in ("cert.pem", "key.pem", "users"):
        (tmp_path / name).write_text(name)
    settings = build(
        [
            section("listener:web", address="tcp:1", tls="t"), section("tls:t", certificate="cert.pem", key="key.pem"),
            section("mount:/", app="echo", auth="u"), section("auth:u", kind="basic", file="users"),
            section("admin", address="tcp:2:interface=127.0.0.1", token_file="token"), section("auth:gone", kind="basic", file="gone"),
        ],
        "ws.ini", tmp_path,
    )  # fmt: skip
    taken = take_files(settings)
    assert {Path(path).name: file.content for path, file in taken.items()} == {
        "cert.pem": b"cert.pem", "key.pem": b"key.pem", "users": b"users", "token": b"0123456789abcdef",
    }  # fmt: skip
    assert "users" not in repr(taken[str(tmp_path / "users")])
