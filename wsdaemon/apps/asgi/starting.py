"""Starts an application's task for one client."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


def start(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """A task that begins in the loop's next turn, also if the application has set a task factory that begins at once.

    `asyncio.eager_task_factory` (Python 3.12) is one. The application must not run before the object that it belongs to is complete.
    """
    return loop.create_task(work if loop.get_task_factory() is None else _in_next_turn(work), name=name)


async def _in_next_turn(work: Coroutine[Any, Any, None]) -> None:
    try:
        await asyncio.sleep(0)
    except BaseException:
        work.close()  # the task was cancelled before the application began
        raise
    await work
