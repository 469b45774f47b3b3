"""`wsdaemon tail` against real daemons: a connection in another worker than the one that answers, compressed frames, reloads."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.test_admin import ADMIN, Operator, write_token
from tests.support.daemon import SECONDS, Daemon, Program, check_echo, write_settings
from tests.support.workers import worker_ids

pytestmark = pytest.mark.live

INI = """
[daemon]
{workers}
control = unix:control.sock

[listener:web]
address = tcp:0:interface=127.0.0.1

[mount:/echo]
app = echo
compression_threshold = 0
"""

RELOADED = "\n[token:reader]\nfile = other\nroles = read\n"


def settings(workers: int, tap: str = "payload") -> str:
    return INI.format(workers=f"workers = {workers}" if workers else "") + ADMIN + f"tap = {tap}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_token(tmp_path)
    (tmp_path / "other").write_text("another-token-entirely\n")
    (tmp_path / "other").chmod(0o600)
    return tmp_path


def tail(folder: Path, url: str, id: str, *line: str) -> Program:
    return Program([sys.executable, "-m", "wsdaemon", "tail", "--url", url, "--token-file", "token", *line, id], folder)


def found(operator: Operator) -> list[tuple[str, int | None]]:
    """The ids and the workers of all connections."""
    return [(one["id"], one.get("worker")) for one in operator.json("GET", "/api/connections")["connections"]]


@contextlib.contextmanager
def door_of(url: str, stopped: int) -> Iterator[str]:
    """A door to the admin pages for one client: its connection is answered while the process `stopped` stands still."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def carry(source: socket.socket, target: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    target.sendall(data)
                target.shutdown(socket.SHUT_WR)

        def serve() -> None:
            client, _ = listening.accept()
            with client:
                os.kill(stopped, signal.SIGSTOP)
                try:
                    server = socket.create_connection((host, int(port)), SECONDS)
                    head = b""
                    while b"\r\n\r\n" not in head:
                        head += client.recv(65536)
                    server.sendall(head)
                    answer = server.recv(65536)
                finally:
                    os.kill(stopped, signal.SIGCONT)
                with server:
                    client.sendall(answer)
                    back = threading.Thread(target=carry, args=(server, client))
                    back.start()
                    carry(client, server)
                    back.join(SECONDS)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(SECONDS)


def test_a_connection_of_another_worker_is_shown_inflated(folder: Path) -> None:
    with Daemon(folder, settings(2)) as daemon, Operator(daemon) as operator, daemon.connect() as client:
        for word in ("hello, hello", "hello, hello, world"):
            check_echo(client, word)
        [(id, worker)] = found(operator)
        with door_of(operator.url, worker_ids(daemon)[f"worker {worker}"]) as url, tail(folder, url, id, "--payload") as shown:
            shown.output.wait_for(f"{id}: /echo, 127.0.0.1, with payloads, in worker {worker}$")
            check_echo(client, "hello, hello, again")
            for direction in ("in ", "out"):
                shown.output.wait_for(rf"{direction} text, \d+ B, compressed: hello, hello, again$")
            client.close()
            shown.output.wait_for("the connection has ended: 1000")
            assert shown.wait() == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_it_goes_on_after_a_reload(folder: Path, workers: int) -> None:
    with Daemon(folder, settings(workers)) as daemon, Operator(daemon) as operator, daemon.connect() as client:
        check_echo(client)
        [(id, _)] = found(operator)
        with tail(folder, operator.url, id) as shown:
            for number, changed in enumerate((RELOADED, ""), 1):
                shown.output.wait_for("without payloads", number)
                write_settings(folder, settings(workers) + changed)
                daemon.tell(signal.SIGHUP)
                shown.output.wait_for("the settings have changed: asking again|the tap has ended: asking again", number)
            shown.output.wait_for("without payloads", 3)
            check_echo(client)
            shown.output.wait_for("in +text, ")
            write_settings(folder, settings(workers, "off"))
            daemon.tell(signal.SIGHUP)
            shown.output.wait_for("tap is off")
            assert shown.wait() == 5
