"""The workers as the supervisor's part in questions to all of them sees them: gathering.Colleague."""

from __future__ import annotations

from collections.abc import Sequence

from .children import LaunchedChild
from .heartbeats import Slot, SlotState
from .parts import State

GENERATION_STEP = 1000
"""More than there can be workers."""


def shown_number(number: int, former: int) -> int:
    """The number of a worker among all: worker 2 of the former generation 3 is 3002, because the newer one has a worker 2 too."""
    return former * GENERATION_STEP + number


class RunningWorker:
    """The process of one worker."""

    def __init__(self, child: LaunchedChild, slot: Slot, former: int = 0) -> None:
        """`former`: the number of its generation, if a newer one serves."""
        self._child = child
        self._slot = slot
        self.number = shown_number(child.number, former)

    @property
    def pid(self) -> int:
        return self._child.process.pid

    @property
    def state(self) -> str:
        """starting, ready or draining."""
        if self._child.ready_since is None:
            return str(State.STARTING.value)
        return str((State.DRAINING if self._slot.state is SlotState.STOPPING else State.READY).value)

    @property
    def beats(self) -> bool:
        """Whether its loop turned within the last second. One that has not begun to serve is not asked."""
        return self._slot.live

    def send(self, kind: str, descriptors: Sequence[int] = (), **fields: object) -> None:
        self._child.channel.send(kind, descriptors, **fields)
