"""Breaks: a room tells its members that messages may be lost, because the broker was cut off from the room's order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple, Protocol

from ..budget import Budget
from ..contract import Bulk, Failed, Member, Presence, Subscribed


class Told(NamedTuple):
    """A member that is told. `pattern` is as in `Member.interrupted`; `watches`: it asked for presence."""

    member: Member
    pattern: str | None
    watches: bool


class BreakPass:
    """One pass over the members at the time of the break. It stands in the room's outbox, before the messages that follow the break.

    `answer` has no roster; watchers are given one that has `present`.
    """

    __slots__ = ("_answer", "_to_watchers", "_told")

    def __init__(self, answer: Subscribed, told: Iterable[Told], present: tuple[Presence, ...] | None) -> None:
        self._answer = answer
        self._to_watchers = answer if present is None else replace(answer, present=present)
        self._told = {one.member.id: one for one in told}

    offset: None = None

    @property
    def left(self) -> int:
        """The number of members that the pass has not reached yet."""
        return len(self._told)

    def run(self, outbox: object, budget: int | None, failed: Failed, bulk: Bulk | None = None) -> int:
        """Tell the next `budget` members, or all, and return their number."""
        used = 0
        while self._told and (budget is None or used < budget):
            used += 1
            one = self._told.pop(next(iter(self._told)))
            try:
                self._tell(one)
            except Exception as error:  # one member's fault must not keep the break from the others
                failed(one.member, error)
        return used

    def catch_up(self, outbox: object, member: Member) -> None:
        """Tell one member now, if the pass has not reached it. Errors of its `interrupted` come through."""
        one = self._told.get(member.id)
        if one is not None and one.member is member:
            del self._told[member.id]
            self._tell(one)

    def forget(self, key: str) -> None:
        """Do not tell the member with this id, because it has left."""
        self._told.pop(key, None)

    def _tell(self, one: Told) -> None:
        one.member.interrupted(self._answer.room, self._to_watchers if one.watches else self._answer, one.pattern)

    def halt(self) -> None:
        """Tell no other member. A run around this call ends."""
        self._told.clear()

    def finish(self, outbox: Breaking, budget: Budget) -> None:
        """End the pass: every member was told, or none is to be told any more."""
        outbox.breaks.remove(self)


class Breaking(Protocol):
    """The outbox in which a pass stands."""

    breaks: list[BreakPass]
