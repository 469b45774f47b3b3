"""Plain functions of the user's in a real daemon: their threads, the bound on these, and a stop while one of them does not end."""

from __future__ import annotations

from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosedOK, InvalidStatus

from tests.support.daemon import Daemon

pytestmark = pytest.mark.live

APP = """
import threading

def shout(connection):
    for message in connection:
        connection.send(f"{connection.params['name']}: {message.upper()}")
        if message == "enough":
            return
        if message == "hang":
            threading.Event().wait()
"""

SETTINGS = """
[daemon]
max_threads = 1
drain_timeout = 1s

[listener:web]
address = tcp:0:interface=127.0.0.1

[mount:/shout/{name}]
app = loud:shout
"""


def test_functions_in_threads(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(APP)
    with Daemon(tmp_path, SETTINGS) as daemon:
        with daemon.connect("/shout/ada") as client:
            client.send("hello")
            assert client.recv() == "ada: HELLO"
            with pytest.raises(InvalidStatus) as refused, daemon.connect("/shout/bob"):
                """The only thread is taken."""
            assert refused.value.response.status_code == 503
            daemon.output.wait_for("max_threads = 1 functions run")
            client.send("enough")
            assert client.recv() == "ada: ENOUGH"
            with pytest.raises(ConnectionClosedOK):
                client.recv()
        with daemon.connect("/shout/bob") as client:
            client.send("hang")
            assert client.recv() == "bob: HANG"
            assert daemon.stop() == 0
        daemon.output.wait_for("left running in threads, because drain_timeout is over: loud:shout at /shout/.name., connection")
