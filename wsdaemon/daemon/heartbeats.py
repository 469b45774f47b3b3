"""The page that all processes of one daemon share, and the rule by which workers share new connections.

Each process owns one slot of the page and is its only writer, so there are no locks: a slot is a few 64-bit words, each of which is stored
at once. The hub has slot 0, worker N has slot N. The supervisor writes to a slot while no process owns it.

Heartbeats come from the loop of the process, because a thread would say nothing of a loop that hangs.
"""

from __future__ import annotations

import asyncio
import enum
import mmap
import os
import time
from collections.abc import Callable
from typing import Final

from twisted.logger import Logger

from ..core.descriptors import has_room
from ..core.rare_lines import LineLog, RareLines

BEAT_SECONDS: Final = 0.2
"""Between two heartbeats of a process whose loop turns."""

LIVE_SECONDS: Final = 1.0
"""A process whose heartbeat is older than this is not waited for."""

HOLD_SECONDS: Final = 5.0
"""How long the others leave new connections to a worker that is being replaced, at most. Usually it accepts after one."""

LEAST_BAND: Final = 4
"""Connections by which a worker may always be ahead of the one with the fewest."""

BAND: Final = 0.05
"""The part of the mean by which it may be ahead, if that is more."""

_WORDS: Final = 8
_SLOT_BYTES: Final = 8 * _WORDS
_HEARTBEAT, _CONNECTIONS, _STATE, _GENERATION, _PROCESS, _HELD_SINCE, _FULL = range(7)

log = Logger(namespace="wsdaemon")


class SlotState(enum.IntEnum):
    EMPTY = 0
    """No process is expected."""
    COMING = 1
    """The supervisor starts a process for this slot."""
    READY = 2
    """The process is ready; it does not accept clients."""
    SERVING = 3
    """The worker accepts clients."""
    STOPPING = 4
    """The worker drains."""


class Slot:
    """The part of the page that one process owns."""

    def __init__(self, words: memoryview) -> None:
        self._words = words

    @property
    def heartbeat(self) -> float:
        """When the loop last turned, in seconds of time.monotonic(), which is the same in all processes of a machine."""
        return self._words[_HEARTBEAT] / 1e9

    @property
    def connections(self) -> int:
        """Open connections, and opening handshakes under way."""
        return self._words[_CONNECTIONS]

    @connections.setter
    def connections(self, count: int) -> None:
        self._words[_CONNECTIONS] = count

    @property
    def full(self) -> bool:
        """Whether the worker has no descriptor for another client."""
        return bool(self._words[_FULL])

    @full.setter
    def full(self, full: bool) -> None:
        self._words[_FULL] = full

    @property
    def state(self) -> SlotState:
        return SlotState(self._words[_STATE])

    @state.setter
    def state(self, state: SlotState) -> None:
        self._words[_STATE] = state

    @property
    def generation(self) -> int:
        return self._words[_GENERATION]

    @property
    def process(self) -> int:
        """The process id of the owner."""
        return self._words[_PROCESS]

    def beat(self) -> None:
        self._words[_HEARTBEAT] = time.monotonic_ns()

    def begin(self, state: SlotState, generation: int, *, hold: bool = False) -> None:
        """The supervisor: a process is to own the slot, or does no more. `hold`: the others leave new connections to it for a while."""
        self._words[_CONNECTIONS] = self._words[_PROCESS] = self._words[_FULL] = 0
        self._words[_GENERATION] = generation
        self._words[_HELD_SINCE] = time.monotonic_ns() if hold else 0
        self._words[_STATE] = state
        self.beat()

    def own(self, process: int) -> None:
        """The process with this id owns the slot from now on."""
        self._words[_PROCESS] = process
        self.beat()

    def become_ready(self) -> None:
        """The start of the owner is over. It accepts as soon as the supervisor says so, and the others leave new connections to it."""
        self._words[_HELD_SINCE] = time.monotonic_ns()
        self._words[_STATE] = SlotState.READY

    def age(self) -> float:
        """Seconds since the last heartbeat."""
        return (time.monotonic_ns() - self._words[_HEARTBEAT]) / 1e9

    @property
    def live(self) -> bool:
        """Whether a process owns the slot and its loop turns."""
        return self._words[_STATE] >= SlotState.READY and self.age() <= LIVE_SECONDS

    @property
    def shares(self) -> bool:
        """Whether this worker takes its share of new connections: it accepts, or it is about to."""
        if self._words[_FULL]:
            return False
        state = self._words[_STATE]
        if state == SlotState.SERVING:
            return self.age() <= LIVE_SECONDS
        held = bool(state in (SlotState.COMING, SlotState.READY) and self._words[_HELD_SINCE])
        return held and (time.monotonic_ns() - self._words[_HELD_SINCE]) / 1e9 <= HOLD_SECONDS


class Heartbeats:
    """The shared page."""

    def __init__(self, descriptor: int) -> None:
        """The page in this memory file, which stays the caller's."""
        size = os.fstat(descriptor).st_size
        self._memory = mmap.mmap(descriptor, size)
        words = memoryview(self._memory).cast("q")
        self.slots = [Slot(words[start : start + _WORDS]) for start in range(0, size // 8, _WORDS)]

    @staticmethod
    def make(workers: int) -> int:
        """A new page for the hub and this many workers; the descriptor of its memory file."""
        descriptor = os.memfd_create("wsdaemon-heartbeats", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, -(-_SLOT_BYTES * (workers + 1) // mmap.PAGESIZE) * mmap.PAGESIZE)
        return descriptor

    @property
    def hub(self) -> Slot:
        return self.slots[0]

    def worker(self, number: int) -> Slot:
        """The slot of worker `number`, from 1."""
        return self.slots[number]

    @property
    def connections(self) -> int:
        """The connections of all workers."""
        return sum(slot.connections for slot in self.slots[1:] if slot.state >= SlotState.READY)


class Heart:
    """Beats in the slot of this process for as long as its loop turns."""

    def __init__(self, slot: Slot, loop: asyncio.AbstractEventLoop) -> None:
        self.slot = slot
        self.count: Callable[[], int] | None = None
        """The number of connections, for the slot of a worker."""
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self.slot.beat()
        if self.count is not None:
            self.slot.connections = self.count()
        self._handle = self._loop.call_later(BEAT_SECONDS, self.start)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()


class Band:
    """The rule by which the workers share new connections.

    A worker accepts none while it is ahead of the one with the fewest by more than LEAST_BAND or BAND of the mean. The one with the fewest
    is never ahead, so there is always a worker that accepts; a hung one counts no more after LIVE_SECONDS.

    A worker without descriptors for clients leaves them to the others, and does not count meanwhile. If all workers are in this state, each
    accepts and refuses, as one process does.
    """

    def __init__(
        self, heartbeats: Heartbeats, number: int, count: Callable[[], int], has_room: Callable[[], bool] = has_room,
        line_log: LineLog = log,
    ) -> None:  # fmt: skip
        """`count` gives the connections of worker `number`, which is this process; `has_room` is core.descriptors.has_room."""
        self._own = heartbeats.worker(number)
        self._others = [slot for slot in heartbeats.slots[1:] if slot is not self._own]
        self._count = count
        self._has_room = has_room
        self._lines = RareLines(line_log)

    def may_accept(self) -> bool:
        """Whether this worker may accept a connection now."""
        own = self._own.connections = self._count()
        was_full, self._own.full = self._own.full, not self._has_room()
        least = total = own
        workers = 1
        for slot in self._others:
            if slot.shares:
                count = slot.connections
                least, total, workers = min(least, count), total + count, workers + 1
        if not self._own.full:
            return own - least <= max(LEAST_BAND, BAND * total / workers)
        if not was_full:
            self._lines.warn(
                "full", "nearly all open files of this worker are in use, so that it leaves new clients to other workers; raise "
                "LimitNOFILE= of systemd, or ulimit -n",
            )  # fmt: skip
        return workers == 1

    def accepted(self) -> None:
        """Tell the others that this worker has one more."""
        self._own.connections = self._count()
