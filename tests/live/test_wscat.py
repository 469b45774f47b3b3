"""wscat, the command line client of the npm package of that name."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from daemon import ECHO, SECONDS, TLS_ECHO, Daemon, environment, make_certificate, program

pytestmark = pytest.mark.live


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_wscat(tmp_path: Path, scheme: str) -> None:
    wscat = program("wscat", "npm package wscat", "WSDAEMON_WSCAT")
    make_certificate(tmp_path)
    with Daemon(tmp_path, ECHO if scheme == "ws" else TLS_ECHO) as daemon:
        line = [wscat, "--connect", daemon.url(scheme=scheme), "--ca", str(tmp_path / "cert.pem"), "--no-check", "--execute", "hello", "--wait", "1"]
        done = subprocess.run(
            line, env=environment(tmp_path), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=SECONDS
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "hello" in done.stdout
