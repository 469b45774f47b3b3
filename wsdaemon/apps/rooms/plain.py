"""A client without a library: it is in the room that its path names, and its messages go to all other members unchanged.

Errors close its connection, with these codes and reasons:

    1008 CODE           the client may not: bad_room, forbidden (or the policy's reason), bad_since, subprotocol_required (the path names
                        no room)
    1013 CODE           not now: room_full, too_many_rooms, memory, unavailable
    4410 gap            the room no longer has all messages after `?since=`, or messages were lost because the server was cut off from the
                        room's order: connect again without `?since=`
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Mapping
from typing import Any

from ...brokers.account import Account
from ...brokers.contract import Message, MovedSubscription, Notice, Position, Published, Subscribed
from ...brokers.errors import BrokerClosed, BrokerError, BrokerUnavailable, Busy, MemoryFull, RateLimited, RoomFull, TooManyRooms
from ...core.closing import GOING_AWAY, POLICY_VIOLATION, TRY_AGAIN_LATER
from ...core.connection import Connection, writer_of
from ...core.handshake import Handshake
from .eager import eagerly
from .going_along import SessionState, give, is_settled, move_in, read_state, take_leave, take_place
from .mount_rooms import MountRooms
from .pipeline import Pipeline
from .visitor import Refused, Visitor

GAP = 4410
"""Close code if messages after the client's position are lost; as HTTP's 410 Gone."""

NOT_NOW = (RoomFull, TooManyRooms, MemoryFull, BrokerUnavailable)
"""Errors after which the client may try again later."""

SINCE = re.compile(r"([!-9;-~]{1,256}):([0-9]{1,15})", re.ASCII)


class PlainSession:
    """One member of one room."""

    __slots__ = ("_entering", "_moved", "_pipeline", "_rooms", "account", "connection", "id", "identity", "room", "visitor", "writer")

    structured = False

    def __init__(
        self, rooms: MountRooms, connection: Connection, room: str, identity: Mapping[str, Any], visitor: Visitor | None,
        account: Account,
    ) -> None:  # fmt: skip
        self._rooms = rooms
        self.account = account
        self.connection = connection
        self.writer = writer_of(connection)
        self.id = connection.id
        self.identity = identity
        self.room = room
        self.visitor = visitor
        self._entering: asyncio.Future[None] | None = None
        self._pipeline: Pipeline | None = None
        self._moved: tuple[MovedSubscription, ...] = ()

    # -- entering

    def enter(self, handshake: Handshake) -> None:
        """Enter the room that the path names, from `?since=EPOCH:OFFSET` on. If that takes time, messages of the client wait meanwhile."""
        if not self.room:
            self._leave(POLICY_VIOLATION, "subprotocol_required")
            return
        given = handshake.query.get("since") if b"since=" in handshake.query_string else None
        since = None
        if given is not None:
            match = SINCE.fullmatch(given[0])
            if match is None or len(given) > 1:
                self._leave(POLICY_VIOLATION, "bad_since")
                return
            since = Position(match[1], int(match[2]))
        rest: Any = self._enter(since)
        if self._rooms.policy is None:
            rest = eagerly(rest)
        if rest is not None:
            self._entering = asyncio.get_running_loop().create_future()
            self._rooms.in_background(self._finish_entering(rest), self.connection)

    async def _finish_entering(self, rest: Awaitable[None]) -> None:
        try:
            await rest
        except Exception as error:
            self._rooms.failed(self.connection, "opening", error)
        finally:
            entering, self._entering = self._entering, None
            if entering is not None and not entering.done():
                entering.set_result(None)

    async def _enter(self, since: Position | None) -> None:
        rooms = self._rooms
        try:
            if rooms.policy is not None:
                await rooms.policy.enter(self.connection, self.visitor, self.room)
            if since is not None:
                since = await rooms.catch_up(self.room, since, self.connection, lambda messages: rooms.give_missed(self, messages))
            if not self.connection.is_open:
                return
            answer = await rooms.subscribe(self.room, self, since)
        except (BrokerError, Refused) as error:
            self._refuse(error)
            return
        if not self.connection.is_open:
            self.closed(0, "")
        elif answer.gap:
            self._leave(GAP, "gap")
        else:
            rooms.give_missed(self, answer.messages if answer.latest is None else (answer.latest,))

    # -- in an upgrade

    def is_settled(self) -> bool:
        """Whether nothing of the client is under way: a publication that another process sends must not overtake one of this process."""
        return self._entering is None and not self._pipeline and is_settled(self._rooms, self)

    def hand_over(self) -> bytes | None:
        moved = take_leave(self._rooms, self)
        return SessionState(moved).encode() if moved else None

    def handed_over(self) -> None:
        self._rooms.remove(self)

    def go_on(self, state: bytes) -> None:
        """Begin where the session of another process ended."""
        self._moved = read_state(state).rooms
        take_place(self._rooms, self)

    async def resumed(self) -> None:
        for moved in self._moved:
            if not self.connection.is_open:
                return
            self.room = moved.room
            try:
                answer = await move_in(self._rooms, self, moved)
            except BrokerError as error:
                self._refuse(error)
                return
            if self.connection.is_open:
                give(self._rooms, self, moved, answer)
        self._moved = ()

    # -- publishing

    def received_payload(self, payload: bytes, text: bool) -> Awaitable[object] | None:
        rooms, room = self._rooms, self.room
        if not rooms.open_to_all or self._entering is not None or room in rooms.crowded or room in rooms.throttled:
            return self._publish_patiently(payload, text)
        echo = rooms.rules.echo_to_sender
        try:
            answer = rooms.broker.publish(room, payload, text, publisher=self.id, echo=echo, account=self.account)
        except (Busy, RateLimited):
            return self._publish_patiently(payload, text)
        except BrokerError as error:
            self._refuse(error)
            return None
        if isinstance(answer, Published):
            return None
        if rooms.rules.one_at_a_time:
            return self._finish_publishing(answer, payload, text)
        if self._pipeline is None:
            self._pipeline = Pipeline(self._not_published)
        return self._pipeline.add(answer)

    def _not_published(self, error: BaseException) -> None:
        if not self.connection.is_open:
            return
        if isinstance(error, BrokerError):
            self._refuse(error)
        else:
            self._rooms.failed(self.connection, "publishing", error)

    async def _finish_publishing(self, answer: Awaitable[Published], payload: bytes, text: bool) -> None:
        """Wait for an answer, and publish again while the room's rate is used up. No later message may overtake this one."""
        try:
            await answer
        except RateLimited:
            await self._publish_patiently(payload, text)
        except BrokerError as error:
            self._refuse(error)

    async def _publish_patiently(self, payload: bytes, text: bool) -> None:
        """Publish as soon as the room takes the message. The client is not read meanwhile, so none of its messages is lost."""
        rooms = self._rooms
        if self._entering is not None:
            await asyncio.wait([self._entering])
            if not self.connection.is_open:
                return
        if rooms.rules.publish != "clients":
            self._leave(POLICY_VIOLATION, "forbidden")
            return
        try:
            if rooms.policy is not None:
                changed = await rooms.policy.publish(self.connection, self.visitor, self.room, payload, text)
                if changed is None:
                    return
                payload, text = changed
            echo = rooms.rules.echo_to_sender
            await rooms.publish_in_rate(self.connection, self.room, payload, text, publisher=self.id, echo=echo, account=self.account)
        except (BrokerError, Refused) as error:
            self._refuse(error)

    # -- called by the broker

    def deliver(self, message: Message) -> None:
        self._rooms.give_one(self, message)

    def presence_changed(self, notice: Notice) -> None:
        """Never called, because a plain client does not ask for presence."""

    def interrupted(self, room: str, answer: Subscribed, pattern: str | None = None) -> None:
        """Close with 4410, at a random moment of the next seconds. The client is given no message in between."""
        self._rooms.remove(self)
        self._rooms.close_later(self.connection, GAP, "gap")

    # -- the end

    def _refuse(self, error: BrokerError | Refused) -> None:
        if isinstance(error, Refused):
            self._leave(POLICY_VIOLATION, str(error) or "forbidden")
        elif isinstance(error, BrokerClosed):
            self._leave(GOING_AWAY, error.code)
        else:
            self._leave(TRY_AGAIN_LATER if isinstance(error, NOT_NOW) else POLICY_VIOLATION, error.code)

    def _leave(self, code: int, reason: str) -> None:
        self._rooms.remove(self)
        self.connection.close(code, reason)

    def closed(self, code: int, reason: str) -> None:
        self._rooms.remove(self)
