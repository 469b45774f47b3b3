"""daemon/restarting.py: the files that are watched, and the life of the children."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from wsdaemon.daemon import restarting as module
from wsdaemon.daemon.restarting import Restarts, ServingChild, WatchedFiles, python_files

FUTURE = 4_000_000_000.0


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    one, other = write(tmp_path / "one.py", "1"), write(tmp_path / "other.py", "1")
    files = WatchedFiles([one])
    files.add([other], FUTURE)
    assert files.changed() == []
    write(tmp_path / "other.py", "22")
    assert files.changed() == [other]
    files.renew()
    assert files.changed() == []
    replaced = tmp_path / "new"
    write(replaced, "1")
    os.utime(replaced, ns=(os.stat(one).st_atime_ns, os.stat(one).st_mtime_ns))  # noqa: PTH116
    replaced.replace(one)  # an editor's way to save, with time and size as they were
    assert files.changed() == [one]
    files.renew()
    Path(one).unlink()
    assert files.changed() == [one]


def test_a_file_that_was_written_while_the_child_started_counts_as_changed_once(tmp_path: Path) -> None:
    path = write(tmp_path / "one.py", "1")
    files = WatchedFiles([])
    files.add([path], 0.0)
    assert files.changed() == [path]
    files.renew()
    files.add([path], 0.0)  # a time in the future causes no endless restarts
    assert files.changed() == []


def test_the_number_of_files_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 3)
    for number in range(9):
        write(tmp_path / f"m{number}.py", "")
    assert len(list(python_files([tmp_path]))) == 3
    files = WatchedFiles([])
    files.add([str(tmp_path / f"m{number}.py") for number in range(9)], 0.0)
    assert len(files.changed()) == 3


def test_modules_are_found_below_the_directories_but_for_installed_ones(tmp_path: Path) -> None:
    wanted = {write(tmp_path / "a.py", ""), write(tmp_path / "package" / "b.py", "")}
    for name in (".venv/c.py", "lib/site-packages/d.py", "node_modules/e.py", "text.txt"):
        write(tmp_path / name, "")
    assert set(python_files([tmp_path])) == wanted


def test_a_restart_waits_until_files_are_settled(tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    files, left = WatchedFiles([write(path, "")]), [3, 2, 1]

    def sleep(seconds: float) -> None:
        if left:
            path.write_text("x" * left.pop())

    files.settled(sleep)
    assert left == []


# -- children, each a small program in the place of twistd

CHILD = """
import json, os, socket, sys
told = json.loads(os.environ["WSDAEMON_DEVELOPMENT"])
channel = socket.socket(fileno=told["channel"])
if channel.recv(3) != b"go\\n":
    sys.exit(0)
"""


def line(program: str) -> list[str]:
    return [sys.executable, "-c", CHILD + program]


def until_ended(child: ServingChild) -> int:
    deadline = time.monotonic() + 60
    while (status := child.status()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return status


def test_a_child_reports_and_its_status_is_known() -> None:
    child = ServingChild(line("channel.sendall(json.dumps(['a.py']).encode() + b'\\n[\"b'); sys.exit(7)"), {})
    assert child.read() == []
    child.go()
    assert until_ended(child) == 7
    assert (child.read(), child.reported) == (["a.py"], True)
    child.stop()


def test_a_child_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 0.2)
    program = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); channel.sendall(b'[]\\n'); signal.pause()"
    child = ServingChild(line(program), {})
    child.go()
    deadline = time.monotonic() + 60
    while not child.reported:
        child.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert child.stop()
    assert child.status() == -9


def restarts(folder: Path, address: str, program: str, said: list[str]) -> Restarts:
    (folder / "ws.ini").write_text(f"[listener:web]\naddress = {address}\n[mount:/echo]\napp = echo\n")
    return Restarts(line(program), str(folder / "ws.ini"), folder, said.append)


def test_a_start_on_an_open_address_ends_with_status_1(tmp_path: Path) -> None:
    said: list[str] = []
    assert restarts(tmp_path, "tcp:8080", "", said).run() == 1
    assert "--dev serves this machine alone" in said[0]


@pytest.fixture
def signals_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal.signal", lambda number, handler: None)


@pytest.mark.usefixtures("signals_kept")
def test_a_child_that_ends_well_ends_the_parent(tmp_path: Path) -> None:
    said: list[str] = []
    assert restarts(tmp_path, "tcp:0:interface=127.0.0.1", "sys.exit(0)", said).run() == 0
    assert said == []


@pytest.mark.usefixtures("signals_kept")
def test_a_child_that_fails_is_started_again_after_a_change(tmp_path: Path) -> None:
    """The first child fails, and the parent's message is answered with the mended file. The second one has the same socket."""
    said: list[str] = []
    program = (
        "found = list(told['sockets'].values())[0]; port = socket.socket(fileno=os.dup(found)).getsockname()[1]\n"
        f"open({str(tmp_path / 'ports')!r}, 'a').write(f'{{port}}\\n'); exec(open({str(tmp_path / 'app.py')!r}).read())"
    )
    (tmp_path / "app.py").write_text("sys.exit(3)")
    made = restarts(tmp_path, "tcp:0:interface=127.0.0.1", program, said)

    def say(text: str) -> None:
        said.append(text)
        if "status 3" in text:
            (tmp_path / "app.py").write_text("sys.exit(0) ")

    made._say = say
    assert made.run() == 0
    assert said == ["the daemon has ended with status 3; it starts again with the next change", "app.py: changed, restarting"]
    first, second = (tmp_path / "ports").read_text().split()
    assert first == second


@pytest.mark.usefixtures("signals_kept")
def test_settings_that_are_not_in_order_wait_for_their_change(tmp_path: Path) -> None:
    said: list[str] = []
    made = restarts(tmp_path, "tcp:nonsense", "sys.exit(0)", said)

    def say(text: str) -> None:
        said.append(text)
        if "nonsense" in text:
            restarts(tmp_path, "tcp:0:interface=127.0.0.1", "", said)

    made._say = say
    assert made.run() == 0
    assert said[0].endswith("the daemon starts with the next change")
    assert said[1] == "ws.ini: changed, restarting"
