"""A supervisor and its workers in memory, joined by channels that keep nothing back."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from tests.support.fakes import Loop
from tests.support.lines import Lines
from wsdaemon.daemon.all_workers import AllWorkers
from wsdaemon.daemon.gathering import Gathering


class FakeColleague:
    """A worker's process. `holds`: its loop stands still, so its messages wait."""

    def __init__(self, team: Team, number: int) -> None:
        self.number = number
        self.pid = 100 + number
        self.state = "ready"
        self.beats = True
        self.holds = False
        self.waiting: list[tuple[dict[str, Any], list[int]]] = []
        self.lines = Lines()
        self.team = team
        self.all = AllWorkers(team.loop, self._to_supervisor, self.lines)

    def send(self, kind: str, descriptors: Sequence[int] = (), **fields: object) -> None:
        """From the supervisor."""
        self.waiting.append((json.loads(json.dumps({"kind": kind, **fields})), [os.dup(each) for each in descriptors]))
        if not self.holds:
            self.go_on()

    def go_on(self) -> None:
        self.holds = False
        while self.waiting:
            assert self.all.received(*self.waiting.pop(0))

    def _to_supervisor(self, kind: str, descriptors: Sequence[int] = (), **fields: object) -> None:
        message = json.loads(json.dumps({"kind": kind, **fields}))
        assert self.team.gathering.received(self, message, [os.dup(each) for each in descriptors])


class Team:
    """A supervisor with workers."""

    def __init__(self, loop: Loop, count: int) -> None:
        self.loop = loop
        self.state = "ready"
        self.workers = {number: FakeColleague(self, number) for number in range(1, count + 1)}
        self.gathering = Gathering(loop, lambda: list(self.workers.values()), lambda: self.state, 99, 1_790_000_000.5)

    def end(self, number: int) -> None:
        """The process of a worker ends."""
        for _, descriptors in self.workers[number].waiting:
            for each in descriptors:
                os.close(each)
        del self.workers[number]
        self.gathering.ended(number)

    def begin(self, number: int) -> FakeColleague:
        self.workers[number] = FakeColleague(self, number)
        return self.workers[number]
