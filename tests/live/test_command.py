"""The command against real servers, in pipes as scripts use it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.sync.server import ServerConnection, serve

from tests.support.daemon import SECONDS, Daemon, environment

pytestmark = pytest.mark.live

PATIENT = ("--connect-timeout", "60s")
"""For machines that are busy."""


def command(folder: Path, *line: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "wsdaemon", *line], cwd=folder, env=environment(folder), input=given, capture_output=True, check=False,
        timeout=6 * SECONDS,
    )  # fmt: skip


@contextlib.contextmanager
def server(handler: Callable[[ServerConnection], None]) -> Iterator[str]:
    """A server that is not ours; its URL."""
    with serve(handler, "127.0.0.1", 0) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{serving.socket.getsockname()[1]}/"
        finally:
            serving.shutdown()
            thread.join(SECONDS)


def test_run_check_and_connect(tmp_path: Path) -> None:
    """A pipe is echoed whole: the answers that are on their way at the end of the input are printed."""
    with Daemon(tmp_path) as daemon:
        lines = b"".join(b"line %d %s\n" % (number, b"x" * (number % 700)) for number in range(3000))
        done = command(tmp_path, "connect", *PATIENT, daemon.url(), given=lines)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == lines
        done = command(tmp_path, "connect", *PATIENT, "--binary", daemon.url(), given=lines * 2)
        assert (done.returncode, done.stdout) == (0, lines * 2)
        done = command(tmp_path, "connect", *PATIENT, "--json", daemon.url(), given=b"hello\n")
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert [event["event"] for event in events] == ["open", "message", "close"]
        assert events[1]["data"] == "hello"
        assert (events[2]["code"], events[2]["clean"]) == (1000, True)
        assert command(tmp_path, "connect", *PATIENT, daemon.url("/nothing")).returncode == 5


def test_connect_tells_how_the_connection_ended(tmp_path: Path) -> None:
    def refuse(connection: ServerConnection) -> None:
        connection.recv(SECONDS)
        connection.close(4000, "not you")

    with server(refuse) as url:
        done = command(tmp_path, "connect", *PATIENT, url, "--wait", "60s", given=b"hello\n")
        assert done.returncode == 6
        assert done.stderr == b"closed with 4000 (not you)\n"


def test_bench_shows_a_second_in_which_the_server_stands_still(tmp_path: Path) -> None:
    """The server's sleep is the fault that is measured. The message that begins it is the 150th of 600, at 200 a second."""
    stalled = threading.Event()

    def stall(connection: ServerConnection) -> None:
        for number, message in enumerate(connection):
            if number == 150:
                stalled.wait(1.0)
            connection.send(message)

    with server(stall) as url:
        done = command(tmp_path, "bench", *PATIENT, "--json", "--rate", "200", "--messages", "600", url)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["messages"] == {"size": 64, "sent": 600, "received": 600, "wrong": 0, "unanswered": 0}
    assert answer["latency"]["p99"] >= 0.9
    assert answer["latency"]["max"] >= 0.99
