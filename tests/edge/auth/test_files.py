"""edge/auth/files.py: files that are read again when they change."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.auth import Clock, logged, write
from wsdaemon.edge.auth.files import FileError, WatchedFile


def read(content: bytes) -> str:
    if content == b"bad":
        raise FileError("line 1: expected something else")
    return content.decode()


def watched(path: Path, clock: Clock, largest: int = 100) -> WatchedFile[str]:
    return WatchedFile(path, read, largest=largest, clock=clock)


def test_a_change_is_seen_a_second_later(tmp_path: Path) -> None:
    clock = Clock()
    path = write(tmp_path / "f", "one")
    file = watched(path, clock)
    write(path, "two")
    assert file.get() == "one"
    clock.now += 1
    with logged() as lines:
        assert file.get() == "two"
    assert len(lines) == 1 and "read again" in lines[0]
    with logged() as lines:
        clock.now += 1
        assert file.get() == "two"
    assert not lines


def test_a_change_in_place_is_seen(tmp_path: Path) -> None:
    path = write(tmp_path / "f", "one")
    file = watched(path, Clock())
    path.write_text("more")
    file.refresh()
    assert file.get() == "more"


def test_a_bad_file_leaves_the_old_content_and_is_told_once(tmp_path: Path) -> None:
    path = write(tmp_path / "f", "one")
    file = watched(path, Clock())
    write(path, "bad")
    with logged() as lines:
        file.refresh()
        file.refresh()
    assert len(lines) == 1
    assert f"{path}: line 1: expected something else; the old content stays in use" in lines[0]
    assert file.get() == "one"
    path.unlink()
    with logged() as lines:
        file.refresh()
        file.refresh()
    assert len(lines) == 1 and "No such file" in lines[0]
    assert file.get() == "one"
    write(path, "three")
    file.refresh()
    assert file.get() == "three"


def test_a_bad_file_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="No such file"):
        watched(tmp_path / "none", Clock())
    with pytest.raises(FileError, match="Is a directory"):
        watched(tmp_path, Clock())
    with pytest.raises(FileError, match=r"f: expected a file of up to 2 bytes"):
        watched(write(tmp_path / "f", "one"), Clock(), 2)
    with pytest.raises(FileError, match=r"f: line 1: expected something else"):
        watched(write(tmp_path / "f", "bad"), Clock())


@pytest.mark.parametrize(("mode", "told"), [(0o600, 0), (0o640, 0), (0o644, 1), (0o642, 1), (0o646, 2)])
def test_permissions(tmp_path: Path, mode: int, told: int) -> None:
    with logged() as lines:
        watched(write(tmp_path / "f", "hunter2", mode), Clock())
    assert len(lines) == told
    assert all("everybody may" in line and "hunter2" not in line for line in lines)


def test_what_is_public_may_be_read_by_all(tmp_path: Path) -> None:
    path = write(tmp_path / "f", "one", 0o644)
    with logged() as lines:
        WatchedFile(path, read, largest=9, secret=lambda value: value != "one")
    assert not lines


def test_a_symbolic_link_that_leads_elsewhere_is_a_change(tmp_path: Path) -> None:
    write(tmp_path / "a", "one")
    write(tmp_path / "b", "two")
    link = tmp_path / "link"
    link.symlink_to("a")
    file = watched(link, Clock())
    link.unlink()
    link.symlink_to("b")
    file.refresh()
    assert file.get() == "two"
