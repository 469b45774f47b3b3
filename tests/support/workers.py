"""Daemons with workers: their processes, and the connections of each."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from tests.support.daemon import SECONDS, Daemon
from wsdaemon.daemon.heartbeats import Heartbeats

ECHO = """
[daemon]
workers = {workers}

[listener:web]
address = tcp:0:interface=127.0.0.1

[mount:/echo]
app = echo
"""


def children(pid: int) -> dict[str, int]:
    """The children of a process: their names in `ps` after "wsdaemon: ", with their process ids."""
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - thousands of paths are made for nothing
        try:
            if name.isdigit() and int(Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                title = Path("/proc", name, "cmdline").read_bytes().rstrip(b"\0").decode()
                found[title.removeprefix("wsdaemon: ")] = int(name)
        except (OSError, IndexError):
            continue
    return found


def worker_ids(daemon: Daemon) -> dict[str, int]:
    """The process of each worker, by its name."""
    return {name: pid for name, pid in children(daemon.pid).items() if name.startswith("worker ")}


def is_running(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def processes_in(folder: Path) -> set[int]:
    """The processes whose working directory this is: those of the daemon, orphans among them."""
    found = set()
    for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:  # noqa: PTH208 - thousands of paths are made for nothing
        try:
            if Path(f"/proc/{pid}/cwd").readlink() == folder and is_running(pid):
                found.add(pid)
        except OSError:
            continue
    return found


def wait_for_ends(pids: list[int], seconds: float = SECONDS) -> float:
    """Until none of these processes runs; the seconds that it took."""
    began = time.monotonic()
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() - began < seconds, f"still there: {[pid for pid in pids if is_running(pid)]}"
        time.sleep(0.01)
    return time.monotonic() - began


def connections(pid: int, workers: int) -> list[int]:
    """The connections of each worker, from the page that a supervisor shares with them."""
    for path in Path("/proc", str(pid), "fd").iterdir():
        if "wsdaemon-heartbeats" in str(path.readlink()):
            with path.open("r+b") as page:
                return [slot.connections for slot in Heartbeats(page.fileno()).slots[1 : workers + 1]]
    raise AssertionError(f"process {pid} has no page")


def wait_for_connections(pid: int, workers: int, total: int) -> list[int]:
    """Until all workers together have so many; those of each."""
    deadline = time.monotonic() + SECONDS
    while sum(counts := connections(pid, workers)) != total:
        assert time.monotonic() < deadline, counts
        time.sleep(0.02)
    return counts


class Clients:
    """Many clients that are only connected, each of which costs a socket."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.sockets: list[socket.socket] = []

    def open(self, count: int, *, together: bool) -> None:
        """Connect so many: all at once, or each when the one before has its answer."""
        if not together:
            for _ in range(count):
                self._answered(self._connect())
            return
        for sock in [self._connect() for _ in range(count)]:
            self._answered(sock)

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self._port), SECONDS)
        sock.sendall(b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                     b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")  # fmt: skip
        return sock

    def _answered(self, sock: socket.socket) -> None:
        answer = sock.recv(4096)
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        self.sockets.append(sock)

    def forget_closed(self) -> int:
        """Forget the clients whose connection has ended; their number."""
        closed = []
        for sock in self.sockets:
            sock.setblocking(False)
            try:
                if not sock.recv(1):
                    closed.append(sock)
            except BlockingIOError:
                continue
            except ConnectionError:
                closed.append(sock)
        for sock in closed:
            sock.close()
            self.sockets.remove(sock)
        return len(closed)

    def close(self) -> None:
        while self.sockets:
            self.sockets.pop().close()
