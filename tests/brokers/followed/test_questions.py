"""brokers/followed/questions.py: questions are asked again after a loss, until their time is over."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Iterator

import pytest

from tests.support.fakes import Loop
from wsdaemon.brokers.errors import BrokerClosed, BrokerUnavailable, RoomFull
from wsdaemon.brokers.followed import questions as module
from wsdaemon.brokers.followed.questions import AGAIN_SECONDS, PatientQuestions


class Asked:
    """The futures that a link would answer."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.futures: list[Future[str]] = []
        self.questions = PatientQuestions(5.0, lambda: loop)

    def __call__(self) -> Future[str]:
        self.futures.append(self.loop.create_future())
        return self.futures[-1]

    def lose(self) -> None:
        self.questions.lost()
        self.futures[-1].set_exception(BrokerUnavailable("cut"))
        self.loop.settle()


@pytest.fixture
def asked() -> Iterator[Asked]:
    with Loop() as loop:
        yield Asked(loop)
        loop.settle()
        assert loop.problems == []


def test_a_question_waits_for_the_link_and_is_asked_again_after_each_loss(asked: Asked) -> None:
    answer = asked.questions.ask(asked)
    assert asked.futures == []
    asked.questions.restored()
    assert len(asked.futures) == 1
    asked.lose()
    assert not answer.done() and len(asked.futures) == 1
    asked.questions.restored()
    asked.futures[1].set_result("here")
    asked.loop.settle()
    assert answer.result() == "here" and len(asked.questions) == 0


def test_a_link_that_is_connected_and_cannot_answer_is_asked_again_after_a_pause(asked: Asked) -> None:
    asked.questions.restored()
    answer = asked.questions.ask(asked)
    asked.futures[0].set_exception(BrokerUnavailable("this one only"))
    asked.loop.settle()
    assert len(asked.futures) == 1
    asked.loop.advance(AGAIN_SECONDS)
    asked.futures[1].set_result("here")
    asked.loop.settle()
    assert answer.result() == "here"


def test_errors_of_the_order_come_through(asked: Asked) -> None:
    asked.questions.restored()
    answer = asked.questions.ask(asked)
    asked.futures[0].set_exception(RoomFull("full"))
    asked.loop.settle()
    assert isinstance(answer.exception(), RoomFull)


@pytest.mark.parametrize("connected", [True, False])
def test_each_question_ends_in_its_time(asked: Asked, connected: bool) -> None:
    if connected:
        asked.questions.restored()
    first = asked.questions.ask(asked)
    asked.loop.advance(3.0)
    second = asked.questions.ask(asked)
    asked.loop.advance(2.0)
    assert isinstance(first.exception(), BrokerUnavailable) and not second.done()
    asked.loop.advance(3.0)
    assert isinstance(second.exception(), BrokerUnavailable)
    assert len(asked.questions) == asked.loop.timers == 0


def test_a_caller_that_is_cancelled_is_forgotten(asked: Asked) -> None:
    answer = asked.questions.ask(asked)
    answer.cancel()
    asked.loop.settle()
    asked.questions.restored()
    assert asked.futures == [] and len(asked.questions) == 0


def test_there_is_a_bound(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_QUESTIONS", 2)
    answers = [asked.questions.ask(asked) for _ in range(3)]
    assert [answer.done() for answer in answers] == [False, False, True]
    assert isinstance(answers[2].exception(), BrokerUnavailable)
    asked.questions.close()
    assert all(isinstance(answer.exception(), BrokerClosed) for answer in answers[:2])
    assert isinstance(asked.questions.ask(asked).exception(), BrokerClosed)
    assert asked.loop.timers == 0
