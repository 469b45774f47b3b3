"""apps/asgi/starting.py: when an application's task begins."""

from __future__ import annotations

import asyncio
import inspect
import sys
from typing import Any

import pytest

from tests.apps.asgi.test_http import answering, answers, hosted, length, post
from tests.support.admission import Visitor
from tests.support.asgi import Host, echo
from tests.support.fakes import House, Loop, request, text
from wsdaemon.apps.asgi.starting import start


def arrive(host: Host, data: bytes) -> Visitor:
    """A client that comes in a callback of the loop: tasks begin at once only while the loop runs."""
    visitors: list[Visitor] = []
    host.loop.call_soon(lambda: visitors.append(host.door.arrive(data)))
    host.loop.settle()
    return visitors[0]


def plain_task(loop: asyncio.AbstractEventLoop, work: Any, **named: Any) -> asyncio.Task[Any]:
    return asyncio.Task(work, loop=loop, **named)


FACTORIES: list[Any] = [plain_task]
"""Factories that an application may set. Tasks that begin at once came with Python 3.12."""
if sys.version_info >= (3, 12):
    FACTORIES.append(asyncio.eager_task_factory)

with_each_factory = pytest.mark.parametrize("factory", FACTORIES)


@with_each_factory
@pytest.mark.parametrize("app", [length, answering(body=b"3")], ids=["receives first", "answers at once"])
def test_an_answer_of_an_application_that_sets_a_task_factory(made: House, app: Any, factory: Any) -> None:
    host = hosted(made, app)
    host.loop.set_task_factory(factory)
    [(status, _, body)] = answers(arrive(host, post(b"abc")), "POST")
    assert (status, body) == (200, b"3")


@with_each_factory
def test_a_websocket_of_an_application_that_sets_a_task_factory(made: House, factory: Any) -> None:
    host = Host(made, echo)
    host.loop.set_task_factory(factory)
    visitor = arrive(host, request("/chat"))
    visitor.transport.receive(text("hello"))
    host.loop.settle()
    assert visitor.answer.startswith("HTTP/1.1 101 ") and visitor.answer.endswith("hello")


def test_nothing_runs_before_start_returns() -> None:
    story: list[str] = []

    async def work() -> None:
        story.append("begun")

    with Loop() as loop:
        for factory in (None, plain_task):
            loop.set_task_factory(factory)
            story.clear()
            task = start(loop, work(), "name")
            assert (story, task.get_name()) == ([], "name")
            loop.settle()
            assert (story, task.done()) == (["begun"], True)


def test_a_task_that_is_cancelled_before_it_begins_runs_nothing() -> None:
    async def work() -> None:
        raise AssertionError("it has begun")

    with Loop() as loop:
        loop.set_task_factory(plain_task)
        coroutine = work()
        task = start(loop, coroutine, "name")
        loop.turn()
        task.cancel()
        loop.settle()
        assert task.cancelled()
        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
