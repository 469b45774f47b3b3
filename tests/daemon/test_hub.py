"""The hub's process without the process: the messages of the supervisor, the links of workers, and the end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import capturedLogs, formatEvent

from tests.support.inside import until
from tests.support.links import End, ShiftedLoop, run
from wsdaemon.daemon.heartbeats import Heartbeats, SlotState
from wsdaemon.daemon.hub import Hub
from wsdaemon.hub import predecessor, protocol
from wsdaemon.hub.protocol import HELLO, WELCOME, Hello, frame


class FakeChild:
    """The process as the supervisor's child: its inheritance, and what it is told and tells."""

    def __init__(self, page: int, descriptors: dict[str, int], generation: int = 1) -> None:
        self.heartbeats = Heartbeats(page)
        self.manifest = type("Manifest", (), {"descriptors": {"heartbeats": page, **descriptors}, "generation": generation})
        self.told: list[tuple[str, dict[str, object]]] = []
        self.is_ready = False
        self.received: Callable[[dict[str, Any], Sequence[int]], None]
        self.orphaned: Callable[[], None]

    def join(self, loop: object, received: Any, orphaned: Any) -> None:
        self.received, self.orphaned = received, orphaned

    def ready(self) -> None:
        self.is_ready = True

    def send(self, kind: str, descriptors: Sequence[int] = (), **fields: object) -> None:
        self.told.append((kind, fields))


@pytest.fixture
def page() -> Iterator[int]:
    descriptor = Heartbeats.make(3)
    yield descriptor
    os.close(descriptor)


async def greet(end: socket.socket, number: int, loop: ShiftedLoop) -> End:
    found = End(end, loop)
    found.stream.send(frame(HELLO, 0, Hello(protocol.VERSION, number, 1, b"instance").body()))
    await until(lambda: found.bodies(WELCOME))
    return found


def test_the_hub_serves_the_workers_that_were_there_and_those_that_come(page: int) -> None:
    async def work(loop: ShiftedLoop) -> None:
        (ours, theirs), (later, passed) = socket.socketpair(), socket.socketpair()
        child: Any = FakeChild(page, {"worker:1": theirs.detach()})
        hub = Hub(child, loop)
        hub.start()
        assert child.is_ready
        first = await greet(ours, 1, loop)
        child.received({"kind": "worker", "number": 2, "generation": 1}, [passed.detach()])
        second = await greet(later, 2, loop)
        assert [link.worker for link in hub.server.links] == [1, 2]
        first.stream.close()
        await until(lambda: len(hub.server.links) == 1)
        hub.close()
        await until(lambda: second.ends)

    run(work)


def test_a_worker_has_a_heartbeat_if_its_slot_says_so(page: int) -> None:
    async def work(loop: ShiftedLoop) -> None:
        child: Any = FakeChild(page, {})
        hub = Hub(child, loop)
        slot = child.heartbeats.worker(2)
        assert not hub.has_heartbeat(2, 1)
        slot.begin(SlotState.SERVING, 1)
        assert hub.has_heartbeat(2, 1)
        hub.close()

    run(work)


def test_the_hub_takes_a_new_log_over_and_unknown_messages_are_nothing(page: int) -> None:
    async def work(loop: ShiftedLoop) -> None:
        child: Any = FakeChild(page, {})
        hub = Hub(child, loop)
        child.received({"kind": "log"}, [os.open(os.devnull, os.O_WRONLY)])
        adopted: list[int] = []
        hub.adopt_log = adopted.append
        log = os.open(os.devnull, os.O_WRONLY)
        child.received({"kind": "log"}, [log])
        child.received({"kind": "log"}, [])
        reading, writing = os.pipe()
        child.received({"kind": "of the future"}, [writing])
        assert os.read(reading, 1) == b"", "descriptors that come with it are closed"
        os.close(reading)
        assert adopted == [log], "once: a message whose descriptor the kernel dropped is nothing"
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(log)
        hub.close()

    run(work)


@pytest.mark.parametrize("kind", ["stop", "orphaned, without workers", "orphaned, and a worker hangs"])
def test_the_loop_stops(page: int, kind: str) -> None:
    loop = ShiftedLoop()
    ours, theirs = socket.socketpair()
    child: Any = FakeChild(page, {"worker:1": theirs.detach()})
    hub = Hub(child, loop)
    hub.start()
    ours.send(frame(HELLO, 0, Hello(protocol.VERSION, 1, 1, b"instance").body()))
    with capturedLogs() as events:
        if kind == "stop":
            loop.call_later(0.01, child.received, {"kind": "stop"}, [])
        else:
            loop.call_later(0.01, child.orphaned)
            if kind == "orphaned, without workers":
                loop.call_later(0.05, ours.close)
            else:
                loop.call_later(0.05, lambda: setattr(loop, "shift", 10.0))
        loop.run_forever()
    assert [formatEvent(event) for event in events] == (
        [] if kind == "stop" else ["the supervisor has died; the hub ends with the last worker"]
    )
    hub.close()
    ours.close()
    loop.close()


def test_reports_of_the_links_are_logged(page: int) -> None:
    async def work(loop: ShiftedLoop) -> None:
        ours, theirs = socket.socketpair()
        child: Any = FakeChild(page, {"worker:1": theirs.detach()})
        hub = Hub(child, loop)
        hub.start()
        with capturedLogs() as events:
            ours.send(frame(99, 0, b""))
            await until(lambda: events)
        assert "ended" in str(formatEvent(events[0]))
        hub.close()
        ours.close()

    run(work)


def test_the_hub_loads_neither_autobahn_nor_tls_nor_prometheus(tmp_path: Path) -> None:
    program = "import sys, wsdaemon.daemon.hub; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path)
    loaded = set(done.stdout.split())
    assert not loaded & {"autobahn", "txaio", "prometheus_client", "OpenSSL", "cryptography", "h11", "jwt", "redis"}


def test_a_hub_gives_its_order_to_the_hub_of_the_next_generation(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predecessor, "PAUSE_SECONDS", 60.0)  # however slow the machine is

    async def work(loop: ShiftedLoop) -> None:
        (mine, yours), (ours, theirs), (later, passed) = socket.socketpair(), socket.socketpair(), socket.socketpair()
        former: Any = FakeChild(page, {"worker:1": theirs.detach()})
        old = Hub(former, loop)
        old.start()
        first = await greet(ours, 1, loop)
        child: Any = FakeChild(page, {"predecessor": yours.detach(), "worker:1": passed.detach()}, generation=2)
        new = Hub(child, loop)
        new.start()
        assert not child.is_ready
        end = End(later, loop)
        end.stream.send(frame(HELLO, 0, Hello(protocol.VERSION, 1, 2, b"another-").body()))
        former.received({"kind": "successor"}, [mine.detach()])
        await until(lambda: child.is_ready)
        assert not end.bodies(WELCOME)
        assert child.told == former.told == []
        former.received({"kind": "switch"}, [])
        await until(lambda: child.told and former.told)
        assert child.told == [("succession", {"owner": True, "reason": ""})]
        assert former.told == [("succession", {"owner": False, "reason": ""})]
        await until(lambda: end.bodies(WELCOME))
        assert end.bodies(WELCOME)[0][2:] == first.bodies(WELCOME)[0][2:] == old.server.instance
        new.close()
        old.close()

    run(work)


def test_a_succession_that_is_taken_back_leaves_the_order_to_the_former_hub(page: int) -> None:
    async def work(loop: ShiftedLoop) -> None:
        mine, yours = socket.socketpair()
        former: Any = FakeChild(page, {})
        old = Hub(former, loop)
        old.start()
        child: Any = FakeChild(page, {"predecessor": yours.detach()}, generation=2)
        new = Hub(child, loop)
        new.start()
        former.received({"kind": "successor"}, [mine.detach()])
        await until(lambda: child.is_ready)
        former.received({"kind": "keep"}, [])
        stopped: list[bool] = []
        loop.stop = lambda: stopped.append(True)  # type: ignore[method-assign]
        await until(lambda: stopped)
        assert former.told == [("succession", {"owner": True, "reason": "the supervisor has taken the upgrade back"})]
        assert child.told == [("succession", {"owner": False, "reason": "the former hub has ended: the other side has ended"})]
        del loop.stop
        new.close()
        old.close()

    run(work)


def test_workers_of_two_generations_have_their_own_heartbeats(page: int) -> None:
    async def work(loop: ShiftedLoop) -> None:
        former = Heartbeats.make(3)
        child: Any = FakeChild(page, {"former heartbeats": former}, generation=2)
        hub = Hub(child, loop)
        Heartbeats(former).worker(2).begin(SlotState.SERVING, 1)
        assert hub.has_heartbeat(2, 1)
        assert not hub.has_heartbeat(2, 2)
        hub.close()
        os.close(former)

    run(work)
