"""A daemon with few open files, on real sockets: newcomers are answered, and the operator gets one line with the fix."""

from __future__ import annotations

import contextlib
import resource
import shutil
import socket
from pathlib import Path

import pytest

from tests.support.daemon import ECHO, SECONDS, Daemon
from tests.support.fakes import request
from tests.support.workers import ECHO as WORKERS_ECHO
from tests.support.workers import Clients, wait_for_connections, worker_ids

pytestmark = [pytest.mark.live, pytest.mark.skipif(shutil.which("prlimit") is None, reason="needs prlimit of util-linux")]

OPENING = request("/echo")


def text(most: int) -> str:
    return f"[daemon]\nmax_connections = {most}\n[logging]\nconnections = no\n{ECHO}"


def come(port: int, stack: contextlib.ExitStack) -> tuple[socket.socket, bytes]:
    """A client that asked for a WebSocket, and the status of the answer. Fails if no answer comes."""
    sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), SECONDS))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before the request was sent
        sock.sendall(OPENING)
    head = b""
    while b"\r\n\r\n" not in head and (data := sock.recv(4096)):
        head += data
    return sock, head[9:12]


def test_the_soft_limit_is_raised_for_max_connections(tmp_path: Path) -> None:
    with (
        Daemon(tmp_path, text(300), before=["prlimit", "--nofile=128:4096"]) as daemon,
        contextlib.ExitStack() as clients,
    ):
        assert [come(daemon.port, clients)[1] for _ in range(300)] == [b"101"] * 300
        assert come(daemon.port, clients)[1] == b"503", "max_connections"
        assert "files may be open" not in daemon.log


def test_with_a_low_hard_limit_newcomers_are_answered_and_the_log_says_it_once(tmp_path: Path) -> None:
    with Daemon(tmp_path, text(10000), before=["prlimit", "--nofile=256:256"]) as daemon:
        with contextlib.ExitStack() as clients:
            answers = [come(daemon.port, clients)[1] for _ in range(400)]
            taken = answers.count(b"101")
            assert answers == [b"101"] * taken + [b"503"] * (400 - taken), "in order: no newcomer hangs, and none is reset"
            assert 150 < taken < 240, "some descriptors are kept for the daemon itself"
        for _ in range(100):
            with contextlib.ExitStack() as client:
                if come(daemon.port, client)[1] == b"101":
                    break
        else:
            raise AssertionError("no newcomer is taken after the others have gone")
        lines = daemon.log.splitlines()
    [warning] = [line for line in lines if "files may be open" in line]
    assert "only 256 files may be open" in warning and "LimitNOFILE=11024" in warning and "max_connections = 10000" in warning
    assert len([line for line in lines if "open files are in use" in line]) == 1, "once a minute"


def test_a_worker_without_descriptors_leaves_newcomers_to_the_other_until_it_has_some(tmp_path: Path) -> None:
    with Daemon(tmp_path, WORKERS_ECHO.format(workers=2) + "[logging]\nconnections = no\n") as daemon:
        first = worker_ids(daemon)["worker 1"]
        before = resource.prlimit(first, resource.RLIMIT_NOFILE)
        used = max(int(file.name) for file in Path("/proc", str(first), "fd").iterdir())
        resource.prlimit(first, resource.RLIMIT_NOFILE, (used + 20, before[1]))
        clients = Clients(daemon.port)
        try:
            clients.open(100, together=True)  # each is answered 101
            counts = wait_for_connections(daemon.pid, 2, 100)
            assert counts[0] <= 20
            resource.prlimit(first, resource.RLIMIT_NOFILE, before)
            clients.open(80, together=False)
            counts = wait_for_connections(daemon.pid, 2, 180)
            assert counts[0] > 20, "it accepts again"
        finally:
            clients.close()
        lines = [line for line in daemon.log.splitlines() if "leaves new clients to other workers" in line]
    assert len(lines) == 1 and "worker=1" in lines[0]
