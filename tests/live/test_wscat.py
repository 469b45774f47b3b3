"""wscat, the command line client of the npm package of that name."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.daemon import ECHO, SECONDS, TLS_ECHO, Daemon, Output, environment, make_certificate, program

pytestmark = pytest.mark.live


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_wscat(tmp_path: Path, scheme: str) -> None:
    wscat = program("wscat", "npm package wscat", "WSDAEMON_WSCAT")
    make_certificate(tmp_path)
    with Daemon(tmp_path, ECHO if scheme == "ws" else TLS_ECHO) as daemon:
        line = [wscat, "--connect", daemon.url(scheme=scheme), "--no-check", "--no-color", "--execute", "hello", "--wait", "-1"]
        client = subprocess.Popen(
            line, env=environment(tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )  # fmt: skip
        output = Output(client.stdout)
        try:
            output.wait_for("^hello$")
        finally:
            assert client.stdin is not None
            client.stdin.close()  # which ends it
            client.wait(SECONDS)
            output.close()
