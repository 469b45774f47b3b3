"""The latest messages and changes of presence of all rooms, while connections go from workers of one generation to those of the next.

A member that goes along is told nothing between the worker that it leaves and the one that it joins. Its new worker asks for that part,
also in rooms without a history.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any, Final, NamedTuple

from ..brokers.contract import Change, Message, Position

KEPT_SECONDS: Final = 15.0
"""How long a message or a change is kept. A member is on its way for some milliseconds."""

KEPT_BYTES: Final = 32 << 20
"""Bytes of all of them together, for one mount; the oldest are forgotten first."""

ENTRY_BYTES: Final = 400
"""The cost of one besides its payload."""


class _RecentChange(NamedTuple):
    epoch: str
    offset: int
    change: Change


class _RecentEntry(NamedTuple):
    time: float
    size: int
    name: str
    entries: dict[str, deque[Any]]


class Recent:
    """Those of one mount. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._all: deque[_RecentEntry] = deque()
        self._messages: dict[str, deque[Message]] = {}
        self._changes: dict[str, deque[_RecentChange]] = {}
        self.bytes = 0
        """The cost of all of them."""

    def __len__(self) -> int:
        """Messages and changes that are kept."""
        return len(self._all)

    def message(self, message: Message) -> None:
        """A room has a new message."""
        self._add(self._messages, message.room, message, ENTRY_BYTES + len(message.payload))

    def changed(self, name: str, position: Position, changes: list[Change]) -> None:
        """A room's roster has changed; `position` is that of the last of the changes."""
        first = position.offset - len(changes) + 1
        for offset, change in enumerate(changes, first):
            self._add(self._changes, name, _RecentChange(position.epoch, offset, change), 2 * ENTRY_BYTES)

    def messages_after(self, name: str, since: Position, top: Position) -> tuple[Message, ...] | None:
        """The messages after `since`, up to `top`, which is the room's position now; None if some of them are not here."""
        return _part(self._messages.get(name), since, top)

    def changes_after(self, name: str, since: Position, top: Position) -> tuple[Change, ...] | None:
        """The same with the changes of the roster."""
        found = _part(self._changes.get(name), since, top)
        return None if found is None else tuple([each.change for each in found])

    def _add(self, entries: dict[str, deque[Any]], name: str, entry: object, size: int) -> None:
        now = self._clock()
        self._all.append(_RecentEntry(now, size, name, entries))
        self.bytes += size
        entries.setdefault(name, deque()).append(entry)
        while self.bytes > KEPT_BYTES or self._all[0].time < now - KEPT_SECONDS:
            self._forget(self._all.popleft())

    def _forget(self, kept: _RecentEntry) -> None:
        self.bytes -= kept.size
        entries = kept.entries[kept.name]
        entries.popleft()
        if not entries:
            del kept.entries[kept.name]


def _part(entries: deque[Any] | None, since: Position, top: Position) -> tuple[Any, ...] | None:
    if since.epoch != top.epoch or since.offset > top.offset:
        return None
    count = top.offset - since.offset
    found = list(islice(reversed(entries or ()), count))
    if len(found) < count or (found and (found[-1].epoch, found[-1].offset) != (top.epoch, since.offset + 1)):
        return None
    return tuple(reversed(found))
