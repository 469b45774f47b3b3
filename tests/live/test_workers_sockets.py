"""The sockets of workers: bound by the supervisor, of every kind, and shared evenly."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect, unix_connect

from tests.live.test_serving import AS_SYSTEMD
from tests.live.test_twistd_options import free_privileged_port, passable
from tests.support.daemon import ROOT, SECONDS, Daemon, Program, check_echo, command, in_background, make_certificate, write_settings
from tests.support.workers import ECHO, Clients, children, wait_for_connections, wait_for_ends, worker_ids

pytestmark = pytest.mark.live

WHOLE = os.environ.get("WSDAEMON_WORKERS") == "whole"
"""Whether the tests that take long are run too: .ci/run --nightly."""

MOST = 1.05
"""The fullest worker over the mean."""


@contextlib.contextmanager
def reachable_interpreter() -> Iterator[None]:
    """Every user may get to the interpreter, as in an installation; some build hosts have it in root's home."""
    changed: dict[Path, int] = {}
    for path in {Path(sys.executable), Path(sys.executable).resolve(), ROOT}:
        for folder in path.parents:
            if not (mode := folder.stat().st_mode) & stat.S_IXOTH:
                changed[folder] = mode
                folder.chmod(mode | stat.S_IXOTH)
    try:
        yield
    finally:
        for folder, mode in changed.items():
            folder.chmod(mode)


@pytest.mark.parametrize(("workers", "count"), [(2, 1000), (4, 1000)] if WHOLE else [(4, 1000)])
def test_connections_are_shared_evenly_also_after_a_worker_was_replaced(tmp_path: Path, workers: int, count: int) -> None:
    with Daemon(tmp_path, ECHO.format(workers=workers)) as daemon, contextlib.closing(Clients(daemon.port)) as clients:
        mean = count / workers
        clients.open(count, together=True)
        assert max(wait_for_connections(daemon.pid, workers, count)) / mean <= MOST
        clients.close()
        wait_for_connections(daemon.pid, workers, 0)
        clients.open(count, together=False)
        assert max(wait_for_connections(daemon.pid, workers, count)) / mean <= MOST
        os.kill(worker_ids(daemon)["worker 1"], signal.SIGKILL)
        daemon.output.wait_for("worker 1 is ready", 2)
        clients.open(clients.forget_closed(), together=True)
        assert max(wait_for_connections(daemon.pid, workers, count)) / mean <= MOST


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_worker_has_the_key_that_only_root_may_read_also_when_it_is_started_again(tmp_path: Path) -> None:
    context = make_certificate(tmp_path)
    nobody = pwd.getpwnam("nobody")
    passable(tmp_path)
    port = free_privileged_port()
    text = ECHO.format(workers=1).replace("tcp:0:interface=127.0.0.1", f"tcp:{port}\ntls_certificate = cert.pem\ntls_key = key.pem")
    text += "\n[admin]\naddress = unix:admin.sock\ntoken_file = token\n"
    (tmp_path / "token").write_text("0123456789abcdef")
    (tmp_path / "token").chmod(0o600)
    with reachable_interpreter(), in_background(tmp_path, text, "--uid=nobody", f"--gid={nobody.pw_gid}") as pid:
        for _ in range(2):
            with connect(f"wss://127.0.0.1:{port}/echo", proxy=None, ssl=context, open_timeout=SECONDS) as client:
                check_echo(client)
            (worker,) = [child for name, child in children(pid).items() if name.startswith("worker")]
            status = Path("/proc", str(worker), "status").read_text()
            assert f"Uid:\t{nobody.pw_uid}\t{nobody.pw_uid}\t{nobody.pw_uid}\t{nobody.pw_uid}" in status
            environ, shown = (Path("/proc", str(worker), name).read_bytes() for name in ("environ", "cmdline"))
            assert b"PRIVATE" not in environ + shown and b"0123456789abcdef" not in environ + shown
            (tmp_path / "key.pem").write_text("damaged")
            (tmp_path / "token").unlink(missing_ok=True)
            os.kill(worker, signal.SIGKILL)
            wait_for_ends([worker])
        others = list(children(pid).values())
        os.kill(pid, signal.SIGTERM)
        wait_for_ends([pid, *others])


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "ws.sock"
    with Daemon(tmp_path, ECHO.format(workers=2).replace("tcp:0:interface=127.0.0.1", "unix:ws.sock:mode=600")) as daemon:
        assert path.stat().st_mode & 0o777 == 0o600
        for _ in range(2):
            with unix_connect(str(path), "ws://localhost/echo", open_timeout=SECONDS) as client:
                check_echo(client)
        assert daemon.stop() == 0
    assert not path.exists()


def test_sockets_from_systemd(tmp_path: Path) -> None:
    text = ECHO.format(workers=2).replace("tcp:0:interface=127.0.0.1", "systemd:name=web")
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(SECONDS)
        port = tcp.getsockname()[1]
        line = [sys.executable, "-c", AS_SYSTEMD, "2", str(tcp.fileno()), str(tcp.fileno())]
        line += command(write_settings(tmp_path, text))
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
        with Program(line, tmp_path, environ, [tcp.fileno()]) as daemon:
            told: list[str] = []
            while not any("READY=1" in each for each in told) or told[-1] != "WATCHDOG=1":
                told.append(manager.recv(4096).decode())
            for worker in children(daemon.pid).values():
                names = {entry.partition(b"=")[0] for entry in Path("/proc", str(worker), "environ").read_bytes().split(b"\0")}
                assert not {b"LISTEN_FDS", b"LISTEN_PID", b"LISTEN_FDNAMES", b"NOTIFY_SOCKET", b"WATCHDOG_USEC"} & names
            with connect(f"ws://127.0.0.1:{port}/echo", proxy=None, open_timeout=SECONDS) as client:
                check_echo(client)
            assert daemon.stop() == 0
            while not any("STOPPING=1" in each for each in told):
                told.append(manager.recv(4096).decode())
