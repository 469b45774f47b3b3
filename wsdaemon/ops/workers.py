"""The questions of the admin pages of one worker to all workers.

Any worker answers a request: it asks the supervisor, which asks the others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple, Protocol

from .connections import ConnectionPage, Filter, OwnConnections, merged

TOTALS = "totals"
"""The metrics of a worker, see `totals`. The supervisor keeps the last of each worker, and adds up those of the ended."""

CONNECTIONS = "connections"
"""One page of a worker's open connections, see `connections`."""

CLOSE = "close"
"""Whether a worker has the connection with an id, which it then closes."""

STATE = "state"
"""No worker is asked: the supervisor knows the state of the whole."""

Answer = Callable[[Mapping[str, Any]], Awaitable[Any]]
"""Answers a question with JSON."""


class WorkerView(NamedTuple):
    """A worker as the supervisor sees it."""

    number: int
    pid: int
    state: str
    """starting, ready or draining; `hung` while its loop stands still."""


class Gathered(NamedTuple):
    """The answers of all workers to one question."""

    state: str
    """Of the whole daemon: starting, ready or draining."""
    pid: int
    """The supervisor's."""
    started_at: float
    """Seconds since 1970."""
    workers: Sequence[WorkerView]
    answers: Mapping[str, Any]
    """By the number of the worker. A worker that did not answer within a second is missing; of TOTALS its last answer is used."""
    ended: Any
    """Of TOTALS: the counts of workers that have ended. Else None."""


class WorkersAway(Exception):
    """The supervisor does not answer."""


class Workers(Protocol):
    """All workers, seen from one of them."""

    def provide(self, what: str, answer: Answer) -> None:
        """Answer this question when another worker asks."""

    def gather(self, what: str, question: Mapping[str, Any], own: Any) -> Awaitable[Gathered]:
        """Ask all other workers; `own` is this one's answer. WorkersAway."""


class AnswersInWaiting:
    """All workers, as pages see them that a reload prepares: their answers take the place of those in force at `take_effect()` alone."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._answers: dict[str, Answer] = {}

    def provide(self, what: str, answer: Answer) -> None:
        """As Workers.provide, later."""
        self._answers[what] = answer

    def gather(self, what: str, question: Mapping[str, Any], own: Any) -> Awaitable[Gathered]:
        """As Workers.gather."""
        return self._workers.gather(what, question, own)

    def take_effect(self) -> None:
        """The pages are shown from now on."""
        for what, answer in self._answers.items():
            self._workers.provide(what, answer)


class ConnectionsOfAll:
    """The open connections of all workers: connections.OpenConnections. Each description has the number of its worker."""

    def __init__(self, own: OwnConnections, workers: Workers) -> None:
        self._own = own
        self._workers = workers
        workers.provide(CONNECTIONS, self._own_page)
        workers.provide(CLOSE, self._own_close)

    async def page(self, wanted: Filter, after: str, limit: int) -> ConnectionPage:
        """As OpenConnections.page. WorkersAway."""
        question = {"wanted": asdict(wanted), "after": after, "limit": limit}
        found = await self._workers.gather(CONNECTIONS, question, await self._own_page(question))
        pages = [
            ConnectionPage([{**one, "worker": int(number)} for one in connections], count, more)
            for number, (connections, count, more) in found.answers.items()
        ]
        return merged(pages, limit)

    async def close(self, id: str, code: int, reason: str) -> bool:
        """As OpenConnections.close. WorkersAway."""
        if await self._own.close(id, code, reason):
            return True
        found = await self._workers.gather(CLOSE, {"id": id, "code": code, "reason": reason}, False)
        return any(found.answers.values())

    async def _own_page(self, question: Mapping[str, Any]) -> list[Any]:
        page = await self._own.page(Filter(**question["wanted"]), question["after"], question["limit"])
        return [page.connections, page.count, page.more]

    async def _own_close(self, question: Mapping[str, Any]) -> bool:
        return await self._own.close(question["id"], question["code"], question["reason"])
