"""daemon/gathering.py with daemon/all_workers.py: questions of one worker to all, even if workers hang or end meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.support.colleagues import FakeColleague, Team
from tests.support.fakes import Loop
from wsdaemon.daemon import gathering as module
from wsdaemon.daemon.gathering import MAX_UNANSWERED, PATIENCE_SECONDS, Gathering
from wsdaemon.ops.totals import Family, Series, from_json, merged, to_json
from wsdaemon.ops.workers import STATE, TOTALS, Gathered, WorkerView


@pytest.fixture
def team() -> Iterator[Team]:
    with Loop() as loop:
        made = Team(loop, 3)
        for worker in made.workers.values():
            answers(worker, 0)
        yield made
        made.gathering.close()


def answers(worker: FakeColleague, count: int) -> None:
    """Let the worker tell so many messages."""

    async def totals(question: Mapping[str, Any]) -> Any:
        return snapshot(count)

    async def other(question: Mapping[str, Any]) -> Any:
        return {"number": worker.number, **question}

    worker.all.provide(TOTALS, totals)
    worker.all.provide("other", other)


def snapshot(count: int) -> Any:
    return to_json([Family("messages", "Messages.", "counter", [Series("messages_total", {}, count)])])


def ask(team: Team, number: int, what: str, own: Any, seconds: float = 0.0, **question: Any) -> Gathered:
    task = ask_later(team, number, what, own, **question)
    team.loop.advance(seconds)
    team.loop.settle()
    return task.result()


def ask_later(team: Team, number: int, what: str, own: Any, **question: Any) -> asyncio.Task[Gathered]:
    task = team.loop.create_task(team.workers[number].all.gather(what, question, own))
    team.loop.settle()
    return task


def total(found: Gathered) -> float:
    snapshots = {number: from_json(one) for number, one in found.answers.items()}
    return sum(one.value for family in merged(snapshots, from_json(found.ended)) for one in family.samples)


def test_all_workers_answer(team: Team) -> None:
    found = ask(team, 2, "other", "mine", word="é")
    assert found.answers == {"1": {"number": 1, "word": "é"}, "2": "mine", "3": {"number": 3, "word": "é"}}
    assert (found.state, found.pid, found.started_at, found.ended) == ("ready", 99, 1_790_000_000.5, None)
    assert found.workers == [WorkerView(number, 100 + number, "ready") for number in (1, 2, 3)]


def test_the_state_is_the_supervisors_and_asks_nobody(team: Team) -> None:
    team.workers[1].beats = False
    team.state = team.workers[3].state = "draining"
    found = ask(team, 2, STATE, None)
    assert found.state == "draining"
    assert [view.state for view in found.workers] == ["hung", "ready", "draining"]


def test_a_worker_that_does_not_answer_is_waited_for_a_second(team: Team) -> None:
    team.workers[3].holds = True
    task = ask_later(team, 1, "other", "mine")
    team.loop.advance(PATIENCE_SECONDS - 0.1)
    assert not task.done()
    team.loop.advance(0.2)
    assert set(task.result().answers) == {"1", "2"}
    team.workers[3].go_on()  # no question waits for its late answer
    team.loop.settle()


def test_a_worker_without_a_heartbeat_is_not_waited_for(team: Team) -> None:
    team.workers[3].beats = False
    assert set(ask(team, 1, "other", "mine").answers) == {"1", "2"}
    assert team.workers[3].waiting == []


def test_the_last_counts_of_a_worker_that_hangs_are_used(team: Team) -> None:
    for number, worker in team.workers.items():
        answers(worker, 10 * number)
    assert total(ask(team, 1, TOTALS, snapshot(10))) == 60
    answers(team.workers[3], 31)
    team.workers[3].holds = True
    assert total(ask(team, 1, TOTALS, snapshot(10), PATIENCE_SECONDS)) == 60
    team.workers[3].go_on()
    team.loop.settle()
    assert total(ask(team, 1, TOTALS, snapshot(10))) == 61


def test_the_last_counts_of_a_worker_that_has_ended_stay(team: Team) -> None:
    answers(team.workers[3], 30)
    assert total(ask(team, 1, TOTALS, snapshot(10))) == 40
    team.end(3)
    assert total(ask(team, 1, TOTALS, snapshot(10))) == 40
    answers(team.begin(3), 1)
    assert total(ask(team, 1, TOTALS, snapshot(10))) == 41
    team.end(3)
    answers(team.workers[1], 10)
    assert total(ask(team, 2, TOTALS, snapshot(2))) == 43


def test_a_worker_that_ends_tells_its_last_counts(team: Team) -> None:
    worker = team.workers[2]
    answers(worker, 7)
    task = team.loop.create_task(worker.all.tell_last(TOTALS))
    team.loop.settle()
    task.result()
    team.end(2)
    assert total(ask(team, 1, TOTALS, snapshot(0))) == 7


def test_a_worker_that_ends_during_a_question_counts_once(team: Team) -> None:
    answers(team.workers[2], 5)
    team.workers[3].holds = True
    task = ask_later(team, 1, TOTALS, snapshot(10))
    team.end(2)
    team.workers[3].go_on()
    team.loop.settle()
    assert total(task.result()) == 15


def test_an_asker_that_ends_is_answered_no_more(team: Team) -> None:
    team.workers[3].holds = True
    task = ask_later(team, 1, "other", "mine")
    team.end(1)
    assert not team.gathering._rounds
    task.cancel()
    assert set(ask(team, 2, "other", "mine", PATIENCE_SECONDS).answers) == {"2"}


def test_a_worker_that_owes_answers_is_asked_no_more(team: Team) -> None:
    """Or its channel would fill, which ends it."""
    team.workers[3].holds = True
    for _ in range(MAX_UNANSWERED + 5):
        asked = ask(team, 1, "other", "mine", PATIENCE_SECONDS)
    assert len(team.workers[3].waiting) == MAX_UNANSWERED
    assert set(asked.answers) == {"1", "2"}
    team.workers[3].go_on()
    team.loop.settle()
    assert set(ask(team, 1, "other", "mine").answers) == {"1", "2", "3"}


def test_questions_under_way_are_bounded(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_UNDER_WAY", 1)
    team.workers[3].holds = True
    asked = ask_later(team, 1, "other", "mine")
    assert set(ask(team, 2, "other", "mine").answers) == {"2"}
    team.loop.advance(PATIENCE_SECONDS)
    assert set(asked.result().answers) == {"1", "2"}


def test_counts_live_on_when_the_program_changes(team: Team) -> None:
    before, after = team.gathering, Gathering(team.loop, list, lambda: "ready", 1, 0.0)
    before._last, before._ended = {1: b'[["a",1]]', 2: b"[]"}, [["b", 2]]
    after.take_over(json.loads(json.dumps(before.left())))
    assert (after._last, after._ended) == (before._last, before._ended)
    after.rename({1: 1001, 2: 1002})
    assert list(after._last) == [1001, 1002]
