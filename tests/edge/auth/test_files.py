"""edge/auth/files.py: files that are read again when they change."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

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


def no_descriptors(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Make opening the file fail as it does without descriptors, while the list holds True; a stat needs none and works."""
    state = [True]
    real = Path.open

    def open_(self: Path, *args: Any, **keys: Any) -> Any:
        if state[0] and self == path:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(self, *args, **keys)

    monkeypatch.setattr(Path, "open", open_)
    return state


def test_a_change_during_a_shortage_of_descriptors_is_taken_when_it_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    path = write(tmp_path / "f", "one")
    file = watched(path, clock)
    write(path, "two")
    state = no_descriptors(path, monkeypatch)
    clock.now += 1
    with logged() as lines:
        assert file.get() == "one"
        assert file.problem() == f"{path}: Too many open files"
        state[0] = False
        clock.now += 0.9
        assert file.get() == "one", "the next attempt is a second away"
        clock.now += 0.1
        assert file.get() == "two"
    assert file.problem() is None
    assert len(lines) == 2 and "the old content stays in use" in lines[0] and "read again" in lines[1]


def test_reload_tries_at_once_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "f", "one")
    file = watched(path, Clock())
    write(path, "two")
    state = no_descriptors(path, monkeypatch)
    file.refresh()
    state[0] = False
    file.refresh()
    assert file.get() == "two" and file.problem() is None and file.failures == 1


def test_attempts_back_off_and_one_line_tells_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    path = write(tmp_path / "f", "one")
    file = watched(path, clock)
    write(path, "two")
    no_descriptors(path, monkeypatch)
    attempts = []
    with logged() as lines:
        for second in range(1, 61):
            clock.now += 1
            before = file.failures
            file.get()
            if file.failures > before:
                attempts.append(second)
    assert attempts == [1, 2, 4, 8, 16, 26, 36, 46, 56]
    assert len(lines) == 1


def test_a_file_that_is_put_back_is_no_problem_any_more(tmp_path: Path) -> None:
    path = write(tmp_path / "f", "one")
    file = watched(path, Clock())
    path.rename(tmp_path / "away")
    file.refresh()
    assert file.problem() is not None
    (tmp_path / "away").rename(path)
    file.refresh()
    assert file.problem() is None and file.get() == "one"


def test_a_byte_order_mark_leaves_the_old_content(tmp_path: Path) -> None:
    path = write(tmp_path / "f", "one")
    file = watched(path, Clock())
    write(path, b"\xef\xbb\xbftwo")
    file.refresh()
    assert file.get() == "one"
    assert file.problem() == f"{path}: the file starts with a byte order mark; save it as plain UTF-8, without one"


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
    assert all("every user of this machine may" in line and "hunter2" not in line for line in lines)


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
