"""The latest connections that ended, for an operator who looks: the facts of their lines in the log, kept in memory.

With workers each has its own, and one page has those of all.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol

from .connection_log import ConnectionRecord
from .workers import Workers

MAX_CLOSES = 100
"""Connections that each process remembers after their end."""

CLOSES = "closes"
"""The question to another worker: its latest closes."""


class Closes(Protocol):
    """The latest closes of the daemon, in whichever process they were."""

    def latest(self, limit: int) -> Awaitable[list[dict[str, Any]]]:
        """Up to `limit`, the newest first."""


class LatestCloses:
    """The latest closes of this process."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        """`wall` returns seconds since 1970."""
        self._wall = wall
        self._kept: deque[tuple[float, ConnectionRecord]] = deque(maxlen=MAX_CLOSES)

    def add(self, record: ConnectionRecord) -> None:
        """A connection is over."""
        self._kept.append((self._wall(), record))

    async def latest(self, limit: int) -> list[dict[str, Any]]:
        """As Closes.latest."""
        return [{"closed_at": round(at, 3), **record.log_fields()} for at, record in list(reversed(self._kept))[:limit]]


class ClosesOfAll:
    """The latest closes of all workers, each with the number of its worker."""

    def __init__(self, own: LatestCloses, workers: Workers) -> None:
        self._own = own
        self._workers = workers
        workers.provide(CLOSES, self._own_latest)

    async def latest(self, limit: int) -> list[dict[str, Any]]:
        """As Closes.latest. WorkersAway."""
        question = {"limit": limit}
        found = await self._workers.gather(CLOSES, question, await self._own_latest(question))
        return newest(({**one, "worker": int(number)} for number, closes in found.answers.items() for one in closes), limit)

    async def _own_latest(self, question: Mapping[str, Any]) -> list[dict[str, Any]]:
        return await self._own.latest(int(question["limit"]))


def newest(closes: Iterable[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    return sorted(closes, key=lambda one: one["closed_at"], reverse=True)[:limit]
