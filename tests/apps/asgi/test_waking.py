"""apps/asgi/waking.py: a wait that ends in the turn of its reason."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest

from tests.support.fakes import Loop
from wsdaemon.apps.asgi.waking import wake, wake_now

WHO: ContextVar[str] = ContextVar("who", default="outside")


def test_the_task_goes_on_with_the_result_before_wake_now_returns() -> None:
    story: list[object] = []

    async def work(waiter: asyncio.Future[str]) -> None:
        WHO.set("task")
        story.append(await waiter)
        story.append(WHO.get())
        story.append(asyncio.current_task() is not None)

    with Loop() as loop:
        waiter: asyncio.Future[str] = loop.create_future()
        task = loop.create_task(work(waiter))
        assert not wake_now(waiter, "early"), "no task waits"
        loop.settle()
        assert wake_now(waiter, "result")
        assert story == ["result", "task", True]
        assert task.done()
        assert WHO.get() == "outside"
        assert not wake_now(waiter, "again")
        wake(waiter, "again")


def test_a_result_may_come_before_the_wait() -> None:
    async def work(waiter: asyncio.Future[str]) -> str:
        return await waiter

    with Loop() as loop:
        waiter: asyncio.Future[str] = loop.create_future()
        wake(waiter, "early")
        task = loop.create_task(work(waiter))
        loop.settle()
        assert task.result() == "early"


def test_within_another_task_it_waits_for_the_next_turn() -> None:
    story: list[str] = []

    async def work(waiter: asyncio.Future[str]) -> None:
        story.append(await waiter)

    async def other(waiter: asyncio.Future[str]) -> None:
        assert not wake_now(waiter, "now")
        wake(waiter, "woken")
        story.append("asked")

    with Loop() as loop:
        waiter: asyncio.Future[str] = loop.create_future()
        loop.create_task(work(waiter))
        loop.settle()
        loop.create_task(other(waiter))
        loop.settle()
        assert story == ["asked", "woken"]


def test_several_tasks_that_wait_go_on_in_the_next_turn() -> None:
    async def work(waiter: asyncio.Future[str]) -> str:
        return await waiter

    with Loop() as loop:
        waiter: asyncio.Future[str] = loop.create_future()
        tasks = [loop.create_task(work(waiter)) for _ in range(2)]
        loop.settle()
        assert not wake_now(waiter, "now")
        wake(waiter, "later")
        assert not any(task.done() for task in tasks)
        loop.settle()
        assert [task.result() for task in tasks] == ["later", "later"]


def test_a_cancelled_task_gets_its_error_in_a_turn_of_its_own() -> None:
    story: list[str] = []

    async def work(waiter: asyncio.Future[str]) -> None:
        try:
            await waiter
        except asyncio.CancelledError:
            story.append("cancelled")

    with Loop() as loop:
        waiter: asyncio.Future[str] = loop.create_future()
        task = loop.create_task(work(waiter))
        loop.settle()
        task.cancel()
        assert not wake_now(waiter, "late")
        wake(waiter, "late")
        assert story == []
        loop.settle()
        assert story == ["cancelled"]
        assert task.done()


def test_an_error_of_the_task_is_the_tasks_own() -> None:
    async def work(waiter: asyncio.Future[None]) -> None:
        await waiter
        raise ValueError("mine")

    with Loop() as loop:
        waiter: asyncio.Future[None] = loop.create_future()
        task = loop.create_task(work(waiter))
        loop.settle()
        assert wake_now(waiter, None)
        with pytest.raises(ValueError, match="mine"):
            task.result()
