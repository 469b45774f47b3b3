"""Signals, sockets and pidfiles while a daemon starts."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import ECHO, FOREGROUND, LISTENING, SECONDS, Daemon, Program, command, run, write_settings

pytestmark = pytest.mark.live

SLOW = """
import socket

class App:
    def open(self, connection, handshake): raise AssertionError

    async def start(self):
        import asyncio
        reader, self.writer = await asyncio.open_unix_connection("go.sock")
        await reader.read()

    async def stop(self):
        self.writer.close()
"""

SLOW_IMPORT = """
import socket

gate = socket.socket(socket.AF_UNIX)
gate.connect("go.sock")
gate.recv(1)
"""

UNIX = "[listener:web]\naddress = unix:./ws.sock\n[mount:/slow]\napp = slow:App\n"


@contextlib.contextmanager
def starting(folder: Path, source: str) -> Iterator[tuple[Program, socket.socket]]:
    """A daemon that has begun its start and waits there, and the socket whose end lets it go on."""
    (folder / "slow.py").write_text(source)
    with socket.socket(socket.AF_UNIX) as gate:
        gate.bind(str(folder / "go.sock"))
        gate.listen()
        gate.settimeout(SECONDS)
        line = command(write_settings(folder, UNIX), ("--nodaemon", "--pidfile=ws.pid"))
        with Program(line, folder) as daemon:
            held, _ = gate.accept()
            with held:
                yield daemon, held


def test_a_reload_while_an_app_starts_is_done_later(tmp_path: Path) -> None:
    """It killed the daemon."""
    with starting(tmp_path, SLOW) as (daemon, held):
        daemon.tell(signal.SIGHUP)
        daemon.tell(signal.SIGUSR1)
        daemon.tell(signal.SIGUSR2)
        held.close()
        daemon.output.wait_for(r"listening on unix:\S+, plain, as web$")
        assert daemon.stop() == 0
        assert "Traceback" not in daemon.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("source", [SLOW, SLOW_IMPORT], ids=["while an app starts", "while a module is imported"])
def test_a_stop_while_it_starts(tmp_path: Path, number: signal.Signals, source: str) -> None:
    with starting(tmp_path, source) as (daemon, _):
        assert (tmp_path / "ws.pid").exists()
        assert daemon.stop(number) == 0
        assert "stopped while it was starting" in daemon.log
        assert "Traceback" not in daemon.log
    assert not (tmp_path / "ws.sock").exists()
    assert not (tmp_path / "ws.pid").exists()


def test_the_signal_for_workers_is_one_line_in_the_log(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.tell(signal.SIGUSR2)
        daemon.output.wait_for("SIGUSR2 replaces workers; this daemon runs without workers")
        daemon.check_echo()
        assert daemon.stop() == 0


def test_a_hung_daemon_on_the_same_socket(tmp_path: Path) -> None:
    """connect() waited for ever for room in its queue."""
    with socket.socket(socket.AF_UNIX) as hung, contextlib.ExitStack() as clients:
        hung.bind(str(tmp_path / "ws.sock"))
        hung.listen(0)
        while True:
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            try:
                client.connect(str(tmp_path / "ws.sock"))
            except BlockingIOError:
                break
        done = run(tmp_path, ECHO.replace("tcp:0:interface=127.0.0.1", "unix:./ws.sock"))
        assert done.returncode == 1
        assert "another process listens there, and it accepts no connections: its queue is full" in done.stderr + done.stdout
        assert (tmp_path / "ws.sock").exists()


def test_a_socket_that_is_by_now_the_successors_stays(tmp_path: Path) -> None:
    """Also that of the admin pages."""
    admin = "[admin]\naddress = unix:./admin.sock\n"
    text = ECHO.replace("tcp:0:interface=127.0.0.1", "unix:./ws.sock") + admin
    line = command(write_settings(tmp_path, text), FOREGROUND)
    with Program(line, tmp_path) as old:
        old.output.wait_for("listening on unix:")
        for name in ("ws.sock", "admin.sock"):
            (tmp_path / name).unlink()
        with Program(line, tmp_path) as new:
            new.output.wait_for("listening on unix:")
            assert old.stop() == 0
            for name in ("ws.sock", "admin.sock"):
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(SECONDS)
                    client.connect(str(tmp_path / name))
            assert new.stop() == 0
    assert not (tmp_path / "ws.sock").exists()
    assert not (tmp_path / "admin.sock").exists()


def test_an_app_that_does_not_start_in_time(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import asyncio\n"
        "class App:\n"
        "    def open(self, connection, handshake): ...\n"
        "    async def start(self): await asyncio.sleep(1000)\n"
        "    async def stop(self): ...\n"
    )
    done = run(tmp_path, "[daemon]\nstart_timeout = 300ms\n" + UNIX)
    assert done.returncode == 1
    assert "[mount:/slow] has not started; the whole start may take 0.3 s ([daemon] start_timeout)" in done.stderr
    assert not (tmp_path / "ws.sock").exists()


def test_a_pidfile_of_a_killed_container(tmp_path: Path) -> None:
    """Its number is that of a younger process, or of the new daemon itself."""
    pidfile = tmp_path / "ws.pid"
    with subprocess.Popen(["sleep", "1000"]) as other:
        try:
            pidfile.write_text(str(other.pid))
            os.utime(pidfile, (1_000_000_000, 1_000_000_000))
            line = command(write_settings(tmp_path, ECHO), ("--nodaemon", "--pidfile=ws.pid"))
            with Program(line, tmp_path) as daemon:
                daemon.output.wait_for(LISTENING)
                assert pidfile.read_text() == str(daemon.pid)
                assert daemon.stop() == 0
                assert f"which a killed daemon left, is removed: process {other.pid} is younger than the file" in daemon.log
        finally:
            other.kill()


def test_a_pidfile_of_a_running_daemon_is_respected(tmp_path: Path) -> None:
    line = command(write_settings(tmp_path, ECHO), ("--nodaemon", "--pidfile=ws.pid"))
    with Program(line, tmp_path) as daemon:
        daemon.output.wait_for(LISTENING)
        done = subprocess.run(line, cwd=tmp_path, env=None, capture_output=True, text=True, check=False, timeout=SECONDS)
        assert done.returncode != 0
        assert "Another twistd server is running" in done.stderr + done.stdout
        daemon.stop()


# -- where modules are found, and all problems in one pass


def test_a_module_is_found_where_twistd_was_started(tmp_path: Path) -> None:
    """Behind installed packages: a module of the same name there is not shadowed."""
    (tmp_path / "mychat.py").write_text("async def chat(connection): ...\n")
    (tmp_path / "websockets.py").write_text("raise AssertionError\n")
    (tmp_path / "etc").mkdir()
    text = ECHO + "[mount:/chat]\napp = mychat:chat\n[mount:/other]\napp = websockets:nothing\n"
    settings = write_settings(tmp_path / "etc", text)
    line = command(settings, FOREGROUND, ["--check"])
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(line, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert "mychat" not in done.stderr
    assert "websockets:nothing: there is no nothing in websockets" in done.stderr


FOUR_STAGES = """\
[daemon]
drain_timeout = soon
[listener:web]
address = tcp:8443:interface=192.0.2.1
tls_certificate = cert.pem
tls_key = key.pem
[listener:unix]
\taddress = unix:./none/ws.sock
[mount:/]
app = nowhere:app
[auth:way]
kind = basic
file = users
"""


@pytest.mark.parametrize("options", [["--check"], []])
def test_problems_of_all_stages_come_at_once(tmp_path: Path, options: list[str]) -> None:
    done = run(tmp_path, FOUR_STAGES, *options)
    assert done.returncode == 1
    lines = [line.removeprefix(f"{tmp_path}/ws.ini:") for line in done.stderr.splitlines() if line.startswith(f"{tmp_path}/ws.ini:")]
    assert [line.partition(" = ")[0].partition(": /")[0].partition(": expected")[0] for line in lines] == [
        "2: [daemon] drain_timeout",
        "4: [listener:web] address",
        "5: [listener:web] tls_certificate",
        "6: [listener:web] tls_key",
        "8: [listener:unix]",
        "8: [listener:unix] address",
        "10: [mount:/] app",
        "13: [auth:way] file",
    ]
