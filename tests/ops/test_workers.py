"""ops/workers.py: the open connections of all workers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tests.support.colleagues import Team
from tests.support.fakes import Loop
from tests.support.metrics import FakeWire, connection
from wsdaemon.core.registry import Connections
from wsdaemon.ops.connections import Filter, OwnConnections
from wsdaemon.ops.workers import ConnectionsOfAll

T = TypeVar("T")


class Daemon:
    """Three workers, each with two connections."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.team = Team(loop, 3)
        self.wires: dict[str, FakeWire] = {}
        self.pages = {number: self.worker(number) for number in self.team.workers}

    def worker(self, number: int) -> ConnectionsOfAll:
        connections = Connections()
        for count in (1, 2):
            wire = self.wires[f"w{number}-{count}"] = FakeWire()
            connections.add(connection(wire, f"w{number}-{count}", mount="/odd" if number == 3 else "/chat"))
        return ConnectionsOfAll(OwnConnections(connections), self.team.workers[number].all)

    def run(self, make: Callable[[], Coroutine[Any, Any, T]], seconds: float = 0.0) -> T:
        task = self.loop.create_task(make())
        self.loop.settle()
        self.loop.advance(seconds)
        return task.result()


def test_pages_have_the_connections_of_all_workers_in_their_order() -> None:
    with Loop() as loop:
        daemon = Daemon(loop)
        seen, after = [], ""
        for _ in range(3):
            page = daemon.run(lambda after=after: daemon.pages[2].page(Filter(), after, 2))  # type: ignore[misc]
            assert page.count == 6
            seen += [(one["id"], one["worker"]) for one in page.connections]
            after = page.connections[-1]["id"]
        assert not page.more
        assert seen == [(f"w{number}-{count}", number) for number in (1, 2, 3) for count in (1, 2)]


def test_filters_hold_everywhere() -> None:
    with Loop() as loop:
        daemon = Daemon(loop)
        page = daemon.run(lambda: daemon.pages[1].page(Filter(mount="/odd"), "", 100))
        assert [one["id"] for one in page.connections] == ["w3-1", "w3-2"]


def test_a_connection_is_closed_wherever_it_is() -> None:
    with Loop() as loop:
        daemon = Daemon(loop)
        for id in ("w1-1", "w3-2"):
            assert daemon.run(lambda id=id: daemon.pages[1].close(id, 4403, "removed"))  # type: ignore[misc]
        assert [id for id, wire in daemon.wires.items() if not wire.live] == ["w1-1", "w3-2"]
        assert not daemon.run(lambda: daemon.pages[1].close("w4-1", 4403, "removed"))


def test_a_worker_that_hangs_is_left_out() -> None:
    with Loop() as loop:
        daemon = Daemon(loop)
        daemon.team.workers[2].holds = True
        page = daemon.run(lambda: daemon.pages[1].page(Filter(), "", 100), seconds=1.1)
        assert page.count == 4
        daemon.team.workers[2].go_on()
        loop.settle()
