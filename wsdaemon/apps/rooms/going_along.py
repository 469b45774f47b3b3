"""The state of a session whose connection goes to another process in an upgrade, as bytes, and its way back into its rooms there."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Final, Protocol

from ...brokers.contract import MovedSubscription, MovingBroker, Notice, Position, Subscribed
from ...brokers.errors import BrokerClosed
from ...core.contract import MAX_STATE_BYTES
from .mount_rooms import AccountedMember, MountRooms, RoomSession

VERSION: Final = 1


class GoingMember(AccountedMember, RoomSession, Protocol):
    """A session that is a member."""


@dataclass(frozen=True, slots=True)
class SessionState:
    """All that a session needs to go on: its rooms and, of the requests of the subprotocol, faults, refusals and the tokens of the rate."""

    rooms: tuple[MovedSubscription, ...]
    faults: int = 0
    refusals: int = 0
    tokens: float | None = None
    """None: requests had no rate."""
    age: float = 0.0
    """Seconds since there were as many tokens."""

    def encode(self) -> bytes | None:
        """None if it is longer than a state may be."""
        rooms = [[room, *position, told] for room, position, told in self.rooms]
        value = [VERSION, rooms, self.faults, self.refusals, self.tokens, self.age]
        text = json.dumps(value, separators=(",", ":")).encode()
        return text if len(text) <= MAX_STATE_BYTES else None


def read_state(state: bytes) -> SessionState:
    """ValueError if another version wrote it."""
    version, *values = json.loads(state)
    if version != VERSION:
        raise ValueError(f"version {version} of a session's state; {VERSION} is known here")
    rooms, faults, refusals, tokens, age = values
    moved = [
        MovedSubscription(room, Position(epoch, offset), None if told is None else Position(*told)) for room, epoch, offset, told in rooms
    ]
    return SessionState(tuple(moved), faults, refusals, tokens, age)


def is_settled(rooms: MountRooms, session: GoingMember) -> bool:
    """Whether the session may leave its rooms now."""
    broker = rooms.broker
    return not isinstance(broker, MovingBroker) or broker.is_settled(session)


def take_leave(rooms: MountRooms, session: GoingMember) -> tuple[MovedSubscription, ...] | None:
    """The rooms of the session, which were told everything; None if it has to stay."""
    broker = rooms.broker
    return broker.take_leave(session) if isinstance(broker, MovingBroker) else None


def take_place(rooms: MountRooms, session: GoingMember) -> None:
    """If the former session of the connection is a member here, this one is the member from now on."""
    broker = rooms.broker
    if isinstance(broker, MovingBroker):
        broker.take_place(session)


async def move_in(rooms: MountRooms, session: GoingMember, moved: MovedSubscription) -> Subscribed:
    """Go on in a room. The caller gives the client the answer at once. Errors: BrokerError."""
    broker = rooms.broker
    if not isinstance(broker, MovingBroker):
        raise BrokerClosed("the rooms of this mount have another order now")
    return await broker.move_in(moved, session, session.account)


def give(rooms: MountRooms, session: GoingMember, moved: MovedSubscription, answer: Subscribed) -> None:
    """Give the client all that it missed in a room: it is told of a gap only if that is not known any more."""
    if answer.gap:
        latest = answer.latest
        answer = replace(answer, messages=() if latest is None or latest.offset != answer.offset else (latest,))
    else:
        rooms.give_missed(session, answer.messages)
        answer = replace(answer, messages=())
    if answer.gap or (moved.told is not None and answer.changes is None):
        session.interrupted(answer.room, answer)
    elif answer.changes:
        session.presence_changed(Notice(answer.room, answer.changes))
