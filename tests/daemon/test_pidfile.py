"""pidfile.py: a pidfile that a killed process left."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from wsdaemon.daemon.pidfile import forget_stale, why_not_ours


def proc(folder: Path, pid: int, booted: int, started_after: float) -> Path:
    """A /proc with one process of an awkward name."""
    (folder / str(pid)).mkdir()
    ticks = int(started_after * os.sysconf("SC_CLK_TCK"))
    (folder / str(pid) / "stat").write_text(f"{pid} (a) b) S " + "0 " * 18 + f"{ticks} 0 0\n")
    (folder / "stat").write_text(f"cpu 1 2 3\nbtime {booted}\nprocesses 5\n")
    return folder


def test_a_younger_process_has_not_written_it(tmp_path: Path) -> None:
    here = proc(tmp_path, 7, 1000, 500.0)
    assert why_not_ours(7, 1400.0, here) == "is younger than the file"
    assert why_not_ours(7, 1499.0, here) is None, "the clocks may differ by so much"
    assert why_not_ours(7, 1600.0, here) is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"/sbin/init\0splash\0", "is /sbin/init"),
        (b"sleep\x1b\x001\0", "is sleep\\x1b"),
        (b"/usr/bin/python3\0/usr/bin/twistd\0-n\0", None),
        (b"/opt/pypy\0serve.py\0", None),
        (b"wsdaemon: supervisor\0", None),
        (b"", None),
    ],
)
def test_another_program_has_not_written_it(tmp_path: Path, line: bytes, reason: str | None) -> None:
    """The daemon of a container was process 1; where its folder is seen by the host, process 1 is init, which is older than the file."""
    here = proc(tmp_path, 1, 1000, 0.0)
    (here / "1" / "cmdline").write_bytes(line)
    assert why_not_ours(1, 5000.0, here) == reason


def test_this_process_has_not_written_it() -> None:
    assert why_not_ours(os.getpid(), time.time()) == "is this one"


def test_where_the_system_does_not_say(tmp_path: Path) -> None:
    assert why_not_ours(7, 0.0, tmp_path) is None
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text("nonsense")
    (tmp_path / "stat").write_text("nonsense")
    assert why_not_ours(7, 0.0, tmp_path) is None


def test_a_stale_file_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "twistd.pid"
    path.write_text(str(os.getpid()))
    forget_stale(str(path))
    assert not path.exists()


@pytest.mark.parametrize("content", ["", "nonsense"])
def test_any_other_file_is_left_to_twistd(tmp_path: Path, content: str) -> None:
    path = tmp_path / "twistd.pid"
    path.write_text(content)
    forget_stale(str(path))
    assert path.read_text() == content


def test_no_file(tmp_path: Path) -> None:
    forget_stale(None)
    forget_stale(str(tmp_path / "none"))
