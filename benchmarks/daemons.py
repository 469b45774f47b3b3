"""Real daemons for the benchmarks of several processes: their processes, the CPU time and memory of each, and a plain client."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from .preparing import HERE, CannotRun
from .subject import in_place

SECONDS = 180.0
"""The longest that anything may take."""

REQUEST = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
PAYLOAD_BYTES = 200
HEAD_BYTES = 4
"""Of a server's frame with 126 to 65,535 bytes."""

_TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def wait_for(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until a server listens. CannotRun after SECONDS, or if its process has ended."""
    end = time.monotonic() + SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end or (process is not None and process.poll() is not None):
                raise CannotRun(f"nothing listens on port {port}") from None
            time.sleep(0.05)


def until(condition: Callable[[], bool], what: str) -> None:
    """CannotRun after SECONDS."""
    end = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > end:
            raise CannotRun(f"{what} did not come in {SECONDS:g} seconds")
        time.sleep(0.05)


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used, user and kernel."""
    with contextlib.suppress(OSError):  # a kernel with schedstat counts nanoseconds, not ticks
        return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def proportional_bytes(pid: int) -> int:
    """The memory of a process, in which shared pages count in parts (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise CannotRun("the kernel tells no PSS")


def sockets_of(pid: int) -> int:
    """The number of sockets that a process has open."""
    count = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # it was closed meanwhile
            count += str(entry.readlink()).startswith("socket:")
    return count


class RunningDaemon:
    """`twistd wsdaemon` of this source tree in the foreground."""

    def __init__(self, folder: Path, port: int, settings: str) -> None:
        subject = in_place(HERE.parent, "wsdaemon")
        self.port = port
        path = folder / f"{port}.ini"
        path.write_text(settings)
        words = [*subject.twistd, "-n", "--pidfile=", "wsdaemon", "-c", str(path)]
        self.log = folder / f"{port}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(words, env=subject.environment, stdout=log, stderr=log)  # noqa: S603 - the daemon

    def children(self) -> dict[str, int]:
        """The processes of a daemon with workers by name, such as `hub` and `worker 1`."""
        found = {}
        for word in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                title = Path(f"/proc/{word}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
                if title.startswith("wsdaemon: "):
                    found[title.removeprefix("wsdaemon: ")] = int(word)
        return found

    def workers(self) -> list[int]:
        return [pid for name, pid in sorted(self.children().items()) if name.startswith("worker ")]

    def wait(self, workers: int = 0) -> None:
        """Wait until it listens, and all its workers serve."""
        try:
            wait_for(self.port, self.process)
        except CannotRun as error:
            raise CannotRun(f"{error}: {self.log.read_text(errors='replace')[-800:]}") from None
        if workers:
            until(lambda: len(self.workers()) == workers and self.ready_lines() >= workers, f"{workers} workers")

    def ready_lines(self) -> int:
        """How often the log says that a worker is ready."""
        return self.log.read_text(errors="replace").count(" is ready")

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(15)
        self.process.kill()
        self.process.wait()


class RedisServer:
    """A redis-server that writes an append-only file, as docs/scaling.md asks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """CannotRun if there is none."""
        program = shutil.which("redis-server")
        if program is None:
            raise CannotRun("redis-server is not installed")
        words = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder), "--save", "", "--appendonly", "yes"]
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL)  # noqa: S603 - Redis
        wait_for(self.port)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class PlainClient(asyncio.Protocol):
    """A WebSocket client that counts the bytes of frames, and checks nothing: it takes little CPU from the daemon that is measured."""

    def __init__(self, path: str) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self.received = 0
        """Bytes of frames."""
        self._path = path
        self._head = b""
        self._transport: asyncio.Transport | None = None
        self._expected: tuple[int, asyncio.Future[None]] | None = None

    @classmethod
    async def open(cls, port: int, path: str) -> PlainClient:
        """CannotRun if the daemon refuses it."""
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: cls(path), "127.0.0.1", port)
        async with asyncio.timeout(SECONDS):
            await client.opened
        return client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(REQUEST.format(path=self._path).encode())

    def data_received(self, data: bytes) -> None:
        if not self.opened.done():
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            if b" 101 " not in head.partition(b"\r\n")[0]:
                self.opened.set_exception(CannotRun(head.partition(b"\r\n")[0].decode(errors="replace")))
                return
            self.opened.set_result(None)
        self.received += len(data)
        if self._expected is not None and self.received >= self._expected[0]:
            _, future = self._expected
            self._expected = None
            future.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(CannotRun("the daemon closed the connection"))
        if self._expected is not None:
            self._expected[1].set_exception(CannotRun("the daemon closed the connection"))
        self.lost.set_result(None)

    def send(self, payload: bytes) -> None:
        """A binary message of 126 to 65,535 bytes, masked with zeros."""
        assert self._transport is not None
        self._transport.write(b"\x82\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload)

    async def until(self, count: int) -> None:
        """Wait until so many bytes of frames have come in all."""
        if self.received < count:
            future = asyncio.get_running_loop().create_future()
            self._expected = count, future
            async with asyncio.timeout(SECONDS):
                await future

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def joined(publisher: PlainClient, members: Sequence[PlainClient]) -> int:
    """Publish until every member is in the publisher's room: a plain client is open before its room is joined elsewhere.

    Returns the bytes of a frame. Each member's count then begins at 0. CannotRun after SECONDS.
    """
    payload = bytes(PAYLOAD_BYTES)
    end = time.monotonic() + SECONDS
    while not all(each.received for each in members):
        if time.monotonic() > end:
            raise CannotRun(f"the members were not in their room after {SECONDS:g} seconds")
        publisher.send(payload)
        await asyncio.sleep(0.2)
    counts: list[int] = []
    while counts != (counts := [each.received for each in members]):  # noqa: ASYNC110 - until nothing more comes
        await asyncio.sleep(0.5)
    for each in members:
        each.received = 0
    return HEAD_BYTES + PAYLOAD_BYTES


@contextlib.contextmanager
def closing(*things: RunningDaemon) -> Iterator[None]:
    try:
        yield
    finally:
        for each in things:
            each.close()
