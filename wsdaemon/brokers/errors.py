"""The refusals of a broker."""

from __future__ import annotations

from typing import ClassVar


class BrokerError(Exception):
    """A broker refused. `code` is stable, for clients and logs; the text is for people. Nothing was changed."""

    code: ClassVar[str] = "broker_error"


class BadRoom(BrokerError):
    """Not a room name that the settings allow."""

    code = "bad_room"


class BadPattern(BrokerError):
    """Not a pattern."""

    code = "bad_pattern"


class BadKey(BrokerError):
    """Not an idempotency key."""

    code = "bad_key"


class RoomFull(BrokerError):
    """The room has max_members."""

    code = "room_full"


class TooManyRooms(BrokerError):
    """There are max_rooms, and none of them is empty."""

    code = "too_many_rooms"


class MemoryFull(BrokerError):
    """The rooms hold all of their memory, or this address or user holds its share of it."""

    code = "memory"


class TooManySubscriptions(BrokerError):
    """This member is in max_subscriptions rooms."""

    code = "too_many_subscriptions"


class TooManyPatterns(BrokerError):
    """This member has max_patterns patterns."""

    code = "too_many_patterns"


class AlreadySubscribed(BrokerError):
    """This member is in this room, or has this pattern, already."""

    code = "already_subscribed"


class NotSubscribed(BrokerError):
    """This member is not in this room, or does not have this pattern."""

    code = "not_subscribed"


class DuplicateMember(BrokerError):
    """Another member has this id."""

    code = "duplicate_member"


class RateLimited(BrokerError):
    """The room has had its rate of publications. `retry_after`: seconds until the next is allowed."""

    code = "rate_limited"

    def __init__(self, text: str, retry_after: float) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class Busy(BrokerError):
    """The room's earlier publications are still being delivered: publish more slowly, then again."""

    code = "busy"


class BrokerUnavailable(BrokerError):
    """The order of the rooms is kept in another process, which has not answered in time. It may have carried out the request."""

    code = "unavailable"


class BrokerClosed(BrokerError):
    """The broker has ended."""

    code = "closed"
