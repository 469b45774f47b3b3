"""sockets.py: sockets that listen, with the owner and mode of the settings, and clear words when one cannot be opened."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from wsdaemon.daemon import sockets
from wsdaemon.daemon.sockets import ListenError, Sockets, locked, open_tcp, open_unix, refuse_own
from wsdaemon.settings.addresses import SystemdAddress, TcpAddress, UnixAddress, parse_address

needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")


@pytest.fixture
def kept() -> Iterator[ExitStack]:
    """Closes what a test opens."""
    with ExitStack() as kept:
        yield kept


def reachable(family: socket.AddressFamily, host: str, port: int) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        return client.connect_ex((host, port)) == 0


def unix(address: UnixAddress, backlog: int) -> socket.socket:
    return open_unix(address, backlog).sock


def test_one_interface(kept: ExitStack) -> None:
    sock = kept.enter_context(open_tcp(TcpAddress(0, "127.0.0.1"), 10))
    host, port = sock.getsockname()
    assert host == "127.0.0.1"
    assert port > 0
    assert not sock.getblocking()
    assert reachable(socket.AF_INET, "127.0.0.1", port)


@needs_ipv6
def test_without_an_interface_both_families(kept: ExitStack) -> None:
    sock = kept.enter_context(open_tcp(TcpAddress(0), 10))
    port = sock.getsockname()[1]
    assert reachable(socket.AF_INET, "127.0.0.1", port)
    assert reachable(socket.AF_INET6, "::1", port)


@needs_ipv6
def test_the_ipv6_interface_alone_stands_beside_ipv4_on_the_same_port(kept: ExitStack) -> None:
    port = kept.enter_context(open_tcp(TcpAddress(0, "0.0.0.0"), 10)).getsockname()[1]
    kept.enter_context(open_tcp(TcpAddress(port, "::"), 10))


def test_without_ipv6_it_is_ipv4(kept: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    sock = kept.enter_context(open_tcp(TcpAddress(0), 10))
    assert sock.family == socket.AF_INET


def test_a_busy_port_ends_in_a_clear_error(kept: ExitStack) -> None:
    """A daemon that only logs it would run without its listener."""
    port = kept.enter_context(open_tcp(TcpAddress(0, "127.0.0.1"), 10)).getsockname()[1]
    with pytest.raises(ListenError, match=r"^the port is in use by another process$"):
        open_tcp(TcpAddress(port, "127.0.0.1"), 10)


def test_an_address_this_machine_has_not() -> None:
    with pytest.raises(ListenError, match="no such address"):
        open_tcp(TcpAddress(0, "192.0.2.1"), 10)


def test_a_port_can_be_opened_again_at_once(kept: ExitStack) -> None:
    sock = open_tcp(TcpAddress(0, "127.0.0.1"), 10)
    port = sock.getsockname()[1]
    assert reachable(socket.AF_INET, "127.0.0.1", port)
    accepted, _ = sock.accept()
    accepted.close()
    sock.close()
    kept.enter_context(open_tcp(TcpAddress(port, "127.0.0.1"), 10))


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_unix_socket_has_its_mode_whatever_the_umask(kept: ExitStack, tmp_path: Path, mode: int) -> None:
    """A daemon's umask is 077 when it daemonizes."""
    path = tmp_path / "ws.sock"
    before = os.umask(0o077)
    try:
        kept.enter_context(unix(UnixAddress(str(path), mode), 10))
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_unix_socket_that_a_dead_daemon_left_is_replaced(kept: ExitStack, tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "ws.sock"))
    open_unix(address, 10).sock.close()
    sock = kept.enter_context(unix(address, 10))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(address.path)
        sock.accept()[0].close()


def test_a_unix_socket_that_is_alive_is_not_replaced(kept: ExitStack, tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "ws.sock"))
    kept.enter_context(unix(address, 10))
    with pytest.raises(ListenError, match="another process listens there"):
        open_unix(address, 10)


def test_a_file_that_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "ws.sock"
    path.write_text("precious")
    with pytest.raises(ListenError, match="a file that is not a socket has this name"):
        open_unix(UnixAddress(str(path)), 10)
    assert path.read_text() == "precious"


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ListenError, match="there is no directory"):
        open_unix(UnixAddress(str(tmp_path / "missing" / "ws.sock")), 10)


def test_a_user_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ListenError, match=r"there is no user nobody-of-this-name on this machine"):
        open_unix(UnixAddress(str(tmp_path / "ws.sock"), user="nobody-of-this-name"), 10)


def test_the_owner_may_be_a_number(kept: ExitStack, tmp_path: Path) -> None:
    path = tmp_path / "ws.sock"
    kept.enter_context(unix(UnixAddress(str(path), user=str(os.getuid()), group=str(os.getgid())), 10))
    assert (path.stat().st_uid, path.stat().st_gid) == (os.getuid(), os.getgid())


def test_the_backlog_holds_many_at_once(kept: ExitStack) -> None:
    """With Twisted's default of 50, a thousand clients that come at once waited ten seconds."""
    sock = kept.enter_context(open_tcp(TcpAddress(0, "127.0.0.1"), 512))
    clients = [kept.enter_context(socket.socket()) for _ in range(200)]

    def connect() -> None:
        for client in clients:
            client.settimeout(10)
            client.connect(sock.getsockname())

    thread = threading.Thread(target=connect)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "nobody has accepted one of them"


# -- the file of a unix socket belongs to one daemon


def test_the_file_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "ws.sock"
    bound = open_unix(UnixAddress(str(path)), 10)
    bound.release()
    assert not path.exists()
    bound.close()


def test_the_file_of_a_successor_stays(kept: ExitStack, tmp_path: Path) -> None:
    path = tmp_path / "ws.sock"
    mine = open_unix(UnixAddress(str(path)), 10)
    path.unlink()
    theirs = open_unix(UnixAddress(str(path)), 10)
    kept.callback(theirs.close)
    mine.close()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(path))


def test_a_hung_daemon_is_not_waited_for(kept: ExitStack, tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "ws.sock"))
    kept.callback(open_unix(address, 0).close)
    while True:
        client = kept.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        client.setblocking(False)
        try:
            client.connect(address.path)
        except BlockingIOError:
            break
    with pytest.raises(ListenError, match="accepts no connections: its queue is full"):
        open_unix(address, 10)


def test_an_open_that_fails_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "ws.sock"
    with pytest.raises(ListenError):
        open_unix(UnixAddress(str(path), group="nobody-of-this-name"), 10)
    assert not path.exists()


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(ListenError, match=r"the path has \d+ bytes; a unix socket's path may have 107"):
        open_unix(UnixAddress(f"{tmp_path}/{'x' * 107}"), 10)


def test_a_lock_that_another_program_keeps_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "LOCK_SECONDS", 0.0)
    directory = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    open_unix(UnixAddress(str(tmp_path / "ws.sock")), 10).close()
    os.close(directory)


def test_a_directory_without_reading_it(tmp_path: Path) -> None:
    with locked(str(tmp_path / "none" / "ws.sock")):
        """There is nothing to lock."""


# -- systemd's sockets


def test_a_socket_that_systemd_did_not_pass() -> None:
    with pytest.raises(ListenError, match="systemd passed no socket 'web'"):
        Sockets({}).take("listener:web", SystemdAddress(name="web"), 10)


@pytest.mark.parametrize(
    ("address", "refused"),
    [("tcp:18099:interface=127.0.0.1", True), ("unix:two.sock:mode=600", True), ("tcp:0:interface=127.0.0.1", False)],
)
def test_an_address_of_the_daemons_own_is_not_bound_again(address: str, refused: bool) -> None:
    held = {"listener:one": address.removesuffix(":mode=600")}
    parsed = {section: parse_address(text) for section, text in held.items()}
    if refused:
        with pytest.raises(ListenError, match=r"this daemon listens there already, as \[listener:one\]"):
            refuse_own(parse_address(address), parsed)
    else:
        refuse_own(parse_address(address), parsed)
