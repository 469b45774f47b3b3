"""Members that go along in an upgrade: from a broker of one process to that of another, over an order that knows both.

The member that leaves is told all that this process knows, and stays in its rooms here, without a connection. So the order keeps its place,
and its presence, until the other process has it: that one asks for the rest with `MovingLink.move`. Then the member is removed here, of
which the order takes no notice any more. If the connection comes back instead, its new session takes the member's place here in the same
way.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable
from functools import partial
from typing import Final

from ..account import Account
from ..contract import Member, MovedSubscription, Presence, Subscribed
from ..errors import BrokerUnavailable, NotSubscribed
from ..links.contract import Joined, Link, MovingLink
from ..local.fan import Delivery
from ..local.members import LocalMembers
from .joining import Joining
from .questions import PatientQuestions
from .repairs import Repairs
from .room import FollowedRoom

MAX_ATTEMPTS: Final = 5
"""Times that the order is asked for a member that has come, if it does not answer in time."""

MAX_OWED_BYTES: Final = 128 * 1024
"""Payload that waits for the members of a room. With more of it, none of them leaves."""


class Moving:
    """The members of one broker that come and go."""

    def __init__(
        self, link: Link, questions: PatientQuestions, local: LocalMembers, joining: Joining, repairs: Repairs,
        connected: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._link = link if isinstance(link, MovingLink) else None
        self._questions = questions
        self._local = local
        self._joining = joining
        self._repairs = repairs
        self._connected = connected

    def is_settled(self, member: Member) -> bool:
        """As in `MovingBroker`."""
        if self._link is None:
            return True
        if not self._connected() or not self._repairs.at_rest or self._joining.under_way(member.id):
            return False
        holder = self._local.holders.get(member.id)
        rooms = [] if holder is None else [room for room in holder.rooms if isinstance(room, FollowedRoom)]
        return all(room.at_rest for room in rooms) and sum(map(_owed, rooms)) <= MAX_OWED_BYTES

    def take_leave(self, member: Member) -> tuple[MovedSubscription, ...] | None:
        """As in `MovingBroker`."""
        holder = self._local.holders.get(member.id)
        if self._link is None or (holder is not None and (holder.patterns or holder.member is not member)):
            return None
        if holder is None:
            return ()
        found = []
        for room in list(holder.rooms):
            assert isinstance(room, FollowedRoom)
            try:
                self._local.catch_up(room, holder)
            except NotSubscribed:
                return None
            told = room.roster_position if self._local.tell_changes(room, member) else None
            found.append(MovedSubscription(room.name, room.position, told))
        return tuple(found)

    def take_place(self, member: Member) -> None:
        """As in `MovingBroker`."""
        holder = self._local.holders.get(member.id)
        if holder is not None:
            holder.member = member

    async def move_in(self, moved: MovedSubscription, member: Member, account: Account) -> Subscribed:
        """As in `MovingBroker`. The checks of this process are done."""
        if self._link is None:
            raise BrokerUnavailable("the order of this mount's rooms lets no member go from one process to another")
        holder = self._local.adopt(member, account)
        ask = partial(self._ask, self._link, moved, holder.presence, account)
        return await self._joining.room(moved.room, holder, moved.position, moved.told is not None, ask)

    async def _ask(self, link: MovingLink, moved: MovedSubscription, who: Presence, account: Account) -> Joined:
        def ask() -> Future[Joined]:
            watches = moved.told is not None
            return link.move(moved.room, who, moved.position, watch=watches, owner=account.owner, told=moved.told)

        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                return await self._questions.ask(ask)
            except BrokerUnavailable:
                if attempt == MAX_ATTEMPTS:
                    raise
        raise AssertionError


def _owed(room: FollowedRoom) -> int:
    waiting = [item for item in room.pending if isinstance(item, Delivery)]
    return sum(len(message.payload) for delivery in waiting for message in delivery.messages)
