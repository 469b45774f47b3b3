"""The requests of a client that wait for their answers, over any number of connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import QueueFull
from .reply import Reply
from .values import RoomError, Uncertain

MAX_PENDING = 1000
"""Requests that wait for an answer, or for a connection."""

REPEAT_SECONDS = 110.0
"""The time after its first sending within which a publication may be sent again. A room keeps a key for 120 s."""

KEY_SECONDS = 120.0
"""An unanswered publication is reported as uncertain after this time."""

Answered = Callable[[Mapping[str, Any]], Any]
"""Makes the result of an answer."""


class Pending:
    """One request. `sent_at` is the time of its first sending, None before; `epoch` is the room's epoch then. `here`: it was sent on this
    connection.

    A publication has a `key`; all other requests only read, so that they may be repeated for ever.
    """

    __slots__ = ("answered", "data", "epoch", "fields", "here", "key", "reply", "room", "sent_at")

    def __init__(
        self, fields: dict[str, Any], room: str, answered: Answered, reply: Reply[Any], key: str = "", data: str | bytes = ""
    ) -> None:  # fmt: skip
        self.fields = fields
        self.room = room
        self.answered = answered
        self.reply = reply
        self.key = key
        self.data = data
        self.sent_at: float | None = None
        self.epoch: str | None = None
        self.here = False

    def uncertain(self, reason: str) -> Uncertain:
        return Uncertain(self.room, self.key, self.data, reason)


class Requests:
    """The pending requests of one client, in the order in which they were made. Ids are whole numbers, and never used again."""

    __slots__ = ("_now", "_number", "_pending")

    def __init__(self, now: Callable[[], float]) -> None:
        """`now`: a monotonic clock in seconds."""
        self._now = now
        self._number = 0
        self._pending: dict[int, Pending] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def next_id(self) -> int:
        self._number += 1
        return self._number

    def add(self, pending: Pending) -> int:
        """Keep a request; its id. QueueFull."""
        if len(self._pending) >= MAX_PENDING:
            raise QueueFull(f"{MAX_PENDING} requests wait for their answers already")
        number = pending.fields["id"] = self.next_id()
        self._pending[number] = pending
        return number

    def sent(self, pending: Pending, epoch: str | None) -> None:
        """The request leaves now; only the first time counts."""
        pending.here = True
        if pending.sent_at is None:
            pending.sent_at, pending.epoch = self._now(), epoch

    def lost(self) -> None:
        """The connection is lost, with the answers that were under way."""
        for pending in self._pending.values():
            pending.here = False

    def judge(self, room: str, epoch: str | None) -> None:
        """The room's epoch on a new connection; None: it cannot be known. Publications that were sent in another epoch are uncertain,
        because the room has forgotten their keys."""
        for number, pending in list(self._pending.items()):
            sent_before = pending.key and pending.sent_at is not None and not pending.here
            if sent_before and pending.room == room and (epoch is None or pending.epoch != epoch):
                del self._pending[number]
                pending.reply.fail(pending.uncertain("the room has begun anew since, as far as the client can know"))

    def to_send(self) -> list[Pending]:
        """The requests that were not sent on this connection, in order."""
        return [pending for pending in self._pending.values() if not pending.here]

    def expire(self) -> None:
        """Give up publications that were not answered in time, whether the client is connected or not."""
        now = self._now()
        for number, pending in list(self._pending.items()):
            if pending.key and pending.sent_at is not None and now - pending.sent_at >= KEY_SECONDS:
                del self._pending[number]
                pending.reply.fail(pending.uncertain(f"there was no answer within {KEY_SECONDS:g} s"))

    def too_old(self, pending: Pending) -> bool:
        """Whether a publication must not be sent again, because its room may forget the key meanwhile."""
        return bool(pending.key) and pending.sent_at is not None and self._now() - pending.sent_at >= REPEAT_SECONDS

    def answer(self, number: object, event: Mapping[str, Any]) -> bool:
        """An answer came; False if no request waits for it."""
        pending = self._pending.pop(number, None) if isinstance(number, int) else None
        if pending is None:
            return False
        if event.get("type") == "error":
            pending.reply.fail(error_of(event, pending.key or None))
        else:
            try:
                result = pending.answered(event)
            except Exception as error:
                pending.reply.fail(error)
            else:
                pending.reply.give(result)
        return True

    def end(self, error: BaseException) -> None:
        """The client has ended. Publications that were sent are uncertain."""
        pending, self._pending = list(self._pending.values()), {}
        for each in pending:
            each.reply.fail(each.uncertain("the client has ended") if each.key and each.sent_at is not None else error)


def error_of(event: Mapping[str, Any], key: str | None = None) -> RoomError:
    """The error of an event. `key`: the key of the refused publication."""
    after = event.get("retry_after")
    seconds = float(after) if isinstance(after, int | float) else None
    return RoomError(str(event.get("code")), str(event.get("message", "")), seconds, key)
