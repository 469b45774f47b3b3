"""The supervisor's part in questions of one worker to all: it asks the others, waits up to a second, and answers.

Messages of the channel (see `channel`); contents are JSON in memory files:

    gather    request, what, question; the asker's own answer      worker to supervisor
    asked     request, what, question                               supervisor to the other workers
    told      request, what; the answer                             worker to supervisor; without a question as its last word
    gathered  request; everything, see ops.workers.Gathered         supervisor to the asker

A worker that hangs is not waited for. Of the metrics the last answer of each worker is kept: it stands for a worker that hangs, and is
added to the sum of the ended when the worker ends. So the counters of all workers together never fall.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..ops.totals import from_json, to_json, with_ended
from ..ops.workers import STATE, TOTALS, WorkerView
from .channel import Message, close_all
from .memory_files import read_memory, write_memory

PATIENCE_SECONDS = 1.0
"""A worker that does not answer in this time counts as hung, as everywhere in the daemon."""

MAX_UNANSWERED = 8
"""Questions that a worker may owe an answer to. It is asked no more until it answers, so that its channel never fills."""

MAX_UNDER_WAY = 256
"""Questions under way of all workers together. One more is answered with what is known already."""


class Colleague(Protocol):
    """A worker, as the supervisor reaches it. One object for each process."""

    @property
    def number(self) -> int: ...

    @property
    def pid(self) -> int: ...

    @property
    def state(self) -> str:
        """starting, ready or draining."""

    @property
    def beats(self) -> bool:
        """Whether its loop turned within the last second."""

    def send(self, kind: str, descriptors: Sequence[int] = (), **fields: object) -> None: ...


@dataclass(slots=True)
class _Round:
    """One question that is under way."""

    asker: Colleague
    request: int
    what: str
    waits_for: set[int]
    answers: dict[int, bytes] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None


class Gathering:
    """All questions that are under way, and the last metrics of each worker."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, workers: Callable[[], Sequence[Colleague]], state: Callable[[], str], pid: int,
        started_at: float,
    ) -> None:  # fmt: skip
        """`workers` returns those that run, `state` the daemon's state. `pid` and `started_at` are the supervisor's."""
        self._loop = loop
        self._workers = workers
        self._state = state
        self._pid = pid
        self._started_at = started_at
        self._last: dict[int, bytes] = {}
        self._ended: list[Any] = []
        self._rounds: dict[int, _Round] = {}
        self._unanswered: dict[int, set[int]] = {}
        self._number = 0

    def received(self, worker: Colleague, message: Message, descriptors: Sequence[int]) -> bool:
        """A message of a worker. Whether it was one of these; then its descriptors are closed."""
        kind = message["kind"]
        if kind not in ("gather", "told"):
            return False
        content = read_memory(descriptors[0]) if descriptors else b"null"
        close_all(descriptors)
        if message["what"] == TOTALS:
            self._last[worker.number] = content
        if kind == "gather":
            self._begin(worker, int(message["request"]), str(message["what"]), message["question"], content)
        else:
            number = int(message.get("request", 0))
            self._unanswered.get(worker.number, set()).discard(number)
            one = self._rounds.get(number)
            if one is not None and worker.number in one.waits_for:
                one.waits_for.discard(worker.number)
                one.answers[worker.number] = content
                self._look(number)
        return True

    def ended(self, number: int) -> None:
        """The process of this worker has ended: its last counts stay."""
        self._unanswered.pop(number, None)
        last = self._last.pop(number, None)
        if last is not None:
            self._ended = to_json(with_ended(from_json(self._ended), str(number), from_json(json.loads(last))))
        for key, one in list(self._rounds.items()):
            one.answers.pop(number, None)  # its counts would be there twice
            one.waits_for.discard(number)
            if one.asker.number == number:
                self._finish(key)
            else:
                self._look(key)

    @property
    def quiet(self) -> bool:
        """Whether no question is under way."""
        return not self._rounds

    def left(self) -> dict[str, Any]:
        """The counts that must live on when the program of the supervisor changes."""
        return {"last": {str(number): json.loads(last) for number, last in self._last.items()}, "ended": self._ended}

    def take_over(self, left: Mapping[str, Any]) -> None:
        """The counts that the program before has left."""
        self._last = {int(number): json.dumps(last, separators=(",", ":")).encode() for number, last in left["last"].items()}
        self._ended = list(left["ended"])

    def rename(self, numbers: Mapping[int, int]) -> None:
        """Workers get other numbers, because a new generation has theirs. Questions under way are answered with what is known."""
        for key in list(self._rounds):
            self._finish(key)
        self._last = {numbers.get(number, number): last for number, last in self._last.items()}
        self._unanswered.clear()

    def close(self) -> None:
        for one in self._rounds.values():
            if one.timer is not None:
                one.timer.cancel()
        self._rounds.clear()

    def _begin(self, asker: Colleague, request: int, what: str, question: Mapping[str, Any], own: bytes) -> None:
        self._number += 1
        number, others = self._number, [each for each in self._workers() if each.number != asker.number]
        one = _Round(asker, request, what, set(), {asker.number: own})
        self._rounds[number] = one
        if what != STATE and len(self._rounds) <= MAX_UNDER_WAY:
            for each in others:
                owes = self._unanswered.setdefault(each.number, set())
                if each.beats and len(owes) < MAX_UNANSWERED:
                    owes.add(number)
                    one.waits_for.add(each.number)
                    each.send("asked", request=number, what=what, question=question)
        if one.waits_for:
            one.timer = self._loop.call_later(PATIENCE_SECONDS, self._finish, number)
        else:
            self._finish(number)

    def _look(self, number: int) -> None:
        if number in self._rounds and not self._rounds[number].waits_for:
            self._finish(number)

    def _finish(self, number: int) -> None:
        one = self._rounds.pop(number)
        if one.timer is not None:
            one.timer.cancel()
        views = [WorkerView(each.number, each.pid, _shown(each)) for each in self._workers()]
        answers = {**(self._last if one.what == TOTALS else {}), **one.answers}
        head = {"state": self._state(), "pid": self._pid, "started_at": self._started_at, "workers": views}
        if one.what == TOTALS:
            head["ended"] = self._ended
        shown = b",".join(b'"%d":%s' % pair for pair in sorted(answers.items()))
        content = json.dumps(head, separators=(",", ":")).encode()[:-1] + b',"answers":{' + shown + b"}}"
        descriptor = write_memory(content)
        one.asker.send("gathered", [descriptor], request=one.request)
        close_all([descriptor])


def _shown(worker: Colleague) -> str:
    """The state of a worker, as pages show it."""
    return worker.state if worker.beats or worker.state == "starting" else "hung"
