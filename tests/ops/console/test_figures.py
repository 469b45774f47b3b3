"""ops/console/figures.py: sums over mounts, listeners and workers, without the console's own connection."""

from __future__ import annotations

import json

from wsdaemon.ops.console.figures import figures
from wsdaemon.ops.totals import Family, Series
from wsdaemon.ops.workers import Gathered, WorkerView


def family(name: str, *samples: tuple[dict[str, str], float], sample: str | None = None) -> Family:
    return Family(name, "", "gauge", [Series(sample or name, labels, value) for labels, value in samples])


SNAPSHOT = [
    family(
        "wsdaemon_connections",
        ({"mount": "/a", "listener": "x", "worker": "1"}, 2.0), ({"mount": "/a", "listener": "y", "worker": "2"}, 3.0),
        ({"mount": "/b", "listener": "x", "worker": "1"}, 5.0), ({"mount": "/own", "listener": "admin", "worker": "1"}, 1.0),
    ),
    family("wsdaemon_received_messages", ({"mount": "/a"}, 7.0), ({"mount": "/own"}, 9.0), sample="wsdaemon_received_messages_total"),
    family(
        "wsdaemon_refused", ({"mount": "", "reason": "origin"}, 1.0), ({"mount": "/a", "reason": "origin"}, 2.0),
        ({"mount": "/a", "reason": "full"}, 4.0), sample="wsdaemon_refused_total",
    ),
    family(
        "wsdaemon_loop_latency_seconds", ({"le": "+Inf"}, 9.0), ({"le": "0.5"}, 8.0), ({"le": "0.1"}, 3.0),
        sample="wsdaemon_loop_latency_seconds_bucket",
    ),
    family("else", ({}, 1.0)),
]  # fmt: skip


def test_sums_and_what_is_shown_by_mount() -> None:
    found = figures(SNAPSHOT, None, 1234.5678, "/own")
    assert found == json.loads(json.dumps(found))
    assert (found["connections"], found["messages_in"], found["messages_out"], found["time"]) == (10, 7, 0, 1234.568)
    assert found["mounts"] == {
        "/a": {"connections": 5, "messages_in": 7, "messages_out": 0}, "/b": {"connections": 5, "messages_in": 0, "messages_out": 0},
    }  # fmt: skip
    assert found["refused"] == {"origin": 3, "full": 4}
    assert found["loop_latency"] == [[0.1, 3], [0.5, 8], [None, 9]] and found["round_trip"] == []
    assert "workers" not in found


def test_workers_with_their_connections() -> None:
    gathered = Gathered("ready", 1, 0.0, [WorkerView(1, 11, "ready"), WorkerView(3, 13, "starting")], {}, None)
    found = figures(SNAPSHOT, gathered, 0.0, "/own")
    assert found["state"] == "ready"
    assert found["workers"] == [
        {"number": 1, "pid": 11, "state": "ready", "connections": 7}, {"number": 3, "pid": 13, "state": "starting", "connections": 0},
    ]  # fmt: skip
