"""The workers as the supervisor's part in questions to all of them sees them: gathering.Colleague."""

from __future__ import annotations

from collections.abc import Sequence

from .children import LaunchedChild
from .heartbeats import Slot, SlotState
from .parts import State


class RunningWorker:
    """The process of one worker."""

    def __init__(self, child: LaunchedChild, slot: Slot) -> None:
        self._child = child
        self._slot = slot

    @property
    def number(self) -> int:
        return self._child.number

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
