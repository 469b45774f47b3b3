"""apps/asgi/waking.py: a wait that ends in the turn of its reason."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest

from tests.support.fakes import Loop
from wsdaemon.apps.asgi.waking import Waking

WHO: ContextVar[str] = ContextVar("who", default="outside")


def test_the_task_goes_on_before_wake_returns() -> None:
    story: list[str] = []

    async def work(waking: Waking) -> None:
        WHO.set("task")
        while True:
            await waking
            task = asyncio.current_task()
            assert task is not None
            story.append(WHO.get())

    with Loop() as loop:
        waking = Waking(loop)
        loop.create_task(work(waking))
        assert not waking.occupied
        waking.wake()
        loop.settle()
        assert waking.occupied
        waking.wake()
        waking.wake()
        assert story == ["task", "task"]
        assert waking.occupied
        assert WHO.get() == "outside"


def test_within_another_task_it_waits_for_the_next_turn() -> None:
    story: list[str] = []

    async def work(waking: Waking) -> None:
        await waking
        story.append("woken")

    async def other(waking: Waking) -> None:
        waking.wake()
        story.append("asked")

    with Loop() as loop:
        waking = Waking(loop)
        loop.create_task(work(waking))
        loop.settle()
        loop.create_task(other(waking))
        loop.settle()
        assert story == ["asked", "woken"]


def test_a_cancelled_task_gets_its_error_and_can_wait_again() -> None:
    story: list[str] = []

    async def work(waking: Waking) -> None:
        try:
            await waking
        except asyncio.CancelledError:
            story.append("cancelled")
        await waking
        story.append("woken")

    with Loop() as loop:
        waking = Waking(loop)
        task = loop.create_task(work(waking))
        loop.settle()
        task.cancel()
        waking.wake()
        assert story == [], "the cancellation comes first, in its own turn"
        loop.settle()
        assert story == ["cancelled"]
        waking.wake()
        assert story == ["cancelled", "woken"]
        assert task.done()
        assert not waking.cancel()


def test_an_error_of_the_task_is_the_tasks_own() -> None:
    async def work(waking: Waking) -> None:
        await waking
        raise ValueError("mine")

    with Loop() as loop:
        waking = Waking(loop)
        task = loop.create_task(work(waking))
        loop.settle()
        waking.wake()
        with pytest.raises(ValueError, match="mine"):
            task.result()
