"""A worker in the test's own process: it serves when it is told to, and ends as it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.inside import run_inside, until
from wsdaemon.daemon.child_process import ChildProcess
from wsdaemon.daemon.heartbeats import Heart, Heartbeats, SlotState
from wsdaemon.daemon.inheritance import InheritedLog, Manifest, Role
from wsdaemon.daemon.parts import State
from wsdaemon.daemon.worker import Worker

ECHO = """
[daemon]
workers = 2
python_path = lib
[listener:web]
address = tcp:0:interface=127.0.0.1
[mount:/echo]
app = echo
"""


class Reactor:
    """A reactor as far as a worker stops it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncioEventloop = loop
        self.stopped = 0

    def callWhenRunning(self, function: Callable[[], None]) -> None:
        function()

    def stop(self) -> None:
        self.stopped += 1


class Child(ChildProcess):
    """A child without a supervisor: the test speaks in its place."""

    told: list[str]

    def join(self, loop: asyncio.AbstractEventLoop, received: Any, orphaned: Any) -> None:
        self.received, self.orphaned, self.told = received, orphaned, []
        self.heart = Heart(self.slot, loop)

    def send(self, kind: str, descriptors: object = (), **fields: object) -> None:
        self.told.append(f"{kind} {fields}")

    def ready(self) -> None:
        self.told.append("ready")
        self.slot.state = SlotState.READY


class Serving:
    """A worker, its socket, and its clients' URL."""

    def __init__(self, worker: Worker, child: Child, reactor: Reactor, port: int) -> None:
        self.worker, self.child, self.reactor, self.url = worker, child, reactor, f"ws://127.0.0.1:{port}/echo"

    def say(self, kind: str, *descriptors: int) -> None:
        self.child.received({"kind": kind}, descriptors)

    def connect(self) -> connect:
        return connect(self.url, proxy=None)


def manifest(folder: Path, text: str, descriptors: dict[str, int]) -> Manifest:
    return Manifest(
        role=Role.WORKER, number=1, generation=1, supervisor=os.getpid(), workers=2, settings=text, source="etc/ws.ini",
        directory=str(folder), log=InheritedLog(destination="stdout", prefix=""), descriptors=descriptors,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def worker(folder: Path, text: str = ECHO) -> AsyncIterator[Serving]:
    page = Heartbeats.make(2)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    port = listening.getsockname()[1]
    hub, of_the_hub = socket.socketpair()
    child = Child(manifest(folder, text, {"heartbeats": page, "listener:web": listening.detach(), "hub": hub.detach()}))
    settings, problems = child.read_settings()
    assert not problems
    reactor = Reactor(asyncio.get_running_loop())
    served = Worker(child, settings, reactor)
    served.open()
    try:
        await served.start()
        yield Serving(served, child, reactor, port)
    finally:
        await served.stop()
        of_the_hub.close()
        child.slot._words.release()
        os.close(page)


def test_a_worker_accepts_when_it_is_told_to(tmp_path: Path) -> None:
    async def main() -> None:
        async with worker(tmp_path) as serving:
            assert serving.child.told == ["ready"]
            opening = asyncio.ensure_future(serving.connect().__aenter__())
            for _ in range(100):
                await asyncio.sleep(0)
            assert not opening.done()
            serving.say("serve")
            client: ClientConnection = await opening
            assert serving.child.slot.state is SlotState.SERVING
            await client.send("hello")
            assert await client.recv() == "hello"
            assert serving.child.slot.connections == 1
            await client.close()

    run_inside(main())


def test_a_worker_stops_reloads_and_drops_as_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with worker(tmp_path) as serving:
            serving.say("serve")
            calls: list[str] = []

            def reload() -> list[str]:
                calls.append("reload")
                return []

            monkeypatch.setattr(serving.worker.daemon, "reload", reload)
            async with serving.connect() as client:
                serving.say("reload")
                assert calls == ["reload"]
                serving.say("drop")
                await client.wait_closed()
            serving.say("a message of a newer version")
            serving.say("stop")
            assert serving.reactor.stopped == 1
            await serving.worker.stop()
            assert serving.worker.daemon.state is State.STOPPED
            assert serving.child.slot.state is SlotState.STOPPING

    run_inside(main())


def test_a_worker_without_its_supervisor_says_1012(tmp_path: Path) -> None:
    async def main() -> None:
        async with worker(tmp_path) as serving:
            serving.say("serve")
            async with serving.connect() as client:
                serving.child.orphaned()
                assert serving.reactor.stopped == 1
                stopping = asyncio.ensure_future(serving.worker.stop())
                with contextlib.suppress(ConnectionClosed):
                    await client.recv()
                assert client.close_code == 1012
                await stopping

    run_inside(main())


def test_a_worker_that_never_served_stops_too(tmp_path: Path) -> None:
    async def main() -> None:
        async with worker(tmp_path) as serving:
            daemon = serving.worker.daemon
        assert daemon.state is State.STOPPED
        with socket.socket() as sock:
            await until(lambda: sock.connect_ex(("127.0.0.1", int(serving.url.split(":")[2].split("/")[0]))) != 0)

    run_inside(main())


def test_relative_paths_start_from_the_directory_of_the_settings(tmp_path: Path) -> None:
    page = Heartbeats.make(2)
    settings, problems = Child(manifest(tmp_path, ECHO, {"heartbeats": page})).read_settings()
    os.close(page)
    assert not problems
    assert settings.daemon.python_path == (tmp_path / "etc" / "lib",)
    assert settings.source == "etc/ws.ini"


def test_a_worker_without_a_link_to_the_hub_ends(tmp_path: Path) -> None:
    async def main() -> None:
        async with worker(tmp_path) as serving:
            serving.say("hub")  # its descriptor was lost, because this process has too many open files
            assert serving.reactor.stopped == 1
            serving.worker._hub._break("a frame could not be handled")
            assert serving.reactor.stopped == 2

    run_inside(main())


def test_a_worker_that_retires_completes_the_handshakes_and_then_stops(tmp_path: Path) -> None:
    async def main() -> None:
        async with worker(tmp_path) as serving:
            serving.say("serve")
            url = serving.url.split("/")[2].split(":")
            reader, writer = await asyncio.open_connection(url[0], int(url[1]))
            writer.write(b"GET /echo HTTP/1.1\r\n")
            await until(lambda: serving.worker.daemon.listeners[0].handshakes)
            serving.say("retire")
            serving.say("retire")
            await until(lambda: serving.child.slot.state is SlotState.STOPPING)
            assert not serving.reactor.stopped
            head = b"Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            writer.write(head + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            await until(lambda: serving.reactor.stopped)
            assert serving.child.told[1:] == ["given {'went': 0, 'stayed': 1}"]
            writer.close()

    run_inside(main())


def test_a_worker_that_retires_with_a_link_hands_its_connections_to_the_worker_that_has_the_other_end(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "old").mkdir()
        (tmp_path / "new").mkdir()
        async with worker(tmp_path / "new") as new:
            async with worker(tmp_path / "old") as old:
                ours, theirs = socket.socketpair()
                old.say("serve")
                new.say("serve")
                client = await old.connect()
                new.say("take", theirs.detach())
                old.say("retire", ours.detach())
                await until(lambda: old.reactor.stopped)
                assert old.child.told == ["ready", "given {'went': 1, 'stayed': 0}"]
            await client.send("hello")
            assert await client.recv() == "hello"
            assert len(new.worker.daemon.connections) == 1
            new.say("take")  # its descriptor was lost, because this process has too many open files
            assert new.reactor.stopped == 0
            await client.close()

    run_inside(main())


def test_a_stop_in_the_midst_of_retiring_ends_the_hand_over(tmp_path: Path) -> None:
    async def main() -> None:
        async with worker(tmp_path) as serving:
            serving.say("serve")
            async with serving.connect() as client:
                ours, theirs = socket.socketpair()  # nothing reads the other end
                serving.say("retire", ours.detach())
                await until(lambda: serving.worker._handover._giving)
                await serving.worker.stop()
                with contextlib.suppress(ConnectionClosed):
                    await client.recv()
                assert client.close_code == 1012
                theirs.close()

    run_inside(main())
