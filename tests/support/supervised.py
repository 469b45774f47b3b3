"""A supervisor with children that are no processes, on a loop whose clock stands still."""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.fakes import Loop
from wsdaemon.daemon import heartbeats, supervisor
from wsdaemon.daemon.child_watch import LOOK_SECONDS
from wsdaemon.daemon.heartbeats import SlotState
from wsdaemon.daemon.inheritance import Heritage, InheritedLog, Manifest
from wsdaemon.daemon.supervisor import Supervisor
from wsdaemon.settings.build import build, section
from wsdaemon.settings.model import Settings


class Process:
    pid = 77

    def __init__(self) -> None:
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self.returncode


class Channel:
    open = True

    def __init__(self, ended: Callable[[], None]) -> None:
        self.ended = ended
        self.sent: list[str] = []
        self.passed: dict[str, int] = {}

    def send(self, kind: str, descriptors: Sequence[int] = (), **fields: object) -> None:
        self.sent.append(kind)
        self.passed[kind] = len(descriptors)

    def finish(self) -> None:
        self.open = False
        self.ended()


class FakeChild:
    """A child as the supervisor knows it."""

    def __init__(self, manifest: Manifest, ended: Callable[[Any], None]) -> None:
        self.manifest = manifest
        self.role, self.number = manifest.role, manifest.number
        self.name = f"worker {self.number}" if self.number else "hub"
        self.process = Process()
        self.channel = Channel(lambda: ended(self))
        self.ready_since: float | None = None
        self.reason = ""
        self.hung = False

    async def take_stack(self) -> str:
        return 'File "app.py", line 3 in spin'

    def how_it_ended(self) -> str:
        return f"ended with status {self.process.returncode}"

    def forget(self) -> None:
        self.channel.open = False

    def kill(self) -> None:
        if self.process.returncode is None:
            self.process.returncode = -9


class House:
    """A supervisor on a loop whose clock stands still, with two workers."""

    def __init__(self, loop: Loop, monkeypatch: pytest.MonkeyPatch, folder: Path, *, admin: bool = False, **daemon: object) -> None:
        self.loop = loop
        self.started: list[FakeChild] = []
        self.failures: list[str] = []
        monkeypatch.setattr(supervisor, "start_child", self.start_child)
        monkeypatch.setattr(heartbeats, "time", self)
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(str(folder / "notify"))
        self.notified.setblocking(False)
        heritage = Heritage(text="", directory=folder, log=InheritedLog(destination="stdout", prefix=""))
        environ = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "90000000"}
        self.supervisor = Supervisor(settings(folder, admin=admin, **daemon), loop, heritage, failed=self.failures.append, environ=environ)

    def monotonic_ns(self) -> int:
        return int(self.loop.time() * 1e9)

    def start_child(
        self, loop: Loop, make_manifest: Callable[[Mapping[str, int]], Manifest], descriptors: Mapping[str, int], *,
        ended: Callable[[Any], None], **told: object,
    ) -> FakeChild:  # fmt: skip
        self.started.append(FakeChild(make_manifest(descriptors), ended))
        return self.started[-1]

    def latest(self, number: int) -> FakeChild:
        return [child for child in self.started if child.number == number][-1]

    def tell(self, child: Any, kind: str, **fields: object) -> None:
        self.supervisor._received(self.supervisor.generation, child, {"kind": kind, **fields}, ())
        self.loop.settle()

    def run(self, coroutine: Coroutine[Any, Any, object]) -> Any:
        task = self.loop.create_task(coroutine)
        self.loop.settle()
        return task

    def start(self) -> None:
        """Until all are ready."""
        task = self.run(self.supervisor.start())
        for number in (0, 1, 2):
            self.be_ready(number)
        task.result()

    def be_ready(self, number: int) -> None:
        self.supervisor.generation.heartbeats.slots[number].state = SlotState.READY
        self.tell(self.latest(number), "ready")

    def beat(self, *numbers: int) -> None:
        for number in numbers:
            self.supervisor.generation.heartbeats.slots[number].beat()

    def pass_time(self, seconds: float, beating: Sequence[int]) -> None:
        """Seconds in which the loops of these children turn."""
        for _ in range(int(seconds / LOOK_SECONDS)):
            self.beat(*beating)
            self.loop.advance(LOOK_SECONDS)

    def told_systemd(self) -> list[str]:
        told = []
        while True:
            try:
                told += self.notified.recv(4096).decode().split("\n")
            except BlockingIOError:
                return told


def settings(folder: Path, *, admin: bool = False, **daemon: object) -> Settings:
    sections = [
        section("daemon", **{"workers": 2, "worker_timeout": "30s", **daemon}),
        section("listener:web", address=f"unix:{folder}/ws.sock"),
        section("mount:/echo", app="echo"),
    ]
    if admin:
        sections.append(section("admin", address=f"unix:{folder}/admin.sock:mode=600"))
    return build(sections, "ws.ini")
