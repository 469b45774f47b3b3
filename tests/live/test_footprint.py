"""The cost of a daemon without clients: memory, and the CPU time of its start."""

from __future__ import annotations

import compileall
import os
from pathlib import Path

import pytest

import wsdaemon
from tests.support.daemon import ROOT, Daemon

pytestmark = pytest.mark.live

MEMORY = 64 * 1024 * 1024
"""Bytes that the idle daemon may hold."""
START = 1.5
"""Seconds of processor time that its start may take. Not of the clock on the wall: that depends on what else the machine does."""


def test_an_idle_daemon_is_small_and_starts_fast(tmp_path: Path) -> None:
    # As pip does at an install: a daemon that has to compile its modules holds the leftovers of that.
    compileall.compile_dir(str(Path(wsdaemon.__file__).parent), quiet=1)
    text = (ROOT / "etc" / "ws.ini").read_text().replace("tcp:8080", "tcp:0")
    with Daemon(tmp_path, text) as daemon:
        daemon.check_echo()  # so that all is loaded that the first connection needs
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines())
        memory = int(lines["VmRSS"].split()[0]) * 1024
        fields = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
        start = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    print(f"idle: {memory / 2**20:.1f} MB, processor time of the start: {start:.2f} s")
    assert memory < MEMORY
    assert start < START
