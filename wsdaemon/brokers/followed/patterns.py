"""The patterns that this process follows. Many members may have the same pattern; it is followed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from ..links.contract import Link
from ..patterns import PatternIndex, matches
from .questions import PatientQuestions
from .rooms import FollowedRooms


class FollowedPattern:
    """`since`: the order's time from which on messages of matching rooms come live. `users`: the members that have it, or are getting it.

    `confirmed`: the order has answered.
    """

    __slots__ = ("confirmed", "since", "users")

    def __init__(self) -> None:
        self.confirmed = False
        self.since = 0.0
        self.users = 0


class FollowedPatterns:
    """The patterns by name. A pattern that no member has any more is followed until the next `sweep`, so that coming and going is cheap."""

    def __init__(self, link: Link, questions: PatientQuestions, rooms: FollowedRooms) -> None:
        self._link = link
        self._questions = questions
        self._rooms = rooms
        self._patterns: dict[str, FollowedPattern] = {}
        self._index: PatternIndex[FollowedPattern] = PatternIndex()

    def __iter__(self) -> Iterator[str]:
        return iter(self._patterns)

    def confirmed(self) -> dict[str, FollowedPattern]:
        """Those that the order has confirmed."""
        return {pattern: followed for pattern, followed in self._patterns.items() if followed.confirmed}

    def hears(self, room: str) -> bool:
        """Whether one of them matches."""
        return bool(self._patterns) and bool(self._index.match(room))

    def since(self, room: str) -> float | None:
        """The time after which all publications of a room are owed to members with patterns. None if no member hears the room."""
        times = [each.since for each in self._index.match(room).values() if each.users and each.confirmed] if self._patterns else []
        return min(times, default=None)

    async def follow(self, pattern: str, seen: Callable[[], float | None]) -> None:
        """Follow a pattern for one more member. `seen` returns the time up to which all live messages have come; None if that is not known.

        Errors: those of the order, BrokerUnavailable. After one, the pattern has one member less.
        """
        followed = self._patterns.get(pattern)
        if followed is None:
            followed = self._patterns[pattern] = FollowedPattern()
            self._index.add(pattern, pattern, followed)
        followed.users += 1
        try:
            if not followed.confirmed:
                since = await self._questions.ask(partial(self._link.follow_pattern, pattern))
                if not followed.confirmed:
                    followed.confirmed, followed.since = True, since
        except BaseException:
            followed.users -= 1
            raise
        if followed.users == 1 and (time := seen()) is not None:
            followed.since = max(followed.since, time)

    def leave(self, pattern: str) -> None:
        """One member less has the pattern."""
        self._patterns[pattern].users -= 1

    def sweep(self) -> None:
        """End the following of patterns that no member has, and forget the rooms that only they heard."""
        unused = [pattern for pattern, followed in self._patterns.items() if not followed.users]
        for pattern in unused:
            del self._patterns[pattern]
            self._index.remove(pattern, pattern)
            self._link.unfollow_pattern(pattern)
        if unused:
            for room in self._rooms.only_heard():
                if any(matches(pattern, room.name) for pattern in unused) and not self.hears(room.name):
                    self._rooms.forget(room)
