"""`wsdaemon doctor` and proxies that are broken on purpose: each fault is found, with the line that mends it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.live.test_command import command
from tests.live.test_edge_recipes import accepting, free_port, nginx
from tests.support.daemon import TLS_ECHO, Daemon, Program, make_certificate, program

pytestmark = pytest.mark.live

WHOLE = os.environ.get("WSDAEMON_DOCTOR") == "whole"
"""In a nightly run."""

BEHIND = """
[listener:web]
address = tcp:0:interface=127.0.0.1
trusted_proxies = 127.0.0.1

[mount:/echo]
app = echo
max_message = 64KiB
ping_interval = 5m

[admin]
address = unix:admin.sock
"""

BROKEN_NGINX = """
    server {{
        listen 127.0.0.1:{port};
        location /echo {{
            proxy_pass http://127.0.0.1:{daemon};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header X-Forwarded-For $http_x_forwarded_for;
        }}
        location /idle/ {{
            proxy_pass http://127.0.0.1:{daemon}/;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_read_timeout 1s;
        }}
        location /without/ {{
            proxy_pass http://127.0.0.1:{daemon}/;
        }}
    }}
"""

BROKEN_HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout tunnel 1h
frontend in
    bind 127.0.0.1:{port}
    http-request del-header upgrade if {{ path_beg /without }}
    use_backend idle if {{ path_beg /idle }}
    default_backend daemon
backend daemon
    server one 127.0.0.1:{daemon}
backend idle
    timeout tunnel 1s
    http-request set-path /echo
    server one 127.0.0.1:{daemon}
"""


def examine(folder: Path, *line: str) -> dict[str, dict[str, Any]]:
    """The findings by their checks."""
    done = command(folder, "doctor", "--json", *line)
    assert done.returncode in (0, 1), done.stderr
    found = {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert done.returncode == int(any(finding["verdict"] == "problem" for finding in found.values()))
    return found


def check_the_broken_way(folder: Path, port: int) -> None:
    """The cut has a path of its own, so that no other check has to be quicker than it."""
    found = examine(folder, f"ws://127.0.0.1:{port}/echo", "-c", "ws.ini", "--idle-time", "0")
    assert found["upgrade"]["verdict"] == "good"
    assert found["smuggling"]["verdict"] == "good"
    assert found["forged address"]["verdict"] == "problem"
    assert "X-Forwarded-For" in found["forged address"]["values"]["forged"]
    found = examine(folder, f"ws://127.0.0.1:{port}/idle/echo", "--idle-time", "60s")
    assert found["idle cut"]["verdict"] == "problem"
    assert found["idle cut"]["fix"]["ws.ini"].startswith("ping_interval = ")
    found = examine(folder, f"ws://127.0.0.1:{port}/without/echo")
    assert found["upgrade"]["verdict"] == "problem"
    assert "proxy_set_header Upgrade $http_upgrade;" in found["upgrade"]["fix"]["nginx"]


def test_a_broken_nginx(tmp_path: Path) -> None:
    port = free_port()
    with Daemon(tmp_path, BEHIND) as daemon, nginx(tmp_path, BROKEN_NGINX.format(port=port, daemon=daemon.port)) as proxy:
        accepting(port, proxy)
        check_the_broken_way(tmp_path, port)


if WHOLE:

    def test_a_broken_haproxy(tmp_path: Path) -> None:
        port = free_port()
        with Daemon(tmp_path, BEHIND) as daemon:
            (tmp_path / "haproxy.cfg").write_text(BROKEN_HAPROXY.format(port=port, daemon=daemon.port))
            with Program([program("haproxy", "Debian: haproxy"), "-db", "-f", str(tmp_path / "haproxy.cfg")], tmp_path) as proxy:
                accepting(port, proxy)
                check_the_broken_way(tmp_path, port)


def test_tls_has_a_grade(tmp_path: Path) -> None:
    make_certificate(tmp_path)
    with Daemon(tmp_path, TLS_ECHO) as daemon:
        found = examine(tmp_path, daemon.url(scheme="wss"), "--idle-time", "0")
        assert found["tls versions"]["values"] == {"versions": ["TLSv1.2", "TLSv1.3"]}
        assert found["certificate"]["verdict"] == "problem", "its authority is not public"
        assert found["tls grade"]["values"] == {"grade": "F"}
        assert found["upgrade"]["verdict"] == "good"
