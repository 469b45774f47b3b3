"""Places over all workers, answered by a test."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from wsdaemon.edge.request import BadRequest
from wsdaemon.edge.shared import SharedLimit, SharedRate


class FakeRequest:
    """A place that was asked for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Sequence[SharedLimit], rates: Sequence[SharedRate]) -> None:
        self.answer: asyncio.Future[BadRequest | None] = loop.create_future()
        self.limits = list(limits)
        self.rates = list(rates)
        self.leaves = 0

    def leave(self) -> None:
        self.leaves += 1

    def decide(self, refusal: BadRequest | None = None) -> None:
        self.answer.set_result(refusal)
        self.answer.get_loop().settle()  # type: ignore[attr-defined]


class FakePlaces:
    """Writes down what is asked."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.asked: list[FakeRequest] = []
        self.retry_after = 0.0
        self._loop = loop

    def ask(self, limits: Sequence[SharedLimit], rates: Sequence[SharedRate], retry_after: float) -> FakeRequest:
        self.retry_after = retry_after
        self.asked.append(FakeRequest(self._loop, limits, rates))
        return self.asked[-1]

    def move(self, limits: Sequence[SharedLimit]) -> FakeRequest:
        self.asked.append(FakeRequest(self._loop, limits, ()))
        self.asked[-1].answer.set_result(None)
        return self.asked[-1]
