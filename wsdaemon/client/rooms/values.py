"""The values that a client's rooms give: messages, gaps, members, and the answers to requests."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ClientError


class RoomError(ClientError):
    """The daemon refuses a request. `code` is one of docs/rooms.md, `retry_after` the seconds to wait if it is `rate_limited`.

    `key` is the key of a refused publication, None for all other requests. `unavailable` leaves open whether the room has the message:
    with the same key it can be published again without becoming two.
    """

    def __init__(self, code: str, message: str, retry_after: float | None = None, key: str | None = None) -> None:
        super().__init__(code, message)
        self.code = code
        self.retry_after = retry_after
        self.key = key

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.args[1]}"


class Uncertain(ClientError):
    """A publication was not acknowledged, and it is not safe to repeat it any more: the room may have the message, or not.

    The client does not repeat it by itself. `room`, `key` and `data` are those of the publication.
    """

    def __init__(self, room: str, key: str, data: str | bytes, reason: str) -> None:
        super().__init__(f"it is uncertain whether {room} has the message with the key {key}: {reason}")
        self.room = room
        self.key = key
        self.data = data


@dataclass(frozen=True, slots=True)
class RoomMessage:
    """One message of a room. `offset` counts from 1 within `epoch`. `publisher` is a member's id, None for the server itself."""

    room: str
    epoch: str
    offset: int
    time: float
    publisher: str | None
    data: str | bytes


@dataclass(frozen=True, slots=True)
class RoomGap:
    """Messages of the room were lost for this subscription. It goes on after `offset` of `epoch`."""

    room: str
    epoch: str
    offset: int


@dataclass(frozen=True, slots=True)
class RoomMember:
    """A member of a room: its id, and its identity (`name`, `method`) on a mount with authentication."""

    id: str
    identity: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The room has the message, at `offset` of `epoch`. `duplicate`: it had it already, from an earlier attempt with the same key.

    `dropped`: the mount's policy dropped the message; then there is no position.
    """

    room: str
    key: str
    epoch: str
    offset: int
    duplicate: bool = False
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class Present:
    """The number of members of a room, and the first of them."""

    count: int
    members: tuple[RoomMember, ...]


@dataclass(frozen=True, slots=True)
class Past:
    """A page of a room's history. `first` and `offset` are those of the oldest and of the newest message that the room keeps."""

    epoch: str
    offset: int
    first: int
    messages: tuple[RoomMessage, ...]
    gap: bool
    more: bool


class BadEvent(ValueError):
    """An event that does not have the form of rooms.v1.json."""


def message_of(event: Mapping[str, Any]) -> RoomMessage:
    """The message of an event. BadEvent."""
    try:
        data: str | bytes = event["data"]
        if event.get("encoding") == "base64":
            data = base64.b64decode(data, validate=True)
        elif not isinstance(data, str):
            raise BadEvent("the data of a message is no text")
        offset = event["offset"]
        if type(offset) is not int:
            raise BadEvent("the offset of a message is no whole number")
        return RoomMessage(str(event["room"]), str(event["epoch"]), offset, float(event["time"]), event["publisher"], data)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise BadEvent(f"a message without its fields: {error}") from error


def members_of(given: object) -> tuple[RoomMember, ...]:
    """The members of an event. BadEvent."""
    try:
        return tuple([RoomMember(str(each["id"]), each.get("identity")) for each in given])  # type: ignore[attr-defined]
    except (KeyError, TypeError, AttributeError) as error:
        raise BadEvent("members without an id") from error
