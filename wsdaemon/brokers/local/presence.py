"""Presence of one room: its changes, and the passes that tell them to the members that watch.

After a short burst a room tells its changes at most once per interval, and only the net changes: a member that came and left in between is
not told of at all. So a client that comes and goes as fast as it can costs each watcher one notice per second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from operator import length_hint
from typing import NamedTuple, Protocol

from ..budget import Budget
from ..contract import Bulk, Change, Failed, Member, Notice

PASS_INTERVAL_SECONDS = 1.0
"""Between two passes over the watchers of one room, once its burst is used up."""

PASS_BURST = 5
"""Passes that a room may make at once after a quiet time."""

CHANGES_TOLD_PER_SECOND = 250_000
"""Changes times watchers, for one room: about 15 MB of JSON. A pass above this makes the next interval longer."""

MAX_INTERVAL_SECONDS = 10.0
"""The longest interval, however much the last pass told."""

MAX_UNDONE_CHANGES = 1000
"""Undone changes that a newcomer must be told of, in one room. With more of them the next pass does not wait."""


class PresenceWatch:
    """A member that asked for a room's presence. `seen`: the number of the last change that it was told."""

    __slots__ = ("left", "member", "seen")

    def __init__(self, member: Member, seen: int) -> None:
        self.member = member
        self.seen = seen
        self.left = False


class Named(Protocol):
    """The outbox in which a pass stands."""

    name: str


class Undone(NamedTuple):
    """A change that undid an earlier one before a pass told it. Only watchers that came in between must be told of it."""

    earlier: int
    number: int
    change: Change


class PresenceChanges:
    """The watchers of one room, and the changes that no pass has told them yet, numbered in their order."""

    __slots__ = ("_clock", "_due", "_newest_watch", "_number", "_pending", "_undone", "queued", "timed", "watchers")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due = -float("inf")
        self._number = 0
        self._newest_watch = -1  # the number of the last change that a watcher who came since the last pass already knows
        self._pending: dict[str, tuple[int, Change]] = {}
        self._undone: list[Undone] = []
        self.queued: NoticePass | None = None
        """The pass that waits in the outbox and takes later changes along, if any."""
        self.timed = False
        """Whether a timer runs for the next pass."""
        self.watchers: dict[str, PresenceWatch] = {}

    def __len__(self) -> int:
        """The number of changes for the next pass."""
        return len(self._pending) + len(self._undone)

    def watch(self, member: Member, noted: bool = False) -> None:
        """Make a newcomer a watcher. Its answer lists all members, itself included, so it is not told of its own arrival.

        `noted`: whether its arrival was noted already; if not, it is the next change.
        """
        self._newest_watch = self._number
        self.watchers[member.id] = PresenceWatch(member, self._number if noted else self._number + 1)

    def restart(self) -> None:
        """Forget the changes that wait, because the watchers are told the whole roster instead."""
        self._pending.clear()
        self._undone.clear()
        self.queued = None
        for watch in self.watchers.values():
            watch.seen = self._number

    def unwatch(self, key: str) -> None:
        """Tell this member no more changes. Nothing happens if it does not watch."""
        watch = self.watchers.pop(key, None)
        if watch is not None:
            watch.left = True
            if not self.watchers:
                self._pending.clear()
                self._undone.clear()

    def note(self, change: Change) -> None:
        """Keep a change for the next pass, or cancel the earlier change that it undoes."""
        self._number += 1
        earlier = self._pending.pop(change.who.id, None)
        if earlier is None:
            self._pending[change.who.id] = self._number, change
        elif earlier[0] <= self._newest_watch:
            self._undone.append(Undone(earlier[0], self._number, change))

    def tell(self, outbox: Named, watch: PresenceWatch) -> None:
        """Tell one watcher now the changes of which no pass has begun to tell. Errors of its `presence_changed` come through."""
        seen = watch.seen
        news = [entry for entry in self._pending.values() if entry[0] > seen]
        news += [(undone.number, undone.change) for undone in self._undone if undone.earlier <= seen < undone.number]
        watch.seen = self._newest_watch = self._number
        if news:
            watch.member.presence_changed(Notice(outbox.name, tuple([change for _, change in sorted(news)])))

    @property
    def wait(self) -> float:
        """Seconds until the next pass may begin; 0 if it may begin now."""
        if len(self._undone) > MAX_UNDONE_CHANGES:
            return 0.0
        # At most the longest interval, because passes that begin early, before messages that wait, would add up without end.
        return min(MAX_INTERVAL_SECONDS, max(0.0, self._due - self._clock() - (PASS_BURST - 1) * PASS_INTERVAL_SECONDS))

    def take(self) -> tuple[list[tuple[int, Change]], list[Undone], int]:
        """The content of a pass that begins now: the changes, the undone changes, and the number of the last change."""
        taken = list(self._pending.values()), self._undone, self._number
        told = len(self._pending) * len(self.watchers)
        self._pending, self._undone, self._newest_watch, self.queued = {}, [], -1, None
        interval = max(PASS_INTERVAL_SECONDS, min(MAX_INTERVAL_SECONDS, told / CHANGES_TOLD_PER_SECOND))
        self._due = max(self._due, self._clock()) + interval
        return taken


class NoticePass:
    """One pass over the watchers of a room, which tells each the changes since its last notice. It stands in the room's outbox.

    While it is the last item there, it takes later changes along. `freeze` it when a change comes after messages that wait behind it: a
    watcher may be told late of a change, but is never told that a member left before it is given that member's messages.
    """

    __slots__ = ("_changes", "_frozen", "_notice", "_notice_seen", "_presence", "_rest", "_undone", "_upto")

    def __init__(self, presence: PresenceChanges) -> None:
        self._presence = presence
        self._rest: Iterator[PresenceWatch] | None = None
        self._frozen = False
        self._changes: list[tuple[int, Change]] = []
        self._undone: list[Undone] = []
        self._upto = 0
        self._notice: Notice | None = None
        self._notice_seen = -1

    offset: None = None

    @property
    def left(self) -> int:
        """The number of watchers that the pass has not reached yet."""
        return 1 if self._rest is None else length_hint(self._rest)

    def freeze(self) -> None:
        """Take no later changes along."""
        if not self._frozen:
            self._frozen = True
            self._changes, self._undone, self._upto = self._presence.take()

    def run(self, outbox: Named, budget: int | None, failed: Failed, bulk: Bulk | None = None) -> int:
        """Tell the next watchers of the room, as many as `budget` allows, and return the cost. Making a notice of n changes costs n."""
        if self._rest is None:
            self.freeze()
            self._rest = iter(tuple(self._presence.watchers.values()))
        used = 0
        for watch in self._rest:
            used += 1
            if not watch.left and watch.seen < self._upto:
                if watch.seen != self._notice_seen or self._notice is None:
                    self._notice, self._notice_seen = self._since(outbox.name, watch.seen), watch.seen
                    used += len(self._notice.changes)
                watch.seen = self._upto
                if self._notice.changes:
                    try:
                        watch.member.presence_changed(self._notice)
                    except Exception as error:  # one watcher's fault must not keep the notice from the others
                        failed(watch.member, error)
            if budget is not None and used >= budget:
                break
        return used

    def tell(self, outbox: Named, watch: PresenceWatch) -> None:
        """Tell one watcher now, if the pass has not reached it and takes no more changes. Errors of its `presence_changed` come through."""
        if self._frozen and watch.seen < self._upto:
            notice = self._since(outbox.name, watch.seen)
            watch.seen = self._upto
            if notice.changes:
                watch.member.presence_changed(notice)

    def _since(self, name: str, seen: int) -> Notice:
        # Watchers are in the order they came, so those that have seen as much stand together: nearly all share one notice.
        news = [entry for entry in self._changes if entry[0] > seen]
        missed = [(undone.number, undone.change) for undone in self._undone if undone.earlier <= seen < undone.number]
        if missed:
            news = sorted(news + missed)
        return Notice(name, tuple([change for _, change in news]))

    def catch_up(self, outbox: Named, member: Member) -> None:
        """Nothing: a notice may come late."""

    def halt(self) -> None:
        """Tell no other watcher. A run around this call ends."""
        deque(self._rest or (), maxlen=0)

    def finish(self, outbox: Named, budget: Budget) -> None:
        """End the pass: every watcher was told, or none is to be told any more."""
        self.halt()
        self._notice = None
