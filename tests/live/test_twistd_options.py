"""twistd's own options still work: to the background with a pidfile, a log file, another user; and what was forked really serves."""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import re
import select
import signal
import socket
import stat
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.support.daemon import (
    ECHO,
    LISTENING,
    SECONDS,
    TLS_ECHO,
    Program,
    check_echo,
    command,
    in_background,
    make_certificate,
    run,
    wait_for_end,
    write_settings,
)

pytestmark = pytest.mark.live

PRIVILEGED = 1024
"""Ports below this one are for root."""


def port_in(log: Path) -> int:
    """twistd ends in the foreground when the daemon has started, so the line is there."""
    found = re.search(LISTENING, next(line for line in log.read_text().splitlines() if "listening on" in line))
    assert found is not None, log.read_text()
    return int(found["port"])


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def wait_for_file(path: Path, sign: str, pid: int) -> None:
    """Until a file that a daemon writes holds `sign`; the kernel tells of each change."""
    library = ctypes.CDLL(None, use_errno=True)
    watch = library.inotify_init()
    try:
        library.inotify_add_watch(watch, os.fsencode(path.parent), 0x2 | 0x100)  # IN_MODIFY, IN_CREATE
        while not (path.exists() and sign in path.read_text()):
            assert select.select([watch], [], [], SECONDS)[0], f"process {pid} does not write {sign!r} to {path}"
            os.read(watch, 4096)
    finally:
        os.close(watch)


def test_to_the_background_and_back(tmp_path: Path) -> None:
    with in_background(tmp_path, ECHO, "--pidfile=ws.pid", "--logfile=ws.log", pidfile="ws.pid") as pid:
        port = port_in(tmp_path / "ws.log")
        with connect(f"ws://127.0.0.1:{port}/echo", proxy=None) as one, connect(f"ws://127.0.0.1:{port}/echo", proxy=None) as two:
            check_echo(one, "one " * 100_000)
            check_echo(two)
            os.kill(pid, signal.SIGTERM)
            wait_for_end(pid)
            assert (one.close_code or 1012, two.close_code or 1012) == (1012, 1012)
        assert not (tmp_path / "ws.pid").exists()
        assert "Server Shut Down." in (tmp_path / "ws.log").read_text()


def test_tls_in_the_background(tmp_path: Path) -> None:
    context = make_certificate(tmp_path)
    with in_background(tmp_path, TLS_ECHO):
        port = port_in(tmp_path / "twistd.log")
        with connect(f"wss://127.0.0.1:{port}/echo", proxy=None, ssl=context) as client:
            check_echo(client)


def test_a_log_file_is_opened_anew_after_sighup(tmp_path: Path) -> None:
    with in_background(tmp_path, ECHO + "[logging]\nformat = json\n", "--logfile=ws.log") as pid:
        log = tmp_path / "ws.log"
        port = port_in_json(log)
        log.rename(tmp_path / "ws.log.1")
        os.kill(pid, signal.SIGHUP)
        with connect(f"ws://127.0.0.1:{port}/echo", proxy=None) as client:
            check_echo(client)
        wait_for_file(log, "closed", pid)
        assert stat.S_IMODE(log.stat().st_mode) == 0o640
        assert [json.loads(line) for line in log.read_text().splitlines()]


def port_in_json(log: Path) -> int:
    messages = [json.loads(line)["message"] for line in log.read_text().splitlines()]
    [found] = [match for message in messages if (match := re.search(LISTENING, message))]
    return int(found["port"])


def test_a_second_daemon_with_the_same_pidfile_does_not_start(tmp_path: Path) -> None:
    with in_background(tmp_path, ECHO) as pid:
        done = run(tmp_path, ECHO, twistd=())
        assert done.returncode == 1
        assert str(pid) in done.stdout + done.stderr
        assert int((tmp_path / "twistd.pid").read_text()) == pid


def test_a_pidfile_in_the_foreground_goes_with_the_daemon(tmp_path: Path) -> None:
    line = command(write_settings(tmp_path, ECHO), ("--nodaemon", "--pidfile=ws.pid"))
    with Program(line, tmp_path) as daemon:
        daemon.output.wait_for(LISTENING)
        assert int((tmp_path / "ws.pid").read_text()) == daemon.pid
        assert daemon.stop() == 0
    assert not (tmp_path / "ws.pid").exists()


def free_privileged_port() -> int:
    """A free port below 1024."""
    for port in range(PRIVILEGED - 1, 600, -1):
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    pytest.skip("no free port below 1024")


def passable(folder: Path) -> None:
    """Every user may get to the folder."""
    for each in (folder, *folder.parents):
        if not each.stat().st_mode & stat.S_IXOTH:
            each.chmod(each.stat().st_mode | stat.S_IXOTH)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_uid_is_dropped_after_a_privileged_port_and_a_key_were_opened(tmp_path: Path) -> None:
    context = make_certificate(tmp_path)  # its key is readable by root alone
    nobody = pwd.getpwnam("nobody")
    passable(tmp_path)
    port = free_privileged_port()
    text = TLS_ECHO.replace("tcp:0", f"tcp:{port}")
    with in_background(tmp_path, text, "--uid=nobody", f"--gid={nobody.pw_gid}") as pid:
        status = status_of(pid)
        assert status["Uid"].split() == [str(nobody.pw_uid)] * 4
        assert status["Gid"].split() == [str(nobody.pw_gid)] * 4
        with connect(f"wss://127.0.0.1:{port}/echo", proxy=None, ssl=context) as client:
            check_echo(client)
        os.kill(pid, signal.SIGTERM)
        wait_for_end(pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_renewed_key_must_be_readable_by_that_user(tmp_path: Path) -> None:
    """One that is not is refused, and the certificate that the daemon began with serves on."""
    old = make_certificate(tmp_path)
    nobody = pwd.getpwnam("nobody")
    passable(tmp_path)
    settings = write_settings(tmp_path, TLS_ECHO)
    settings.chmod(0o644)  # a reload reads it as that user
    line = command(settings, ("--nodaemon", "--pidfile=", "--uid=nobody", f"--gid={nobody.pw_gid}"))
    with Program(line, tmp_path) as daemon:
        url = f"wss://127.0.0.1:{daemon.output.wait_for(LISTENING)[0]['port']}/echo"
        new = make_certificate(tmp_path)
        daemon.tell(signal.SIGHUP)
        daemon.output.wait_for(r"key\.pem: cannot be read: Permission denied; the old certificate stays in use")
        with connect(url, proxy=None, ssl=old) as client:
            check_echo(client)
        os.chown(tmp_path / "key.pem", nobody.pw_uid, nobody.pw_gid)
        daemon.tell(signal.SIGHUP)
        daemon.output.wait_for(r"cert\.pem: renewed, valid until")
        with connect(url, proxy=None, ssl=new) as client:
            check_echo(client)
        assert daemon.stop() == 0
