"""apps/rooms/pipeline.py: publications of one client that are under way."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Iterator

import pytest

from tests.support.fakes import Loop
from wsdaemon.apps.rooms.pipeline import MAX_UNDER_WAY, Pipeline
from wsdaemon.brokers.contract import Published
from wsdaemon.brokers.errors import BrokerUnavailable

DONE = Published("e", 1, False, 0)


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as made:
        yield made
        made.settle()
        assert made.problems == []


def test_a_connection_reads_on_until_it_has_many_publications_under_way(loop: Loop) -> None:
    failures: list[BaseException] = []
    pipeline = Pipeline(failures.append)
    answers: list[Future[Published]] = [loop.create_future() for _ in range(MAX_UNDER_WAY + 1)]
    waits = [pipeline.add(answer) for answer in answers[:MAX_UNDER_WAY]]
    assert waits[:-1] == [None] * (MAX_UNDER_WAY - 1)
    space = waits[-1]
    assert space is not None and not space.done()
    answers[0].set_result(DONE)
    loop.settle()
    assert space.done() and failures == []
    assert pipeline.add(answers[-1]) is not None


def test_an_error_is_reported_and_makes_room_too(loop: Loop) -> None:
    failures: list[BaseException] = []
    pipeline = Pipeline(failures.append)
    answers: list[Future[Published]] = [loop.create_future() for _ in range(MAX_UNDER_WAY)]
    for answer in answers:
        pipeline.add(answer)
    answers[3].set_exception(BrokerUnavailable("away"))
    answers[4].cancel()
    loop.settle()
    assert [type(failure) for failure in failures] == [BrokerUnavailable]
