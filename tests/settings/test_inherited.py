"""Paths of files that a worker inherited: the inherited bytes count at the start, and later until the file on disk is another one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wsdaemon.settings.inherited import InheritedDirectory, InheritedFile, InheritedPath, signature_of
from wsdaemon.settings.ini import parse
from wsdaemon.settings.problems import Problem


def inherit(path: Path) -> InheritedPath:
    """A file as the supervisor took it."""
    found = path.stat()
    return InheritedPath.of(str(path), InheritedFile(path.read_bytes(), found.st_mode, signature_of(found)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "key.pem"
    made.write_text("first")
    made.chmod(0o600)
    return made


def test_at_the_start_the_inherited_bytes_count(path: Path) -> None:
    taken = inherit(path)
    path.write_text("damaged")
    assert taken.read_bytes() == b"first"
    with taken.open("rb") as one, taken.open("rb") as other:
        assert (one.read(), other.read()) == (b"first", b"first")
    assert Path(os.fspath(taken)).read_text() == "first"
    assert str(taken) == str(path)
    assert taken == path
    path.unlink()
    assert taken.read_text() == "first"


def test_later_a_file_that_changed_counts(path: Path) -> None:
    taken = inherit(path)
    taken.pinned = False
    before = taken.stat()
    assert (before.st_size, before.st_mode & 0o777) == (5, 0o600)
    with taken.open("rb") as file:
        assert signature_of(os.fstat(file.fileno())) == signature_of(taken.stat()), "a watch must see no change"
    path.write_text("renewed")
    assert signature_of(taken.stat()) != signature_of(before)
    assert taken.read_text() == "renewed"
    assert os.fspath(taken) == str(path)
    path.unlink()
    assert taken.read_text() == "first"


def test_a_file_that_only_root_may_read(path: Path) -> None:
    """The worker is another user, and the file has changed since."""
    program = (
        "import os, sys; from pathlib import Path; from wsdaemon.settings.inherited import InheritedFile, InheritedPath, signature_of\n"
        "path = Path(sys.argv[1]); file = InheritedFile(path.read_bytes(), 0o600, signature_of(path.stat())); path.write_text('renewed')\n"
        "os.setuid(65534); taken = InheritedPath.of(str(path), file); taken.pinned = False; print(taken.read_text(), taken.stat().st_size)"
    )
    if os.geteuid() != 0:
        pytest.skip("only root may become another user")
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "first 5\n"


def test_paths_derived_from_one_are_ordinary(path: Path) -> None:
    taken = inherit(path)
    assert taken.parent.stat().st_ino == path.parent.stat().st_ino
    assert (taken.parent / "key.pem").exists()


def test_the_settings_have_the_inherited_files(path: Path) -> None:
    text = b"[listener:web]\naddress = tcp:1\n[mount:/]\napp = echo\n[admin]\naddress = tcp:2:interface=127.0.0.1\ntoken_file = key.pem\n"
    path.write_text("0123456789abcdef")
    taken = inherit(path)
    path.unlink()
    problems: list[Problem] = []
    base = InheritedDirectory.of(path.parent, {str(path): taken})
    settings = parse(text, "ws.ini", problems, base=base)
    assert not problems
    assert settings.admin is not None and settings.admin.token_file is not None
    assert settings.admin.token_file.reveal() == "0123456789abcdef"
    assert settings.admin.token_file.path is taken
    assert type(base / "other.pem") is type(path)
