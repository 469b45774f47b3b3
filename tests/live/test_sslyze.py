"""sslyze's check of Mozilla's "intermediate" profile. sslyze lives in an environment of its own: its needs and ours do not go together."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from daemon import TLS_ECHO, Daemon, environment, make_certificate, program

pytestmark = pytest.mark.live


def test_a_tls_listener_is_compliant_with_mozillas_intermediate_profile(tmp_path: Path) -> None:
    sslyze = program("sslyze", "PyPI package sslyze, in an environment of its own; WSDAEMON_SSLYZE says where", "WSDAEMON_SSLYZE")
    make_certificate(tmp_path)
    with Daemon(tmp_path, TLS_ECHO) as daemon:
        done = subprocess.run(
            [sslyze, "--mozilla_config=intermediate", f"127.0.0.1:{daemon.port}"],
            env=environment(tmp_path), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert daemon.running
    said = done.stdout + done.stderr
    assert "OK - Compliant" in said, said
    assert done.returncode == 0, said
