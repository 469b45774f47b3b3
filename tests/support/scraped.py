"""A real daemon whose metrics anyone may read, as Prometheus does."""

from __future__ import annotations

import http.client
import re
from pathlib import Path

from tests.support.daemon import SECONDS, Daemon

INI = """
[listener:web]
address = tcp:0:interface=127.0.0.1
[admin]
address = tcp:0:interface=127.0.0.1
token_file = token
metrics_open = on
[defaults]
ping_interval = 300ms
[mount:/echo]
app = echo
[mount:/rooms/{room}]
app = rooms
"""


def scraped(folder: Path) -> Daemon:
    """The daemon, which begins with a `with` block."""
    token = folder / "token"
    token.touch(0o600)
    token.write_text("0123456789abcdef0123456789abcdef")
    return Daemon(folder, INI)


def admin_port(daemon: Daemon) -> int:
    found = re.search(r"admin pages on tcp:\S+ \(port (\d+)\)", daemon.log)
    assert found is not None, daemon.log
    return int(found[1])


def fetch(port: int, path: str) -> str:
    """The body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()
