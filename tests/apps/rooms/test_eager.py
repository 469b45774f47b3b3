"""apps/rooms/eager.py: work that is done at once as far as it goes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.fakes import Loop
from wsdaemon.apps.rooms.eager import eagerly


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as loop:
        yield loop


class Work:
    def __init__(self) -> None:
        self.log: list[object] = []

    async def run(self, *futures: asyncio.Future[object]) -> None:
        self.log.append("begun")
        try:
            for future in futures:
                self.log.append(await future)
        except BaseException as error:
            self.log.append(type(error))
            raise
        self.log.append("done")


def test_what_waits_for_nothing_is_done_at_once(loop: Loop) -> None:
    work = Work()
    assert eagerly(work.run()) is None
    assert work.log == ["begun", "done"]


def test_what_waits_goes_on_when_it_may(loop: Loop) -> None:
    work = Work()
    first, second = loop.create_future(), loop.create_future()
    rest = eagerly(work.run(first, second))
    assert rest is not None and work.log == ["begun"]
    first.set_result(1)  # before anybody awaits the rest
    task = asyncio.ensure_future(rest)
    loop.settle()
    assert work.log == ["begun", 1] and not task.done()
    second.set_result(2)
    loop.settle()
    assert work.log == ["begun", 1, 2, "done"] and task.done()


def test_errors_come_through(loop: Loop) -> None:
    async def broken(future: asyncio.Future[None] | None = None) -> None:
        if future is not None:
            await future
        raise ValueError("broken")

    with pytest.raises(ValueError):
        eagerly(broken())
    future = loop.create_future()
    rest = eagerly(broken(future))
    assert rest is not None
    task = asyncio.ensure_future(rest)
    future.set_result(None)
    loop.settle()
    assert isinstance(task.exception(), ValueError)


def test_a_failure_that_it_waits_for_and_a_cancellation_are_its_own(loop: Loop) -> None:
    work, other = Work(), Work()
    failing, hanging = loop.create_future(), loop.create_future()
    tasks = [asyncio.ensure_future(rest) for rest in (eagerly(work.run(failing)), eagerly(other.run(hanging))) if rest is not None]
    loop.settle()
    failing.set_exception(KeyError("k"))
    tasks[1].cancel()
    loop.settle()
    assert work.log == ["begun", KeyError] and isinstance(tasks[0].exception(), KeyError)
    assert other.log == ["begun", asyncio.CancelledError] and tasks[1].cancelled()
