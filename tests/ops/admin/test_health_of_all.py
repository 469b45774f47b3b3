"""ops/admin/health_of_all.py and the metrics of all workers: every worker shows the whole daemon."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.support.admin import head, problem
from tests.support.colleagues import Team
from tests.support.fakes import Loop
from tests.support.metrics import PLACE, FakeWire, connection
from wsdaemon.core.histogram import Histogram
from wsdaemon.core.registry import Connections, Count
from wsdaemon.core.wire_halves import Counts
from wsdaemon.ops.admin.contract import Answer
from wsdaemon.ops.admin.exposition import MetricsPage, Sources
from wsdaemon.ops.admin.health import HealthPages, MountView
from wsdaemon.ops.admin.health_of_all import HealthOfAll
from wsdaemon.ops.admin.site import AdminSite
from wsdaemon.ops.metrics import Totals


class Gate:
    def __init__(self) -> None:
        self.refused_by_mount = {"": {"no_mount": 2}, PLACE[0]: {"origin": 1}}
        self.refused = {"no_mount": 2, "origin": 1}


class Listener:
    name = PLACE[1]
    accepted = 5
    crowded_out = 0
    handshakes = 1
    port = 443
    gate = Gate()
    certificates = None


class Page:
    """The pages of one worker."""

    def __init__(self, team: Team, number: int) -> None:
        self.team = team
        self.rooms, in_the_hub = 0, 3

        async def recount() -> None:
            self.rooms = in_the_hub

        self.connections = Connections()
        self.totals = Totals()
        count, mounts = Count(100), [MountView(PLACE[0], "rooms", Count(50), lambda: {"rooms": self.rooms, "members": 2})]
        sources = Sources(
            version="1", frames="compiled", ready=lambda: True, count=count, totals=self.totals, connections=self.connections,
            listeners=[Listener()], mounts=mounts, loop_latency=Histogram(), round_trips=Histogram(),
            recount=recount,
        )  # fmt: skip
        workers = team.workers[number].all
        metrics = MetricsPage(sources, True, workers)
        self.state = "ready"
        own = HealthPages(version="1", state=lambda: self.state, count=count, listeners=[Listener()], mounts=mounts)
        pages = [*metrics.pages(), *HealthOfAll(own, workers, metrics.gather, wall=lambda: 1_790_000_010.5).pages()]
        self.site = AdminSite(pages, lambda: None, "1")

    def open(self, count: int) -> None:
        for _ in range(count):
            self.connections.add(connection(FakeWire(messages_in=3)))

    def close_one(self) -> None:
        one = next(iter(self.connections))
        one._ended(1000, "", "client")
        self.connections.remove(one)
        self.totals.closed(one, Counts(3, 0, 0, 0))

    def get(self, path: str, *lines: str, seconds: float = 0.0) -> Answer:
        page: Any = self.site.answer(head(f"GET {path}", *lines), b"")
        if isinstance(page, Answer):
            return page
        task = self.team.loop.create_task(page)
        self.team.loop.settle()
        self.team.loop.advance(seconds)
        answer: Answer = task.result()
        return answer

    def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        families = parse(self.get("/metrics").body.decode())
        return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


class Two:
    def __init__(self, loop: Loop) -> None:
        self.team = Team(loop, 2)
        self.one, self.other = Page(self.team, 1), Page(self.team, 2)


@pytest.fixture
def two() -> Iterator[Two]:
    with Loop() as loop:
        yield Two(loop)


HERE = {"mount": PLACE[0], "listener": PLACE[1]}


def label(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


def test_every_worker_shows_the_sums(two: Two) -> None:
    two.one.open(2)
    two.other.open(3)
    two.other.close_one()
    for page in (two.one, two.other):
        found = page.metrics()
        assert found["wsdaemon_connections_opened_total", label(**HERE)] == 5
        assert found["wsdaemon_received_messages_total", label(**HERE)] == 15
        assert found["wsdaemon_connections", label(**HERE, worker="1")] == 2
        assert found["wsdaemon_connections", label(**HERE, worker="2")] == 2
        assert found["wsdaemon_accepted_total", label(listener=PLACE[1])] == 10
        assert found["wsdaemon_connections_limit", label()] == 100
        assert found["wsdaemon_rooms", label(mount=PLACE[0])] == 3, "a room in two workers is one room"
        assert found["wsdaemon_room_members", label(mount=PLACE[0], worker="1")] == 2
        assert found["wsdaemon_info", label(version="1", frames="compiled")] == 1
        assert found["wsdaemon_loop_latency_seconds_bucket", label(le="+Inf")] == 0
        assert {("process_cpu_seconds_total", label(worker=number)) in found for number in "12"} == {True}


def test_both_formats_can_be_read(two: Two) -> None:
    two.one.open(1)
    text = two.one.get("/metrics", "Accept: application/openmetrics-text;version=1.0.0").body.decode()
    [connections] = [family for family in parse_openmetrics(text) if family.name == "wsdaemon_connections"]  # type: ignore[no-untyped-call]
    assert {one.labels["worker"] for one in connections.samples} >= {"1"}


def test_counters_do_not_fall_when_a_worker_ends(two: Two) -> None:
    two.other.open(3)
    before = two.one.metrics()
    two.team.end(2)
    after = two.one.metrics()
    assert after["wsdaemon_received_messages_total", label(**HERE)] == before["wsdaemon_received_messages_total", label(**HERE)] == 9
    assert ("wsdaemon_connections", label(**HERE, worker="2")) not in after
    counters = {key for key in before if key[0].endswith(("_total", "_count", "_bucket"))}
    assert all(after[key] >= before[key] for key in counters)


def test_the_state_is_that_of_the_whole(two: Two) -> None:
    assert two.one.get("/readyz").body == b"ready\n"
    two.team.state = "draining"
    answer = two.one.get("/readyz")
    assert (answer.status, answer.body) == (503, b"draining\n")
    assert two.one.get("/livez").body == b"live\n"


def test_the_status_of_the_whole(two: Two) -> None:
    two.one.open(2)
    two.other.open(1)
    two.other.close_one()
    two.team.workers[2].beats = True
    shown = json.loads(two.one.get("/status").body)
    assert (shown["state"], shown["pid"], shown["started_at"], shown["uptime_seconds"]) == ("ready", 99, 1_790_000_000.5, 10.0)
    assert shown["connections"] == {"now": 2, "total": 3, "most": 100}
    assert shown["listeners"][0] | {"port": 0} == {
        "name": PLACE[1], "port": 0, "tls": False, "accepted": 10, "handshakes": 2, "refused": {"no_mount": 4, "origin": 2}
    }  # fmt: skip
    assert shown["mounts"][0]["connections"] == {"now": 2, "total": 3, "most": 50}
    assert (shown["mounts"][0]["rooms"], shown["mounts"][0]["members"]) == (3, 4), "each room once, and each worker's members"
    assert shown["workers"] == [
        {"number": 1, "pid": 101, "state": "ready", "connections": 2}, {"number": 2, "pid": 102, "state": "ready", "connections": 0}
    ]  # fmt: skip


def test_a_supervisor_that_does_not_answer(two: Two) -> None:
    """As during an upgrade: readiness is then that of the worker, which serves."""
    two.team.workers[1].holds = True
    answer = two.one.get("/readyz", seconds=0.6)
    assert (answer.status, answer.body) == (200, b"ready\n")
    two.one.state = "draining"
    assert two.one.get("/readyz", seconds=0.6).status == 503
    for path in ("/status", "/metrics"):
        assert problem(two.one.get(path, seconds=3.1)) == (503, "workers_away")
    two.team.workers[1].go_on()
