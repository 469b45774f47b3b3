"""sd_notify, the watchdog and socket activation, with a fake service manager at the other end of a unix socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from twisted.logger import LogEvent, Logger

from wsdaemon.ops.systemd import (
    MAX_WAITING_MESSAGES,
    Activated,
    Notifier,
    SystemdError,
    adopt,
    choose,
    initial_environment,
    listen_descriptors,
    watchdog_interval,
)


class Manager:
    """Receives what a service manager would."""

    def __init__(self, address: str | bytes) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def received(self) -> list[str]:
        return self.socket.recv(4096).decode().split("\n")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    receiver = Manager(str(tmp_path / "notify"))
    yield receiver
    receiver.socket.close()


@pytest.fixture
def notifier(tmp_path: Path) -> Iterator[Notifier]:
    sender = Notifier(str(tmp_path / "notify"), clock=lambda: 5_000_000_123)
    yield sender
    sender.close()


def test_states_are_told(manager: Manager, notifier: Notifier) -> None:
    notifier.ready("listening on tcp:8080")
    assert manager.received() == ["READY=1", "STATUS=listening on tcp:8080"]
    notifier.ready()
    assert manager.received() == ["READY=1"]
    notifier.reloading()
    assert manager.received() == ["RELOADING=1", "MONOTONIC_USEC=5000000"]
    notifier.stopping("draining 12 connections")
    assert manager.received() == ["STOPPING=1", "STATUS=draining 12 connections"]
    notifier.watchdog()
    assert manager.received() == ["WATCHDOG=1"]


def test_a_status_cannot_smuggle_in_another_assignment(manager: Manager, notifier: Notifier) -> None:
    notifier.status("bad\nREADY=1\x1b[31m\udc80")
    assert manager.received() == ["STATUS=bad\\nREADY=1\\x1b[31m\\udc80"]


def test_abstract_address_and_environment_left_alone() -> None:
    name = f"wsdaemon-test-{os.getpid()}"
    manager = Manager(b"\0" + name.encode())
    environ = {"NOTIFY_SOCKET": f"@{name}"}
    notifier = Notifier.from_environment(environ)
    assert notifier.active
    notifier.ready()
    assert manager.received() == ["READY=1"]
    assert environ == {"NOTIFY_SOCKET": f"@{name}"}
    notifier.close()
    manager.socket.close()


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}])
def test_without_a_manager_nothing_happens(environ: dict[str, str]) -> None:
    notifier = Notifier.from_environment(environ)
    assert not notifier.active
    notifier.ready("x")
    notifier.reloading()
    notifier.stopping()
    notifier.status("x")
    notifier.watchdog()
    notifier.close()


@pytest.mark.parametrize("address", ["/nowhere/notify", "vsock:2:1234", "/" + "x" * 300, "relative"])
def test_a_lost_socket_is_logged_once_and_never_raised(address: str) -> None:
    events: list[LogEvent] = []
    notifier = Notifier(address, logger=Logger("test", observer=events.append))  # type: ignore[arg-type]
    notifier.ready()
    notifier.watchdog()
    notifier.status("x")
    assert len(events) == 1
    assert events[0]["address"] == address
    notifier.close()


def test_a_full_queue_does_not_stop_the_daemon(manager: Manager, tmp_path: Path) -> None:
    events: list[LogEvent] = []
    notifier = Notifier(str(tmp_path / "notify"), logger=Logger("test", observer=events.append))  # type: ignore[arg-type]
    for _ in range(2000):
        notifier.watchdog()
    assert len(events) == 1
    try:
        while True:
            manager.received()
    except BlockingIOError:
        pass
    notifier.ready()
    assert manager.received() == ["READY=1"]
    notifier.close()


def test_a_change_of_state_waits_for_a_full_queue_and_nobody_waits_for_it(manager: Manager, tmp_path: Path) -> None:
    timers: list[tuple[float, Callable[[], None]]] = []
    events: list[LogEvent] = []
    notifier = Notifier(
        str(tmp_path / "notify"),
        logger=Logger("test", observer=events.append),  # type: ignore[arg-type]
        later=lambda delay, callback: timers.append((delay, callback)),
    )
    while not events:
        notifier.watchdog()
    notifier.ready("serving")
    notifier.stopping()
    for _ in range(100):
        notifier.reloading()
    assert len(timers) == 1 and len(notifier._waiting) == MAX_WAITING_MESSAGES
    timers.pop()[1]()
    assert len(timers) == 1, "the queue is still full"
    notifier._waiting = [b"READY=1", b"STOPPING=1"]
    with suppress(BlockingIOError):
        while True:
            manager.received()
    timers.pop()[1]()
    assert [manager.received(), manager.received()] == [["READY=1"], ["STOPPING=1"]]
    assert not timers and len(events) == 1
    notifier.close()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "77"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "78"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "9" * 5000}, None),
    ],
)
def test_watchdog_interval_is_half_of_what_is_allowed(environ: dict[str, str], expected: float | None) -> None:
    assert watchdog_interval(environ, 77) == expected


def environment(count: object, names: str | None = None, process_id: object = 77) -> dict[str, str]:
    environ = {"LISTEN_PID": str(process_id), "LISTEN_FDS": str(count)}
    return environ if names is None else environ | {"LISTEN_FDNAMES": names}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_descriptors_come_in_order_with_their_names(listener: socket.socket) -> None:
    descriptor = os.dup(listener.fileno())
    os.set_inheritable(descriptor, True)
    os.set_blocking(descriptor, True)
    environ = environment(1, "https")
    assert listen_descriptors(environ, 77, first=descriptor) == [Activated("https", descriptor)]
    assert not os.get_inheritable(descriptor)
    assert not os.get_blocking(descriptor)
    assert environ == environment(1, "https")
    os.close(descriptor)


def test_without_names_each_is_unknown(listener: socket.socket) -> None:
    assert listen_descriptors(environment(1), 77, first=listener.fileno()) == [Activated("unknown", listener.fileno())]


@pytest.mark.parametrize("environ", [{}, {"LISTEN_FDS": "1"}, environment(1, process_id=78), environment(0)])
def test_no_descriptors_for_this_process(environ: dict[str, str]) -> None:
    assert listen_descriptors(environ, 77) == []


def test_what_twisted_takes_out_of_the_environment_is_found_again(tmp_path: Path) -> None:
    block = tmp_path / "environ"
    block.write_bytes(b"PATH=/bin\0LISTEN_PID=77\0LISTEN_FDS=2\0LISTEN_FDNAMES=a:b\0HOME=/\0broken\0")
    assert initial_environment({"PATH": "/x"}, block) == {"PATH": "/x"} | environment(2, "a:b")
    assert initial_environment(environment(1, "c"), block) == environment(1, "c")
    assert initial_environment({"PATH": "/x"}, tmp_path / "none") == {"PATH": "/x"}


def test_twisted_endpoints_do_not_hide_the_sockets() -> None:
    """In a process of its own, for only the first import of twisted.internet.endpoints takes the variables away."""
    program = (
        "import os, sys\n"
        "if 'LISTEN_PID' not in os.environ:\n"
        "    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='web')\n"
        "    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])\n"
        "import twisted.internet.endpoints\n"
        "from wsdaemon.ops.systemd import initial_environment, listen_descriptors\n"
        "assert 'LISTEN_FDS' not in os.environ\n"
        "print(listen_descriptors(initial_environment(os.environ), os.getpid(), first=0)[0].name)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stdout) == (0, "web\n"), result.stderr


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (environment("many"), "LISTEN_FDS: expected a number of descriptors, got 'many'"),
        (environment("-1"), "LISTEN_FDS"),
        ({"LISTEN_PID": "77"}, "LISTEN_FDS"),
        (environment(2, "a:b:c"), "expected 2 names, as many as LISTEN_FDS says, got 3: 'a:b:c'"),
        (environment(1, "web"), r"descriptor 999999 \(web\) from systemd cannot be used: Bad file descriptor"),
    ],
)
def test_nonsense_from_the_environment_is_named(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SystemdError, match=message):
        listen_descriptors(environ, 77, first=999999)


def test_choose_by_index_or_name() -> None:
    passed = [Activated("web", 3), Activated("web", 4), Activated("admin", 5)]
    assert choose(passed, "1") == [Activated("web", 4)]
    assert choose(passed, "web") == passed[:2]
    assert choose(passed, "admin") == [Activated("admin", 5)]
    with pytest.raises(SystemdError, match=r"no socket '3'; expected .*: 0 \(web\), 1 \(web\), 2 \(admin\)"):
        choose(passed, "3")
    with pytest.raises(SystemdError, match=r"no socket 'web'; expected .*: none"):
        choose([], "web")


def test_a_listening_socket_is_adopted_and_accepts(listener: socket.socket) -> None:
    address = listener.getsockname()
    adopted = adopt(Activated("web", listener.detach()))
    assert adopted.family == socket.AF_INET
    assert not adopted.getblocking()
    with adopted, socket.create_connection(address):
        adopted.accept()[0].close()


def test_a_listening_unix_socket_is_adopted(tmp_path: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket"))
    server.listen()
    with adopt(Activated("local", server.detach())) as adopted:
        assert adopted.family == socket.AF_UNIX


def unfit_tcp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def unfit_udp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def unfit_netlink() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (unfit_tcp, "got an IPv4 stream socket that does not listen"),
        (unfit_udp, "got an IPv4 datagram socket"),
        (unfit_netlink, "got a socket of address family 16"),
    ],
)
def test_other_sockets_are_refused_and_left_open(make: type[socket.socket], message: str) -> None:
    with make() as candidate:
        with pytest.raises(SystemdError, match=r"descriptor \d+ \(web\) from systemd: expected a listening stream socket") as caught:
            adopt(Activated("web", candidate.fileno()))
        assert message in str(caught.value)
        os.fstat(candidate.fileno())


def test_what_is_no_socket_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(SystemdError, match="got something that is not a socket"):
        adopt(Activated("web", file.fileno()))
    with pytest.raises(SystemdError, match="got a descriptor that is not open"):
        adopt(Activated("web", 999999))
