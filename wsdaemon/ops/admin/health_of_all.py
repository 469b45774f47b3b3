"""/readyz and /status of a daemon with workers: the state is the supervisor's, and the numbers are those of all workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from ..totals import WORKER, Series, Snapshot
from ..workers import STATE, Gathered, Workers, WorkersAway
from .contract import Answer, PageRequest, as_json
from .health import HealthPages
from .routes import Handler, Route
from .table import LIVE, READY, STATUS

STATE_SECONDS: Final = 0.5
"""How long /readyz waits for the supervisor. Then this worker answers with its own state, because load balancers do not wait for long."""


class HealthOfAll:
    """The pages of `own` for the whole daemon."""

    def __init__(
        self, own: HealthPages, workers: Workers, totals: Callable[[Workers], Awaitable[tuple[Gathered, Snapshot]]],
        wall: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        """`totals` returns the metrics of all workers. `wall` gives seconds since 1970."""
        self._own = own
        self._workers = workers
        self._totals = totals
        self._wall = wall

    def pages(self) -> list[tuple[Route, Handler]]:
        return [(LIVE, self._own.live), (READY, self.ready), (STATUS, self.status)]

    async def ready(self, request: PageRequest) -> Answer:
        """While the supervisor is silent, as in an upgrade, this worker serves: it answers with its own state, which it is told."""
        try:
            async with asyncio.timeout(STATE_SECONDS):
                found = await self._workers.gather(STATE, {}, None)
        except (WorkersAway, TimeoutError):
            return self._own.ready(request)
        return self._own.ready_as(found.state)

    async def status(self, request: PageRequest) -> Answer:
        found, snapshot = await self._totals(self._workers)
        numbers = _Numbers(snapshot)
        shown = self._own.shown()
        shown |= {
            "state": found.state,
            "pid": found.pid,
            "started_at": round(found.started_at, 3),
            "uptime_seconds": round(self._wall() - found.started_at, 3),
            "connections": {**shown["connections"], **numbers.connections()},
            "workers": [
                {"number": number, "pid": pid, "state": state, "connections": numbers.of("wsdaemon_connections", **{WORKER: str(number)})}
                for number, pid, state in found.workers
            ],
        }
        for listener in shown["listeners"]:
            name = listener["name"]
            listener["accepted"] = numbers.of("wsdaemon_accepted_total", listener=name)
            listener["handshakes"] = numbers.of("wsdaemon_handshakes", listener=name)
            listener["refused"] = numbers.by("reason", "wsdaemon_refused_total", listener=name)
        for mount in shown["mounts"]:
            path = mount["path"]
            mount["connections"] |= numbers.connections(mount=path)
            if "rooms" in mount:
                mount["rooms"] = numbers.of("wsdaemon_rooms", mount=path)
                mount["members"] = numbers.of("wsdaemon_room_members", mount=path)
        return as_json(shown)


class _Numbers:
    """Sums of metrics."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._samples: dict[str, list[Series]] = {}
        for family in snapshot:
            for one in family.samples:
                self._samples.setdefault(one.name, []).append(one)

    def by(self, label: str, name: str, **labels: str) -> dict[str, int]:
        """The sums of the samples with these labels, by another label."""
        sums: dict[str, int] = {}
        for one in self._samples.get(name, ()):
            if labels.items() <= one.labels.items():
                key = one.labels.get(label, "")
                sums[key] = sums.get(key, 0) + int(one.value)
        return sums

    def of(self, name: str, **labels: str) -> int:
        return sum(self.by("", name, **labels).values())

    def connections(self, **labels: str) -> dict[str, Any]:
        """Those that are open, and all that ever were."""
        return {
            "now": self.of("wsdaemon_connections", **labels),
            "total": self.of("wsdaemon_connections_opened_total", **labels),
        }
