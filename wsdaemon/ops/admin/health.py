"""Whether the daemon lives, whether it serves, and how it stands: /livez, /readyz and /status."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.registry import Count
from ...core.reloading import Reloading
from ..metrics import ListenerView, certificates
from .contract import Answer, PageRequest, as_json, as_text
from .routes import Handler, Route
from .table import LIVE, READY, STATUS


@dataclass(frozen=True, slots=True)
class MountView:
    """A mount, as it is shown."""

    path: str
    app: str
    count: Count
    rooms: Callable[[], Mapping[str, int]] | None = None
    """For an app with rooms: how many there are, and how many members."""


class HealthPages:
    """`state` says how far the daemon is: starting, ready, draining or stopped."""

    def __init__(
        self, *, version: str, state: Callable[[], str], count: Count, listeners: Sequence[ListenerView], mounts: Sequence[MountView],
        reloading: Callable[[], Iterable[Reloading]] = lambda: (), away: Callable[[], bool] = lambda: False,
        recount: Callable[[], Awaitable[None]] | None = None,
        wall: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """`listeners` may fill up later, and `reloading` is called for each answer. `wall` gives seconds since 1970.

        `recount` takes the numbers of rooms that are kept elsewhere from there.
        `away`: whether the order of the rooms cannot be reached, and /readyz is to say so.
        """
        self._version = version
        self._state = state
        self._count = count
        self._listeners = listeners
        self._mounts = mounts
        self._reloading = reloading
        self._away = away
        self._recount = recount
        self._started_at = wall()
        self._clock = clock
        self._started = clock()

    def pages(self) -> list[tuple[Route, Handler]]:
        return [(LIVE, self.live), (READY, self.ready), (STATUS, self.status)]

    def live(self, request: PageRequest) -> Answer:
        return as_text("live\n")

    def ready(self, request: PageRequest) -> Answer:
        return self.ready_as(self._state())

    def ready_as(self, state: str) -> Answer:
        """The answer of a daemon in this state."""
        if state == "ready" and self._away():
            return as_text("the order of the rooms cannot be reached\n", 503)
        # The page is open, so it names the key and neither the file nor the reason. The status stays 200: what is in use works.
        stale = [f"{file.source}: the changed file cannot be used, the old content is in use\n" for file in self._stale()]
        return as_text("".join([f"{state}\n", *stale]), 200 if state == "ready" else 503)

    def _stale(self) -> list[Reloading]:
        return [file for file in self._reloading() if file.problem() is not None]

    def status(self, request: PageRequest) -> Answer | Awaitable[Answer]:
        return as_json(self.shown()) if self._recount is None else self._recounted(self._recount)

    async def _recounted(self, recount: Callable[[], Awaitable[None]]) -> Answer:
        await recount()
        return as_json(self.shown())

    def shown(self) -> dict[str, Any]:
        """The status of this process."""
        return {
            "version": self._version,
            "state": self._state(),
            "pid": os.getpid(),
            "started_at": round(self._started_at, 3),
            "uptime_seconds": round(self._clock() - self._started, 3),
            "connections": _counted(self._count),
            "listeners": [self._listener(listener) for listener in self._listeners],
            "mounts": [self._mount(mount) for mount in self._mounts],
            "certificates": [
                {"listener": listener, "certificate": path, "expires_in_days": round(days, 2)}
                for listener, path, days in certificates(self._listeners)
            ],
            "files": [{"source": file.source, "problem": file.problem(), "failures": file.failures} for file in self._reloading()],
        }

    def _listener(self, listener: ListenerView) -> dict[str, Any]:
        return {
            "name": listener.name,
            "port": listener.port,
            "tls": listener.certificates is not None,
            "accepted": listener.accepted,
            "handshakes": listener.handshakes,
            "refused": dict(listener.gate.refused),
        }

    def _mount(self, mount: MountView) -> dict[str, Any]:
        view: dict[str, Any] = {"path": mount.path, "app": mount.app, "connections": _counted(mount.count)}
        return view if mount.rooms is None else {**view, **mount.rooms()}


def _counted(count: Count) -> dict[str, int | None]:
    return {"now": count.now, "total": count.total, "most": count.most or None}
