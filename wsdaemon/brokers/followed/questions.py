"""Questions to the order of rooms: each is asked again after a loss of the link, until it is answered or its time is over."""

from __future__ import annotations

from asyncio import AbstractEventLoop, Future, TimerHandle
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from ..errors import BrokerClosed, BrokerUnavailable

T = TypeVar("T")

MAX_QUESTIONS = 20_000
"""Questions that wait for their answers. A connection has one at most; more than these are refused at once."""

AGAIN_SECONDS = 0.1
"""Until a question is asked again that the link could not answer though it is connected."""


def no_answer(timeout: float) -> BrokerUnavailable:
    """The error for a question whose time is over."""
    return BrokerUnavailable(f"the order of these rooms is kept in another process, which has not answered for {timeout:g} seconds")


class _PatientQuestion:
    __slots__ = ("ask", "asked", "due", "future")

    def __init__(self, ask: Callable[[], Future[Any]], future: Future[Any], due: float) -> None:
        self.ask = ask
        self.asked = False
        self.due = due
        self.future = future


class PatientQuestions:
    """The questions of one broker. Each has `timeout` seconds; `loop` returns the running loop."""

    def __init__(self, timeout: float, loop: Callable[[], AbstractEventLoop]) -> None:
        self._timeout = timeout
        self._loop = loop
        self._connected = False
        self._closed = False
        self._open: dict[_PatientQuestion, None] = {}  # oldest first
        self._timer: TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def ask(self, ask: Callable[[], Future[T]]) -> Future[T]:
        """The answer to `ask()`, which is called now, or as soon as the link is restored.

        Errors: those of the order, BrokerUnavailable after `timeout` seconds, BrokerClosed.
        """
        loop = self._loop()
        future: Future[T] = loop.create_future()
        if self._closed:
            future.set_exception(BrokerClosed("the broker is closed"))
        elif len(self._open) >= MAX_QUESTIONS:
            future.set_exception(BrokerUnavailable("too many requests wait for the process that keeps these rooms"))
        else:
            question = _PatientQuestion(ask, future, loop.time() + self._timeout)
            self._open[question] = None
            future.add_done_callback(lambda _: self._open.pop(question, None))
            if self._timer is None:
                self._timer = loop.call_at(question.due, self._expire)
            if self._connected:
                self._send(question)
        return future

    def lost(self) -> None:
        """The link is lost. Its unanswered questions fail, and wait here."""
        self._connected = False

    def restored(self) -> None:
        """Ask all questions that wait."""
        self._connected = True
        for question in list(self._open):
            self._again(question)

    def close(self) -> None:
        """Fail all questions."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for question in list(self._open):
            if not question.future.done():
                question.future.set_exception(BrokerClosed("the broker is closed"))

    def _send(self, question: _PatientQuestion) -> None:
        question.asked = True
        question.ask().add_done_callback(partial(self._answered, question))

    def _again(self, question: _PatientQuestion) -> None:
        if self._connected and not question.asked and not question.future.done():
            self._send(question)

    def _answered(self, question: _PatientQuestion, answer: Future[Any]) -> None:
        question.asked = False
        error = BrokerUnavailable("the link has ended") if answer.cancelled() else answer.exception()
        if question.future.done():
            return
        if isinstance(error, BrokerUnavailable):
            if self._connected:
                self._loop().call_later(AGAIN_SECONDS, self._again, question)
        elif error is not None:
            question.future.set_exception(error)
        else:
            question.future.set_result(answer.result())

    def _expire(self) -> None:
        self._timer = None
        now = self._loop().time()
        for question in list(self._open):
            if question.due > now:
                self._timer = self._loop().call_at(question.due, self._expire)
                return
            if not question.future.done():
                question.future.set_exception(no_answer(self._timeout))
            self._open.pop(question, None)
