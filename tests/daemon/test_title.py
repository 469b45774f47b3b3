"""The name of a process in `ps`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from wsdaemon.daemon.title import name_process

PROGRAM = """
import sys
from pathlib import Path
from wsdaemon.daemon.title import name_process
named = name_process(sys.argv[1], "wsdaemon:2")
shown = Path("/proc/self/cmdline").read_bytes().rstrip(b"\\0")
print(named, shown, Path("/proc/self/comm").read_text().strip(), sys.argv[1] == sys.argv[2])
"""


def run(title: str) -> str:
    done = subprocess.run([sys.executable, "-c", PROGRAM, title, title], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def test_ps_shows_the_name() -> None:
    assert run("wsdaemon: worker 2") == "True b'wsdaemon: worker 2' wsdaemon:2 True"


def test_arguments_that_are_shorter_than_the_name_stay() -> None:
    title = "x" * 5000
    program = PROGRAM.replace("sys.argv[1], ", f"'{title[:2]}' * 2500, ").replace(" == sys.argv[2]", "")
    done = subprocess.run([sys.executable, "-c", program, "y"], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("False b'") and done.stdout.strip().endswith("wsdaemon:2 y")


def test_where_the_system_does_not_say_nothing_is_written(tmp_path: Path) -> None:
    assert name_process("wsdaemon: hub", "wsdaemon:hub", tmp_path) is False
    (tmp_path / "stat").write_text("1 (x) S " + "0 " * 49)
    (tmp_path / "cmdline").write_bytes(b"python\0" * 9)
    assert name_process("wsdaemon: hub", "wsdaemon:hub", tmp_path) is False
    assert (tmp_path / "comm").read_text() == "wsdaemon:hub"
