"""ops/totals.py: the metrics of all workers as one, and counters that never fall."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.ops.totals import Family, Series, Snapshot, from_json, merged, to_json, with_ended

PLACE = {"mount": "/chat", "listener": "web"}


def counter(value: float, name: str = "wsdaemon_received_messages", **labels: str) -> Family:
    return Family(name, "Messages.", "counter", [Series(f"{name}_total", {**PLACE, **labels}, value)])


def gauge(value: float, name: str = "wsdaemon_connections") -> Family:
    return Family(name, "Open.", "gauge", [Series(name, dict(PLACE), value)])


def values(snapshot: Snapshot) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {(one.name, frozenset(one.labels.items())): one.value for family in snapshot for one in family.samples}


def value(snapshot: Snapshot, name: str, **labels: str) -> float:
    return values(snapshot)[name, frozenset(labels.items())]


def test_counters_are_added_up_and_gauges_say_whose_they_are() -> None:
    found = merged({"1": [counter(3), gauge(5)], "2": [counter(4), gauge(6)]}, [])
    assert value(found, "wsdaemon_received_messages_total", **PLACE) == 7
    assert [value(found, "wsdaemon_connections", **PLACE, worker=worker) for worker in ("1", "2")] == [5, 6]
    assert [family.name for family in found] == ["wsdaemon_received_messages", "wsdaemon_connections"]


def test_labels_of_which_one_worker_has_no_sample() -> None:
    found = merged({"1": [counter(3)], "2": [counter(4, code="1000")], "3": []}, [])
    assert value(found, "wsdaemon_received_messages_total", **PLACE) == 3
    assert value(found, "wsdaemon_received_messages_total", **PLACE, code="1000") == 4


def test_a_histogram_is_added_up_in_each_bucket() -> None:
    one = Family("late", "Late.", "histogram", [Series("late_bucket", {"le": "0.1"}, 2), Series("late_sum", {}, 0.5)])
    found = merged({"1": [one], "2": [one]}, [one])
    assert values(found) == {("late_bucket", frozenset({("le", "0.1")})): 6, ("late_sum", frozenset()): 1.5}


def test_gauges_on_which_all_agree_are_one() -> None:
    found = merged(
        {
            "1": [gauge(1, "wsdaemon_ready"), gauge(5, "wsdaemon_certificate_expiry_days"), gauge(0, "wsdaemon_file_stale")],
            "2": [gauge(0, "wsdaemon_ready"), gauge(90, "wsdaemon_certificate_expiry_days"), gauge(1, "wsdaemon_file_stale")],
        },
        [],
    )
    assert [one.value for family in found for one in family.samples] == [1, 5, 1]


def test_what_runs_here_is_said_once() -> None:
    info = Family("wsdaemon", "What runs here.", "info", [Series("wsdaemon_info", {"version": "1"}, 1.0)])
    assert merged({"1": [info], "2": [info]}, []) == [info]


def test_a_process_is_that_of_a_worker() -> None:
    cpu = counter(2, "process_cpu_seconds")
    ended = with_ended([], "2", [cpu])
    found = merged({"1": [cpu], "2": [cpu]}, ended)
    assert value(found, "process_cpu_seconds_total", **PLACE, worker="1") == 2
    assert value(found, "process_cpu_seconds_total", **PLACE, worker="2") == 4, "it never falls, though it is another process"


def test_the_ended_keep_their_counts_and_nothing_else() -> None:
    ended = with_ended(with_ended([], "1", [counter(3), gauge(5)]), "2", [counter(4), gauge(6)])
    assert ended == [counter(7)]


def test_a_snapshot_travels_as_json() -> None:
    snapshot = [counter(3), gauge(5)]
    assert from_json(json.loads(json.dumps(to_json(snapshot)))) == snapshot


@given(st.lists(st.tuples(st.sampled_from("123"), st.sampled_from(["count", "end", "look"])), max_size=60))
def test_no_counter_ever_falls_and_none_counts_twice(events: list[tuple[str, str]]) -> None:
    """Workers count, end and are replaced; the supervisor has the snapshots of the last look. Later counts end with their worker."""
    running, looked, ended, kept, seen = dict.fromkeys("123", 0), dict.fromkeys("123", 0), list[Family](), 0, 0.0
    for worker, event in events:
        if event == "count":
            running[worker] += 1
        elif event == "end":
            ended = with_ended(ended, worker, [counter(looked[worker])])
            kept += looked[worker]
            running[worker] = looked[worker] = 0
        else:
            looked = dict(running)
            snapshots = {each: [counter(count)] for each, count in looked.items()}
            now = value(merged(snapshots, ended), "wsdaemon_received_messages_total", **PLACE)
            assert now == kept + sum(running.values())
            assert now >= seen
            seen = now
