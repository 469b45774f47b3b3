"""A start that cannot succeed ends with one clear line and status 1; what is the user's own fault shows where."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from tests.support.daemon import ECHO, TLS_ECHO, Daemon, make_certificate, run

pytestmark = pytest.mark.live


def problem(done: subprocess.CompletedProcess[str]) -> str:
    """The output of the failed start besides the lines of its log; there must be no traceback."""
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if not line[:4].isdigit()]
    assert len(lines) == 1, said
    assert lines[0].startswith("wsdaemon: ")
    return lines[0]


def test_a_busy_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        done = run(tmp_path, ECHO.replace("tcp:0", f"tcp:{port}"))
    line = problem(done)
    assert "[listener:web]" in line
    assert f"tcp:{port}" in line
    assert "in use" in line


def test_a_busy_port_when_it_would_go_to_the_background(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        done = run(tmp_path, ECHO.replace("tcp:0", f"tcp:{busy.getsockname()[1]}"), twistd=())
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "in use" in said
    assert "Traceback" not in said
    assert not (tmp_path / "twistd.pid").exists()


def test_a_unix_socket_that_somebody_serves(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(tmp_path / "ws.sock"))
        live.listen()
        line = problem(run(tmp_path, "[listener:web]\naddress = unix:./ws.sock\n[mount:/]\napp = echo\n"))
    assert "another process listens there" in line


def test_no_settings_file(tmp_path: Path) -> None:
    line = problem(run(tmp_path, "", "--config=none.ini"))
    assert "none.ini" in line


def test_every_problem_of_the_settings_at_once(tmp_path: Path) -> None:
    done = run(tmp_path, ECHO + "adress = tcp:1\n[defaults]\nmax_message = large\n")
    said = done.stderr
    assert done.returncode == 1
    assert "Traceback" not in said
    assert "ws.ini:7" in said or "ws.ini" in said
    assert "adress" in said
    assert "max_message" in said
    assert "large" in said


def test_no_certificate(tmp_path: Path) -> None:
    make_certificate(tmp_path)
    (tmp_path / "cert.pem").unlink()
    line = problem(run(tmp_path, TLS_ECHO))
    assert "[listener:web]" in line
    assert "cert.pem: no such file" in line


def test_a_key_of_another_certificate(tmp_path: Path) -> None:
    make_certificate(tmp_path)
    certificate = (tmp_path / "cert.pem").read_bytes()
    make_certificate(tmp_path)
    (tmp_path / "cert.pem").write_bytes(certificate)
    assert "does not belong to the certificate" in problem(run(tmp_path, TLS_ECHO))


def test_a_damaged_certificate(tmp_path: Path) -> None:
    make_certificate(tmp_path)
    (tmp_path / "cert.pem").write_text("-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
    assert "cert.pem" in problem(run(tmp_path, TLS_ECHO))


def test_no_socket_from_systemd(tmp_path: Path) -> None:
    line = problem(run(tmp_path, "[listener:web]\naddress = systemd:name=web\n[mount:/]\napp = echo\n"))
    assert "[listener:web]" in line


def test_an_app_that_is_not_there(tmp_path: Path) -> None:
    assert "there is no module nowhere" in problem(run(tmp_path, ECHO.replace("= echo", "= nowhere:app")))
    (tmp_path / "app.py").write_text("async def chat(connection): pass\n")
    assert "did you mean chat?" in problem(run(tmp_path, ECHO.replace("= echo", "= app:chatt")))


def test_an_import_that_fails_inside_the_users_module_shows_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import helper\n")
    (tmp_path / "helper.py").write_text("def prepare():\n    return 1 / 0\n\nprepare()\n")
    done = run(tmp_path, ECHO.replace("= echo", "= app:app"))
    said = done.stderr
    assert done.returncode == 1
    assert "[mount:/echo]" in said
    assert 'app.py", line 1' in said
    assert 'helper.py", line 2, in prepare' in said
    assert said.rstrip().endswith("ZeroDivisionError: division by zero")
    assert "importlib" not in said
    assert "loading.py" not in said


def test_an_app_that_fails_in_its_start(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "class App:\n"
        "    def open(self, connection, handshake): ...\n"
        "    async def start(self): raise OSError('the disk is gone')\n"
        "    async def stop(self): ...\n"
    )
    done = run(tmp_path, ECHO.replace("= echo", "= app:App"))
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "[mount:/echo]" in said
    assert "OSError: the disk is gone" in said
    [line] = [line for line in done.stdout.splitlines() if "the disk is gone" in line]
    assert " error wsdaemon  " in line and "[mount:/echo]: the app did not start" in line, "in the log, whose reader may see no more"


def test_another_reactor_was_asked_for(tmp_path: Path) -> None:
    line = problem(run(tmp_path, ECHO, twistd=("-n", "--pidfile=", "--reactor=select")))
    assert "--reactor" in line


def test_no_config_is_a_usage_error(tmp_path: Path) -> None:
    done = run(tmp_path, ECHO, "--config=")
    assert done.returncode == 1
    assert "name the INI file" in done.stdout + done.stderr


def test_check_serves_nothing(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:  # its port is busy, which --check only mentions
        done = run(tmp_path, ECHO.replace("tcp:0", f"tcp:{daemon.port}"), "--check")
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert done.stderr.startswith("warning: tcp:")
    assert "is in use" in done.stderr
    assert "ws on tcp:" in done.stdout
    assert "/echo  echo" in done.stdout


def test_check_finds_what_a_start_would(tmp_path: Path) -> None:
    done = run(tmp_path, TLS_ECHO.replace("= echo", "= nowhere:app"), "--check")
    assert done.returncode == 1
    assert "cert.pem: no such file" in done.stderr
    assert "there is no module nowhere" in done.stderr
    make_certificate(tmp_path)
    certificate = (tmp_path / "cert.pem").read_bytes()
    make_certificate(tmp_path)
    (tmp_path / "cert.pem").write_bytes(certificate)
    assert "does not belong to the certificate" in run(tmp_path, TLS_ECHO, "--check").stderr


def test_print_config_is_a_config(tmp_path: Path) -> None:
    first = run(tmp_path, ECHO, "--print-config")
    assert first.returncode == 0
    assert "drain_timeout = 10s" in first.stdout
    second = run(tmp_path, first.stdout, "--print-config")
    assert second.stdout == first.stdout


def test_version(tmp_path: Path) -> None:
    done = run(tmp_path, ECHO, "--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "wsdaemon")
