"""check.py: everything that a start would need, without serving."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from trustme import CA

from wsdaemon.daemon import check as checking
from wsdaemon.daemon.capacity import System
from wsdaemon.daemon.check import check, may_bind, problems_beyond, tcp_in_use, unix_in_use
from wsdaemon.settings import ini
from wsdaemon.settings.addresses import TcpAddress


@pytest.fixture(autouse=True)
def module_path() -> Iterator[None]:
    """A check puts [daemon] python_path on the module path, and imports from it."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def run(directory: Path, text: str) -> int:
    file = directory / "ws.ini"
    file.write_text(text)
    return check(ini.load(file), directory, System())


GOOD = """
[daemon]
python_path = .
[listener:main]
address = tcp:0:interface=127.0.0.1
[listener:inner]
address = tcp:0:interface=127.0.0.2
mounts = /echo
[mount:/echo]
app = echo
[mount:/chat]
app = checked_app:chat
"""


def test_what_would_be_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checked_app.py").write_text("async def chat(connection): ...\n")
    assert run(tmp_path, GOOD) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "listener main: ws on tcp:0:interface=127.0.0.1",
        "  /echo  echo",
        "  /chat  checked_app:chat",
        "listener inner: ws on tcp:0:interface=127.0.0.2",
        "  /echo  echo",
        f"{tmp_path}/ws.ini is good",
    ]
    assert err == ""


def test_all_problems_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("not PEM")
    (tmp_path / "key.pem").chmod(0o600)
    text = GOOD.replace("[listener:inner]\n", "[listener:inner]\ntls_certificate = cert.pem\ntls_key = key.pem\n")
    assert run(tmp_path, text) == 1
    out, err = capsys.readouterr()
    assert out == ""
    source = f"wsdaemon: {tmp_path}/ws.ini"
    assert err.splitlines() == [
        f"{source}:7: [listener:inner] tls_certificate: {tmp_path}/cert.pem: holds no certificate in PEM form",
        f"{source}:8: [listener:inner] tls_key: {tmp_path}/key.pem: holds no private key in PEM form",
        f"{source}:14: [mount:/chat] app = checked_app:chat: there is no module checked_app; is its directory in [daemon] python_path?",
    ]


def problems(directory: Path, text: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The output of the check, without the file's name."""
    assert run(directory, text) == 1
    out, err = capsys.readouterr()
    assert out == ""
    return [line.removeprefix(f"wsdaemon: {directory}/ws.ini:") for line in err.splitlines()]


def listen(address: str, app: str = "echo") -> str:
    return f"[listener:main]\naddress = {address}\n[mount:/]\napp = {app}\n"


def test_a_file_that_is_no_socket(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ws.sock").write_text("taken")
    [line] = problems(tmp_path, listen(f"unix:{tmp_path}/ws.sock"), capsys)
    assert line.startswith("2: [listener:main] address = unix:")
    assert line.endswith(": a file that is not a socket has this name")
    assert (tmp_path / "ws.sock").read_text() == "taken"


def test_a_directory_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [line] = problems(tmp_path, listen("unix:./none/ws.sock"), capsys)
    assert line.endswith(f": there is no directory {tmp_path}/none")


def test_an_address_that_this_machine_does_not_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [line] = problems(tmp_path, listen("tcp:8080:interface=192.0.2.1"), capsys)
    assert line == "2: [listener:main] address = tcp:8080:interface=192.0.2.1: this machine has no such address"


def test_a_port_that_needs_a_privilege(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "may_bind", lambda port: port >= 1024)
    [line] = problems(tmp_path, listen("tcp:443:interface=127.0.0.1"), capsys)
    assert line.endswith("permission denied (ports below 1024 need root or CAP_NET_BIND_SERVICE)")


def test_a_group_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [line] = problems(tmp_path, listen("unix:./ws.sock:group=nobody-of-this-name"), capsys)
    assert "there is no group nobody-of-this-name on this machine" in line


def test_a_group_that_cannot_be_set(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setattr(os, "getegid", lambda: 1234)
    monkeypatch.setattr(os, "getgroups", lambda: [1235])
    [line] = problems(tmp_path, listen("unix:./ws.sock:group=1236"), capsys)
    assert line.endswith(": the socket cannot be given to group 1236: this user is not in it")
    [line] = problems(tmp_path, listen("unix:./ws.sock:user=0"), capsys)
    assert line.endswith(": the socket cannot be given to user 0: only root may do that")
    assert run(tmp_path, listen("unix:./ws.sock:user=1234:group=1235")) == 0


def test_a_token_that_cannot_be_used(tmp_path: Path) -> None:
    """Settings look at it too; the daemon reads it again when it opens."""
    token, file = tmp_path / "token", tmp_path / "ws.ini"
    token.write_text("a-token-of-many-letters\n")
    file.write_text(listen("tcp:8080:interface=127.0.0.1") + "[admin]\naddress = tcp:9999:interface=127.0.0.1\ntoken_file = token\n")
    settings = ini.load(file)
    token.write_text("short")
    [problem] = problems_beyond(settings, tmp_path)
    assert str(problem).startswith(f"{file}:7: [admin] token_file: {token}: expected one line with a token")
    token.unlink()
    [problem] = problems_beyond(settings, tmp_path)
    assert str(problem) == f"{file}:7: [admin] token_file: {token}: No such file or directory"


NO_APPS = """
class Asgi:
    async def __call__(self, scope, receive, send): ...
asgi = Asgi()
class Open:
    async def open(self, connection, handshake): ...
nothing = object()
"""


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("asgi", "it looks like an ASGI application"),
        ("Asgi", "it looks like an ASGI application"),
        ("Open", "its open() is a coroutine function"),
        ("nothing", "a object is not an app"),
    ],
)
def test_apps_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, problem: str) -> None:
    (tmp_path / "no_apps.py").write_text(NO_APPS)
    [line] = problems(tmp_path, "[daemon]\npython_path = .\n" + listen("tcp:0:interface=127.0.0.1", f"no_apps:{name}"), capsys)
    assert line.startswith(f"6: [mount:/] app = no_apps:{name}: {problem}")


def test_an_app_is_neither_started_nor_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "quiet_app.py").write_text(
        "class App:\n"
        "    def open(self, connection, handshake): raise AssertionError\n"
        "    async def start(self): raise AssertionError\n"
        "    async def stop(self): raise AssertionError\n"
    )
    assert run(tmp_path, "[daemon]\npython_path = .\n" + listen("tcp:0:interface=127.0.0.1", "quiet_app:App")) == 0


FACTORIES = """
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol

class Mine(WebSocketServerProtocol): ...

class Good(WebSocketServerFactory):
    def __init__(self, url):
        raise AssertionError
"""


def test_a_factory_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "factories.py").write_text(FACTORIES)
    text = "[daemon]\npython_path = .\n" + listen("tcp:0:interface=127.0.0.1", "factories:Mine")
    assert run(tmp_path, text + "factory = factories:Good\n") == 0, "it is not called"
    capsys.readouterr()
    [line] = problems(tmp_path, text + "factory = factories:Mine\n", capsys)
    expected = "expected a subclass of autobahn.twisted.websocket.WebSocketServerFactory"
    assert line == f"7: [mount:/] factory = factories:Mine: {expected}"


def test_the_warnings_about_certificates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = CA().issue_cert("localhost", not_after=datetime(2020, 1, 2, tzinfo=UTC), not_before=datetime(2020, 1, 1, tzinfo=UTC))
    pair.private_key_pem.write_to_path(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(0o600)
    pair.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    tls = "[listener:main]\naddress = tcp:0:interface=127.0.0.1\ntls_certificate = cert.pem\ntls_key = key.pem\n"
    assert run(tmp_path, tls + "[mount:/]\napp = echo\n") == 0
    assert capsys.readouterr().err == f"warning: {tmp_path}/cert.pem: expired on 2020-01-02\n"


def test_what_a_running_daemon_uses_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It notices nothing: no client comes, and its files stay."""
    path = tmp_path / "ws.sock"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
        unix.listen()
        port = tcp.getsockname()[1]
        text = f"[listener:one]\naddress = tcp:{port}:interface=127.0.0.1\n" + listen("unix:./ws.sock")
        assert run(tmp_path, text) == 0
        out, err = capsys.readouterr()
        tcp.setblocking(False)
        unix.setblocking(False)
        for sock in (tcp, unix):
            with pytest.raises(BlockingIOError):
                sock.accept()
    assert out.endswith("ws.ini is good\n")
    rest = "is in use: a daemon can start only after the process that listens there has ended"
    assert err.splitlines() == [f"warning: tcp:{port}:interface=127.0.0.1 {rest}", f"warning: unix:{path}:mode=660 {rest}"]
    assert path.exists()


def test_a_socket_that_a_dead_daemon_left_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ws.sock"
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
    assert run(tmp_path, listen("unix:./ws.sock")) == 0
    assert path.exists()
    assert capsys.readouterr().err == ""


# -- what the system says


def test_which_ports_listen(tmp_path: Path) -> None:
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    (tmp_path / "tcp").write_text(
        head + "   0: 0100007F:1F90 00000000:0000 0A 0\n   1: 00000000:1F91 00000000:0000 0A 0\n   2: 0100007F:1F92 0100007F:9999 01 0\n"
    )
    (tmp_path / "tcp6").write_text(head + "   0: 00000000000000000000000001000000:1F93 0:0 0A 0\n")
    used = {
        (port, interface): tcp_in_use(TcpAddress(port, interface), tmp_path)
        for port in (8080, 8081, 8082, 8083)
        for interface in ("127.0.0.1", "192.0.2.1", "::1", "")
    }
    assert {key for key, value in used.items() if value} == {
        (8080, "127.0.0.1"), (8080, ""), (8081, "127.0.0.1"), (8081, "192.0.2.1"), (8081, "::1"), (8081, ""), (8083, "::1"), (8083, ""),
    }  # fmt: skip
    assert not tcp_in_use(TcpAddress(8080, "127.0.0.1"), tmp_path / "none")
    assert not unix_in_use("/run/ws.sock", tmp_path / "none")


def test_privileged_ports() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    assert may_bind(first)


def test_the_settings_are_compared_with_the_system(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ws.ini").write_text("[daemon]\nmax_connections = 5000\n" + listen("tcp:0:interface=127.0.0.1"))
    assert check(ini.load(tmp_path / "ws.ini"), tmp_path, System(open_files=1024)) == 0
    out, err = capsys.readouterr()
    assert out.endswith("is good\n")
    [line] = err.splitlines()
    assert line.startswith(f"warning: {tmp_path}/ws.ini:2: [daemon] max_connections = 5000: only 1024 files may be open")


@pytest.mark.parametrize(
    ("destination", "problem"),
    [
        ("./none/ws.log", "there is no directory {0}/none"),
        ("./here", "Is a directory"),
        ("./ws.ini/ws.log", "there is no directory {0}/ws.ini"),
    ],
)
def test_a_log_file_that_cannot_be_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], destination: str, problem: str
) -> None:
    (tmp_path / "here").mkdir()
    text = f"[logging]\ndestination = {destination}\n{listen('tcp:0:interface=127.0.0.1')}"
    [line] = problems(tmp_path, text, capsys)
    assert line == f"2: [logging] destination: cannot open the log file {tmp_path / destination}: {problem.format(tmp_path)}"


def test_a_log_file_that_can_be_opened_is_not_made(tmp_path: Path) -> None:
    assert run(tmp_path, f"[logging]\ndestination = ./ws.log\n{listen('tcp:0:interface=127.0.0.1')}") == 0
    assert not (tmp_path / "ws.log").exists()
