"""The metrics of all workers as one: counters and histograms added up, gauges with the worker, or one value where all workers agree.

A snapshot is a list of families, as plain values that JSON has. Counters never fall: the last snapshot of a worker that has ended stays
added, without its gauges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

WORKER = "worker"
"""The label with the number of a worker."""

OF_A_PROCESS = ("process_", "python_")
"""Families that are about one process: each of their samples, counters too, has the label."""

AGREED: Mapping[str, Callable[[float, float], float]] = {
    "wsdaemon_ready": max,
    "wsdaemon_connections_limit": max,
    "wsdaemon_certificate_expiry_seconds": min,
    "wsdaemon_certificate_expiry_days": min,
    "wsdaemon_file_stale": max,
}
"""Gauges that are the same in all workers but for a moment, and the value that counts in that moment."""

OF_THE_WHOLE = frozenset({"wsdaemon_rooms"})
"""Gauges of parts that all workers share. The asked worker shows its own value, and no snapshot has them."""

_ADDED = ("counter", "histogram")


class Series(NamedTuple):
    """One sample of a family."""

    name: str
    labels: dict[str, str]
    value: float


class Family(NamedTuple):
    """All samples of one metric. `kind` is Prometheus's type."""

    name: str
    about: str
    kind: str
    samples: list[Series]


Snapshot = list[Family]


def to_json(snapshot: Iterable[Family]) -> list[Any]:
    return [[name, about, kind, [list(one) for one in samples]] for name, about, kind, samples in snapshot]


def from_json(value: Any) -> Snapshot:
    return [Family(name, about, kind, [Series(*one) for one in samples]) for name, about, kind, samples in value]


def merged(snapshots: Mapping[str, Snapshot], ended: Snapshot) -> Snapshot:
    """The metrics of all workers, by the number of each, and of those that have ended: see `with_ended`."""
    sums = _Sums()
    for worker, snapshot in snapshots.items():
        sums.add(worker, snapshot)
    sums.add_labelled(ended)
    return sums.families()


def with_ended(ended: Snapshot, worker: str, last: Snapshot) -> Snapshot:
    """The counts of all workers that have ended, one more with its last snapshot: counters and histograms, without gauges."""
    sums = _Sums()
    sums.add_labelled(ended)
    sums.add(worker, [family for family in last if family.kind in _ADDED])
    return sums.families()


class _Sums:
    """Families that are added up, in the order in which they came first."""

    def __init__(self) -> None:
        self._families: dict[str, tuple[str, str, dict[tuple[str, tuple[tuple[str, str], ...]], float]]] = {}

    def add(self, worker: str, snapshot: Snapshot) -> None:
        """The numbers of one worker."""
        for family in snapshot:
            together = family.kind in (*_ADDED, "info") or family.name in AGREED
            if together and not family.name.startswith(OF_A_PROCESS):
                self._add(family)
            else:
                self._add(family._replace(samples=[one._replace(labels={**one.labels, WORKER: worker}) for one in family.samples]))

    def add_labelled(self, snapshot: Snapshot) -> None:
        """Sums of before."""
        for family in snapshot:
            self._add(family)

    def _add(self, family: Family) -> None:
        _, _, sums = self._families.setdefault(family.name, (family.about, family.kind, {}))
        for name, labels, value in family.samples:
            key = name, tuple(labels.items())
            if key not in sums:
                sums[key] = value
            elif family.kind in _ADDED:
                sums[key] += value
            else:
                sums[key] = AGREED.get(family.name, max)(sums[key], value)

    def families(self) -> Snapshot:
        return [
            Family(name, about, kind, [Series(one, dict(labels), value) for (one, labels), value in sums.items()])
            for name, (about, kind, sums) in self._families.items()
        ]
