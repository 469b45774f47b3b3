"""The figures of one moment, out of a snapshot of the metrics: sums over all mounts, and the few that are shown by mount.

Counters are those of the daemon's whole life: the page makes rates of two moments. Its own connections are left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from ..totals import Series, Snapshot
from ..workers import Gathered

SUMMED: Mapping[str, str] = {
    "wsdaemon_connections": "connections",
    "wsdaemon_connections_opened_total": "opened",
    "wsdaemon_received_messages_total": "messages_in",
    "wsdaemon_sent_messages_total": "messages_out",
    "wsdaemon_received_bytes_total": "bytes_in",
    "wsdaemon_sent_bytes_total": "bytes_out",
    "wsdaemon_dropped_messages_total": "dropped",
    "wsdaemon_backlog_bytes": "backlog",
    "wsdaemon_handshakes": "handshakes",
    "wsdaemon_accepted_total": "accepted",
    "wsdaemon_rooms": "rooms",
    "wsdaemon_room_members": "room_members",
    "wsdaemon_stalls_total": "stalls",
    "process_resident_memory_bytes": "memory",
    "process_cpu_seconds_total": "cpu_seconds",
}
"""The figure that adds up all samples of each metric."""

HISTOGRAMS: Mapping[str, str] = {
    "wsdaemon_ping_round_trip_seconds_bucket": "round_trip",
    "wsdaemon_loop_latency_seconds_bucket": "loop_latency",
}


def figures(snapshot: Snapshot, found: Gathered | None, now: float, own_mount: str) -> dict[str, Any]:
    """The figures as JSON values. `found` has the workers, if there are any; `now` in seconds since 1970.

    `round_trip` and `loop_latency` are lists of an upper bound in seconds (null: none) and the count up to it. `own_mount` is left out.
    """
    sums: dict[str, float] = dict.fromkeys(SUMMED.values(), 0.0)
    refused: dict[str, float] = defaultdict(float)
    mounts: dict[str, dict[str, float]] = {}
    buckets: dict[str, dict[float, float]] = {name: defaultdict(float) for name in HISTOGRAMS.values()}
    for sample in (one for family in snapshot for one in family.samples if one.labels.get("mount") != own_mount):
        if sample.name in SUMMED:
            sums[SUMMED[sample.name]] += sample.value
            _by_mount(mounts, sample, SUMMED[sample.name])
        elif sample.name == "wsdaemon_refused_total":
            refused[sample.labels["reason"]] += sample.value
        elif sample.name in HISTOGRAMS:
            buckets[HISTOGRAMS[sample.name]][float(sample.labels["le"])] += sample.value
    shown: dict[str, Any] = {"time": round(now, 3), **sums, "refused": dict(refused), "mounts": mounts}
    for name, counts in buckets.items():
        shown[name] = [[None if bound == float("inf") else bound, count] for bound, count in sorted(counts.items())]
    if found is not None:
        shown["state"] = found.state
        open_by = _by_worker(snapshot, own_mount)
        shown["workers"] = [{**one._asdict(), "connections": open_by.get(str(one.number), 0)} for one in found.workers]
    return shown


def _by_mount(mounts: dict[str, dict[str, float]], sample: Series, figure: str) -> None:
    mount = sample.labels.get("mount")
    if mount is not None and figure in ("connections", "messages_in", "messages_out"):
        of_mount = mounts.setdefault(mount, {"connections": 0, "messages_in": 0, "messages_out": 0})
        of_mount[figure] += sample.value


def _by_worker(snapshot: Snapshot, own_mount: str) -> dict[str, float]:
    counts: dict[str, float] = defaultdict(float)
    for sample in (one for family in snapshot if family.name == "wsdaemon_connections" for one in family.samples):
        if "worker" in sample.labels and sample.labels.get("mount") != own_mount:
            counts[sample.labels["worker"]] += sample.value
    return counts
