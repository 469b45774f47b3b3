"""Ends a task's wait in the very turn of the loop in which its reason comes.

A future wakes its task in the loop's next turn. For an application that waits in `receive()` that turn would be the dearest part of a
message, and each answer would leave in a write of its own, instead of one write for all that was made in a read.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

T = TypeVar("T")


def wake_now(waiter: asyncio.Future[T], result: T) -> bool:
    """Let the one task that waits for `waiter` go on before this returns. False, and nothing is done, if another task is running, or if
    something else than one task waits.
    """
    waiting = waiter._callbacks
    if not waiting or len(waiting) > 1 or asyncio.current_task(waiter.get_loop()) is not None:
        return False
    callback, context = waiting[0]
    waiter.remove_done_callback(callback)
    waiter.set_result(result)
    context.run(callback, waiter)
    return True


def wake(waiter: asyncio.Future[T], result: T) -> None:
    """End the wait for `waiter`: now, or if that cannot be, in the loop's next turn."""
    if not waiter.done() and not wake_now(waiter, result):
        waiter.set_result(result)
