"""The supervisor's watch over its children: it notices the end of each, and kills each one whose loop stands still."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from twisted.logger import Logger, LogLevel

from ..settings.daemon import DaemonSettings
from .children import LaunchedChild
from .generation import Generation
from .keeper import beneath

LOOK_SECONDS: Final = 0.25
"""Between two looks at the heartbeats."""

AWAY_SECONDS: Final = 1.0
"""If a look is late by more, the supervisor was away itself, as after a pause of the machine: the heartbeats are old for that reason."""

OVERDUE_SECONDS: Final = 10.0
"""How long after `worker_timeout` a worker that hangs may still be there before systemd gets no more signs of life."""

START_MARGIN_SECONDS: Final = 10.0
"""How long after `start_timeout` a child that is not ready is killed; by then a child whose loop turns has given up by itself."""

log = Logger(namespace="wsdaemon.supervisor")


class ChildWatch:
    """Looks after the children of all generations, four times a second."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, generations: Callable[[], Iterable[Generation]], settings: Callable[[], DaemonSettings],
        looked: Callable[[bool], object],
    ) -> None:  # fmt: skip
        """`looked` is called after each look, with whether a child that hangs does not end."""
        self._loop = loop
        self._generations = generations
        self._settings = settings
        self._told = looked
        self._looked = self._awake_since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._killing: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Look now, and again and again from now on."""
        self._awake_since = self._looked = self._loop.time()
        self._look()

    def stop(self) -> None:
        """Look no more. Does nothing if it never looked."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        if now - self._looked > LOOK_SECONDS + AWAY_SECONDS:
            self._awake_since = now
        self._looked = now
        self._timer = self._loop.call_later(LOOK_SECONDS, self._look)
        overdue = [self._look_after(generation, now) for generation in self._generations()]
        self._told(any(overdue))

    def _look_after(self, generation: Generation, now: float) -> bool:
        """Notice children that have ended, and kill those that hang. Whether one that hangs does not end."""
        settings, overdue = self._settings(), False
        for keeper in generation.keepers:
            keeper.look()
            child = keeper.child
            if child is None:
                continue
            silent = min(generation.slot(child).age(), now - self._awake_since)
            limit = settings.worker_timeout if keeper.ready else settings.start_timeout + START_MARGIN_SECONDS
            overdue = overdue or silent > limit + OVERDUE_SECONDS
            if silent > limit and not child.hung:
                child.hung = True
                task = self._loop.create_task(_kill(child, limit))
                self._killing.add(task)
                task.add_done_callback(self._killing.discard)
        return overdue


async def _kill(child: LaunchedChild, silent: float) -> None:
    """End a child whose loop stands still, and log the code that its main thread was in."""
    stack = await child.take_stack()
    what = "its loop has stood still for {seconds:g} s" if child.ready_since is not None else "it has not started within {seconds:g} s"
    where = "its main thread stood at:" if stack else "it gave no stack, because it is stopped or waits in a system call"
    child.reason = what.format(seconds=silent)
    log.emit(
        LogLevel.error, "{child} is killed: {reason}; {where}",
        child=child.name, reason=child.reason, where=where, **beneath(stack),
    )  # fmt: skip
    child.kill()
