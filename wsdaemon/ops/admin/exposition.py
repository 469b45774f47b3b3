"""/metrics, made with Prometheus's library. Imported only if there is an [admin] section."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from ...core.connection import Connection
from ...core.histogram import Histogram
from ...core.registry import Count
from ...core.reloading import Reloading
from ..metrics import ListenerView, MountAndListener, Now, Totals, certificates, survey
from ..totals import OF_THE_WHOLE, Family, Series, Snapshot, from_json, merged, to_json
from ..workers import TOTALS, Gathered, Workers
from .contract import Answer, PageRequest, asked
from .health import MountView
from .routes import Handler, Route
from .table import METRICS

MAX_REASONS = 100
"""The number of different refusal reasons that one listener and mount may have."""

COUNTED: Sequence[tuple[str, str, Callable[[Now], float]]] = (
    ("connections_opened", "WebSocket connections that were opened.", lambda now: now.opened),
    ("received_messages", "Messages that clients sent.", lambda now: now.traffic.messages_in),
    ("sent_messages", "Messages that clients were sent.", lambda now: now.traffic.messages_out),
    ("received_bytes", "Bytes of frames that came from clients, as they were on the wire.", lambda now: now.traffic.bytes_in),
    ("sent_bytes", "Bytes of frames that went to clients, as they were on the wire.", lambda now: now.traffic.bytes_out),
    ("dropped_messages", "Messages that were dropped for slow clients.", lambda now: now.traffic.dropped),
)

MEASURED: Sequence[tuple[str, str, Callable[[Now], float]]] = (
    ("connections", "WebSocket connections that are open.", lambda now: now.open),
    ("backlog_bytes", "Bytes that wait for clients.", lambda now: now.backlog),
    ("backlog_largest_bytes", "Bytes that wait for the client with the most.", lambda now: now.largest_backlog),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The sources of the numbers. `wall` returns seconds since 1970."""

    version: str
    frames: str
    """The frame reader in use."""
    ready: Callable[[], bool]
    count: Count
    totals: Totals
    connections: Iterable[Connection]
    listeners: Sequence[ListenerView]
    mounts: Sequence[MountView]
    loop_latency: Histogram
    round_trips: Histogram
    reloading: Callable[[], Iterable[Reloading]] = lambda: ()
    """The files that the daemon reads again when they change."""
    recount: Callable[[], Awaitable[None]] | None = None
    """Takes the numbers of rooms that are kept elsewhere from there."""
    links: Callable[[], Mapping[str, tuple[bool, int]]] = dict
    """Of each mount whose rooms are kept elsewhere: whether its link is connected, and how often it was lost."""
    wall: Callable[[], float] = time.time


class MetricsPage:
    """The page /metrics. `open`: without a token. With `workers` it has the metrics of all workers, see ops.totals."""

    def __init__(self, sources: Sources, open: bool, workers: Workers | None = None) -> None:
        self._sources = sources
        self._open = open
        self._workers = workers
        if workers is not None:
            workers.provide(TOTALS, self._own)
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        PlatformCollector(registry=self._process)
        GCCollector(registry=self._process)

    def pages(self) -> list[tuple[Route, Handler]]:
        return [(replace(METRICS, open=self._open), self.metrics)]

    async def metrics(self, request: PageRequest) -> Answer:
        registry = await self._registry() if self._workers is None else await self._of_all(self._workers)
        encode, content_type = _encoder(request.headers.joined("accept") or "")
        return Answer(200, encode(registry), content_type)

    async def _registry(self, whole: bool = True) -> CollectorRegistry:
        """The metrics of this process. `whole`: with those of the whole daemon."""
        if whole and self._sources.recount is not None:
            await self._sources.recount()
        now = await survey(self._sources.totals, self._sources.connections)
        registry = CollectorRegistry()
        registry.register(_Collected(self._sources, now))
        registry.register(self._process)
        return registry

    async def _own(self, question: Mapping[str, Any]) -> list[Any]:
        """The snapshot of this process, for the sum."""
        return to_json(family for family in await self._families(whole=False) if family.name not in OF_THE_WHOLE)

    async def _families(self, whole: bool = True) -> Snapshot:
        metrics = (await self._registry(whole)).collect()
        return [Family(one.name, one.documentation, one.type, [Series(*sample[:3]) for sample in one.samples]) for one in metrics]

    async def gather(self, workers: Workers) -> tuple[Gathered, Snapshot]:
        """The metrics of all workers, and the answers that they are made of. PageProblem 503."""
        families = await self._families()
        own = to_json(family for family in families if family.name not in OF_THE_WHOLE)
        found = await asked(workers.gather(TOTALS, {}, own))
        sums = merged({number: from_json(one) for number, one in found.answers.items()}, from_json(found.ended))
        return found, [*sums, *[family for family in families if family.name in OF_THE_WHOLE]]

    async def look(self) -> tuple[Gathered | None, Snapshot]:
        """The metrics of now as plain values: of all workers, if there are any. PageProblem 503."""
        if self._workers is None:
            return None, await self._families()
        return await self.gather(self._workers)

    async def _of_all(self, workers: Workers) -> CollectorRegistry:
        _, snapshot = await self.gather(workers)
        registry = CollectorRegistry()
        registry.register(_Merged(snapshot))
        return registry


def _encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    """The encoder and its content type. The library raises for a version that is no number; the default applies then."""
    try:
        return choose_encoder(accept if accept.isascii() else "")
    except (TypeError, ValueError):
        return choose_encoder("")


class _Merged(Collector):
    """A collector of families that are there already."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that the registration collects nothing."""
        return ()

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            metric = Metric(family.name, family.about, family.kind)
            for sample in family.samples:
                metric.add_sample(*sample)
            yield metric


class _Collected(Collector):
    """A collector of the daemon's numbers."""

    def __init__(self, sources: Sources, now: Mapping[MountAndListener, Now]) -> None:
        self._sources = sources
        self._now = now

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that the registration collects nothing."""
        return ()

    def collect(self) -> Iterator[Metric]:
        sources = self._sources
        yield InfoMetricFamily("wsdaemon", "What runs here.", {"version": sources.version, "frames": sources.frames})
        yield GaugeMetricFamily("wsdaemon_ready", "1 while new connections are welcome.", float(sources.ready()))
        if sources.count.most:
            yield GaugeMetricFamily("wsdaemon_connections_limit", "WebSocket connections that may be open in all.", sources.count.most)
        yield from self._places()
        yield from self._listeners()
        yield from self._rooms()
        yield from self._links()
        yield from self._files()
        yield _histogram("wsdaemon_loop_latency_seconds", "By how much a timer of the event loop is late.", sources.loop_latency)
        yield _histogram("wsdaemon_ping_round_trip_seconds", "From a ping to its answer.", sources.round_trips)

    def _places(self) -> Iterator[Metric]:
        labels = ("mount", "listener")
        for name, about, gauge_of in MEASURED:
            gauge = GaugeMetricFamily(f"wsdaemon_{name}", about, labels=labels)
            for place, now in self._now.items():
                gauge.add_metric(place, gauge_of(now))
            yield gauge
        for name, about, counter_of in COUNTED:
            counter = CounterMetricFamily(f"wsdaemon_{name}", about, labels=labels)
            for place, now in self._now.items():
                counter.add_metric(place, counter_of(now))
            yield counter
        closed = CounterMetricFamily(
            "wsdaemon_connections_closed", "WebSocket connections that ended, by close code and side.", labels=(*labels, "code", "by")
        )
        for place, now in self._now.items():
            for key, count in now.traffic.closed.items():
                closed.add_metric((*place, *key), count)
        yield closed
        stalls = CounterMetricFamily("wsdaemon_stalls", "Calls that held the event loop for longer than stall_warning.", labels=("mount",))
        for mount, count in list(self._sources.totals.stalls.items()):
            stalls.add_metric((mount,), count)
        yield stalls

    def _listeners(self) -> Iterator[Metric]:
        accepted = CounterMetricFamily("wsdaemon_accepted", "Connections that a listener accepted.", labels=("listener",))
        crowded = CounterMetricFamily("wsdaemon_crowded_out", "Opening handshakes that made room for newer ones.", labels=("listener",))
        handshakes = GaugeMetricFamily("wsdaemon_handshakes", "Opening handshakes that are under way.", labels=("listener",))
        refused = CounterMetricFamily("wsdaemon_refused", "Clients that were turned away.", labels=("listener", "mount", "reason"))
        for listener in self._sources.listeners:
            accepted.add_metric((listener.name,), listener.accepted)
            crowded.add_metric((listener.name,), listener.crowded_out)
            handshakes.add_metric((listener.name,), listener.handshakes)
            for mount, counts in listener.gate.refused_by_mount.items():
                for reason, count in _bounded(counts):
                    refused.add_metric((listener.name, mount, reason), count)
        yield from (accepted, crowded, handshakes, refused)
        expiry = GaugeMetricFamily(
            "wsdaemon_certificate_expiry_seconds", "Until a certificate expires; negative when it has.", labels=("listener", "certificate")
        )
        in_days = GaugeMetricFamily("wsdaemon_certificate_expiry_days", "The same in days.", labels=("listener", "certificate"))
        for name, path, days in certificates(self._sources.listeners):
            expiry.add_metric((name, path), days * 86400)
            in_days.add_metric((name, path), days)
        yield from (expiry, in_days)

    def _rooms(self) -> Iterator[Metric]:
        rooms = GaugeMetricFamily("wsdaemon_rooms", "Rooms that there are.", labels=("mount",))
        members = GaugeMetricFamily("wsdaemon_room_members", "Members of rooms: each connection once.", labels=("mount",))
        for mount in self._sources.mounts:
            if mount.rooms is not None:
                counts = mount.rooms()
                rooms.add_metric((mount.path,), counts["rooms"])
                members.add_metric((mount.path,), counts["members"])
        yield from (rooms, members)

    def _links(self) -> Iterator[Metric]:
        connected = GaugeMetricFamily("wsdaemon_link_connected", "1 while the order of a mount's rooms can be reached.", labels=("mount",))
        losses = CounterMetricFamily("wsdaemon_link_losses", "Losses of the link to the order of a mount's rooms.", labels=("mount",))
        for path, (is_connected, lost) in self._sources.links().items():
            connected.add_metric((path,), is_connected)
            losses.add_metric((path,), lost)
        yield from (connected, losses)

    def _files(self) -> Iterator[Metric]:
        stale = GaugeMetricFamily(
            "wsdaemon_file_stale", "1 while a changed file cannot be used and its old content stays in use.", labels=("source",)
        )
        failures = CounterMetricFamily("wsdaemon_file_failures", "Attempts to use a changed file that failed.", labels=("source",))
        for file in self._sources.reloading():
            stale.add_metric((file.source,), float(file.problem() is not None))
            failures.add_metric((file.source,), file.failures)
        yield from (stale, failures)


def _bounded(counts: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """The first reasons up to the limit, and the sum of the rest: a bound on labels, in case code ever makes up reasons."""
    pairs = list(counts.items())
    yield from pairs[:MAX_REASONS]
    if len(pairs) > MAX_REASONS:
        yield "other", sum(count for _, count in pairs[MAX_REASONS:])


def _histogram(name: str, about: str, histogram: Histogram) -> Metric:
    buckets, below = [], 0
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        below += count
        buckets.append(("+Inf" if bound == float("inf") else str(bound), float(below)))
    return HistogramMetricFamily(name, about, buckets, histogram.total)
