"""daemon/all_workers.py: a supervisor that does not answer, and questions that a worker cannot answer. See test_gathering for the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.support.colleagues import Team
from tests.support.fakes import Loop
from tests.support.inside import descriptors
from wsdaemon.daemon import all_workers
from wsdaemon.daemon.all_workers import MAX_OPEN, PATIENCE_SECONDS, AllWorkers
from wsdaemon.daemon.channel import MAX_WAITING_MESSAGES
from wsdaemon.ops.workers import WorkersAway


def test_a_supervisor_that_does_not_answer() -> None:
    with Loop() as loop:
        worker = Team(loop, 1).workers[1]
        worker.holds = True
        task = loop.create_task(worker.all.gather("other", {}, None))
        loop.advance(PATIENCE_SECONDS + 0.1)
        with pytest.raises(WorkersAway):
            task.result()
        worker.go_on()  # an answer that comes late
        assert not worker.all._questions


def test_a_question_that_cannot_be_answered_is_logged_and_the_others_answer() -> None:
    async def fail(question: Mapping[str, Any]) -> Any:
        raise ValueError("no")

    with Loop() as loop:
        team = Team(loop, 3)
        team.workers[2].all.provide("other", fail)
        task = loop.create_task(team.workers[1].all.gather("other", {}, None))
        loop.advance(1.1)
        assert set(task.result().answers) == {"1"}
        assert [line for _, line in team.workers[2].lines.all] == ["the question of another worker for other could not be answered"]


def test_what_is_answered_at_once_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(all_workers, "MAX_ASKED", 1)
    with Loop() as loop:
        team = Team(loop, 2)
        begun, gate = [], loop.create_future()

        async def slow(question: Mapping[str, Any]) -> Any:
            begun.append(1)
            await gate

        team.workers[2].all.provide("other", slow)
        for _ in range(3):
            loop.create_task(team.workers[1].all.gather("other", {}, None))
        loop.settle()
        assert begun == [1]
        gate.set_result(None)
        loop.advance(2)


def test_a_supervisor_that_stands_still_is_owed_a_bounded_number_of_questions() -> None:
    with Loop() as loop:
        worker = Team(loop, 1).workers[1]
        worker.holds = True
        tasks = [loop.create_task(worker.all.gather("other", {}, None)) for _ in range(MAX_OPEN + 5)]
        loop.settle()
        assert len(worker.waiting) == MAX_OPEN < MAX_WAITING_MESSAGES
        assert [task.done() for task in tasks] == [False] * MAX_OPEN + [True] * 5
        assert all(isinstance(task.exception(), WorkersAway) for task in tasks[MAX_OPEN:])
        loop.advance(PATIENCE_SECONDS + 0.1)
        assert all(task.done() and isinstance(task.exception(), WorkersAway) for task in tasks)
        late = loop.create_task(worker.all.gather("other", {}, None))
        loop.settle()
        assert isinstance(late.exception(), WorkersAway)
        assert len(worker.waiting) == MAX_OPEN, "those before have no answer yet"
        worker.go_on()
        found = loop.create_task(worker.all.gather("other", {}, None))
        loop.settle()
        assert set(found.result().answers) == {"1"}


def test_a_question_that_cannot_be_sent_leaves_nothing_behind() -> None:
    def fail(kind: str, descriptors: Sequence[int], **fields: object) -> None:
        raise ValueError("too long")

    with Loop() as loop:
        worker = AllWorkers(loop, fail)
        before = descriptors()
        task = loop.create_task(worker.gather("other", {}, None))
        loop.settle()
        with pytest.raises(ValueError, match="too long"):
            task.result()
        assert not worker._questions
        assert descriptors() == before
