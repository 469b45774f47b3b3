"""The workers that follow the rooms of one mount, by name or by pattern, and the place of each room's roster."""

from __future__ import annotations

from collections.abc import Callable

from ..brokers.contract import Position
from ..brokers.patterns import PatternIndex, check_pattern
from .server import WorkerLink

TARGETS_KEPT = 10_000
"""Rooms whose list of following workers is kept ready."""


class Following:
    """The workers that follow one room by name. It exists while there are any.

    `links`: each worker, and whether it watches the roster. `changes` counts the changes of the roster since `epoch` began.
    """

    __slots__ = ("changes", "epoch", "links")

    def __init__(self, epoch: str) -> None:
        self.links: dict[WorkerLink, bool] = {}
        self.epoch = epoch
        self.changes = 0

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.changes)


class Followers:
    """The workers that follow the rooms of one mount. `new_epoch` names the life of a roster."""

    def __init__(self, new_epoch: Callable[[], str]) -> None:
        self.rooms: dict[str, Following] = {}
        """The rooms that are followed by name."""
        self.targets: dict[str, tuple[WorkerLink, ...]] = {}
        """The workers that are given a publication in a room, by name or by pattern. If a room is not in it, `find` puts it there."""
        self._new_epoch = new_epoch
        self._patterns: PatternIndex[WorkerLink] = PatternIndex()
        self._patterns_of: dict[WorkerLink, set[str]] = {}

    def find(self, name: str) -> tuple[WorkerLink, ...]:
        """The workers that follow a room, kept in `targets` until something changes."""
        if len(self.targets) >= TARGETS_KEPT:
            self.targets.clear()
        links = dict(self.rooms[name].links) if name in self.rooms else {}
        if self._patterns:
            links.update((link, False) for link in self._patterns.match(name).values())
        targets = self.targets[name] = tuple(links)
        return targets

    def follow(self, link: WorkerLink, name: str, watch: bool) -> None:
        """Let a worker follow a room; with `watch` its roster too, until it unfollows the room."""
        following = self.rooms.get(name)
        if following is None:
            following = self.rooms[name] = Following(self._new_epoch())
        if link not in following.links:
            self.targets.pop(name, None)
        following.links[link] = watch or following.links.get(link, False)

    def unfollow(self, link: WorkerLink, name: str) -> None:
        """Nothing happens if the worker does not follow the room."""
        following = self.rooms.get(name)
        if following is not None and following.links.pop(link, None) is not None:
            self.targets.pop(name, None)
            if not following.links:
                del self.rooms[name]

    def follow_pattern(self, link: WorkerLink, pattern: str) -> None:
        """Let a worker follow all rooms that match, now or later. Errors: BadPattern."""
        check_pattern(pattern)
        patterns = self._patterns_of.setdefault(link, set())
        if pattern not in patterns:
            patterns.add(pattern)
            self._patterns.add(pattern, _key(link), link)
            self.targets.clear()

    def unfollow_pattern(self, link: WorkerLink, pattern: str) -> None:
        """Nothing happens if the worker does not follow the pattern."""
        patterns = self._patterns_of.get(link)
        if patterns is not None and pattern in patterns:
            patterns.discard(pattern)
            self._patterns.remove(pattern, _key(link))
            self.targets.clear()

    def forget(self, link: WorkerLink) -> None:
        """The worker follows nothing any more."""
        for name in [name for name, following in self.rooms.items() if link in following.links]:
            self.unfollow(link, name)
        for pattern in list(self._patterns_of.get(link, ())):
            self.unfollow_pattern(link, pattern)
        self._patterns_of.pop(link, None)


def _key(link: WorkerLink) -> str:
    return str(id(link))
