"""ops/latest_closes.py: the connections that ended last, of one process or of all workers."""

from __future__ import annotations

from typing import Any

from tests.support.colleagues import Team
from tests.support.fakes import Loop
from tests.support.metrics import FakeWire, connection
from wsdaemon.core.wire_halves import Counts
from wsdaemon.ops.connection_log import record_of
from wsdaemon.ops.latest_closes import MAX_CLOSES, ClosesOfAll, LatestCloses, newest


def counts(messages_in: int = 0) -> Counts:
    return FakeWire(messages_in=messages_in).counts()


def asked(loop: Loop, coroutine: Any) -> Any:
    task = loop.create_task(coroutine)
    loop.settle()
    return task.result()


def test_the_newest_come_first_and_the_oldest_are_forgotten() -> None:
    now = iter(range(1000, 2000))
    closes = LatestCloses(wall=lambda: float(next(now)))
    for number in range(MAX_CLOSES + 50):
        closes.add(record_of(connection(FakeWire(), f"c-{number}"), counts(number)))
    with Loop() as loop:
        kept = asked(loop, closes.latest(1000))
        assert [one["id"] for one in kept] == [f"c-{number}" for number in range(MAX_CLOSES + 49, 49, -1)]
        assert (kept[0]["closed_at"], kept[0]["messages_in"], kept[0]["mount"]) == (1000 + MAX_CLOSES + 49, MAX_CLOSES + 49, "/chat")
        assert [one["id"] for one in asked(loop, closes.latest(1))] == [f"c-{MAX_CLOSES + 49}"]


def test_those_of_all_workers_are_in_one_order() -> None:
    with Loop() as loop:
        team, pages = Team(loop, 3), {}
        for number, worker in team.workers.items():
            own = LatestCloses(wall=lambda number=number: 1000.0 - number)  # type: ignore[misc]
            own.add(record_of(connection(FakeWire(), f"w{number}"), counts()))
            pages[number] = ClosesOfAll(own, worker.all)
        assert [(one["id"], one["worker"]) for one in asked(loop, pages[2].latest(2))] == [("w1", 1), ("w2", 2)]


def test_newest() -> None:
    assert newest([{"closed_at": 1}, {"closed_at": 3}, {"closed_at": 2}], 2) == [{"closed_at": 3}, {"closed_at": 2}]
