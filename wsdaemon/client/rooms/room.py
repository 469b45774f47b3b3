"""One room, as a program that is a client sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from .reply import Reply
from .requests import Pending
from .subscription import RoomSubscription, SubscribedRooms
from .values import Acknowledged, Past, Present, RoomGap, RoomMember, RoomMessage, members_of, message_of

DEFAULT_PAGE = 100


class RoomRequests(SubscribedRooms, Protocol):
    """The rooms of the client, as one room sees them. Each method is called on the client's loop."""

    def subscribe(self, subscription: RoomSubscription) -> None:
        """Enter the room of a new subscription."""

    def request(self, pending: Pending) -> None:
        """Send a request, now or when there is a connection."""

    def publish(self, room: str, data: str | bytes, key: str | None, echo: bool | None, reply: Reply[Acknowledged]) -> None:
        """Publish in a room; `reply` gets the acknowledgement."""


class ClientRoom:
    """A room by its name. All methods work in any thread. Results may be awaited, or waited for with `result()` in another thread."""

    __slots__ = ("_rooms", "name")

    def __init__(self, rooms: RoomRequests, name: str) -> None:
        self._rooms = rooms
        self.name = name

    def __repr__(self) -> str:
        return f"<room {self.name}>"

    def subscribe(
        self,
        on_message: Callable[[RoomMessage], object] | None = None,
        *,
        on_gap: Callable[[RoomGap], object] | None = None,
        on_joined: Callable[[RoomMember], object] | None = None,
        on_left: Callable[[RoomMember], object] | None = None,
        presence: bool = False,
        own: bool = True,
        since: tuple[str, int] | None = None,
    ) -> RoomSubscription:
        """Enter the room, and stay in it over all connections: each message comes once, in order; a RoomGap says that some were lost.

        Without `on_message` the result is an async iterator of RoomMessage and RoomGap, for a coroutine on the client's loop. Callbacks
        are functions or coroutine functions and run one after the other; without `on_gap`, `on_message` gets the gaps, too. `own`: the
        client's own messages come as well. `since` is the epoch and offset of the last message that the program knows. A client has one
        subscription to a room at a time: a second one ends with the error `already_subscribed`.
        """
        watched = presence or on_joined is not None or on_left is not None
        subscription = RoomSubscription(self._rooms, self.name, presence=watched, own=own, since=since)
        subscription.on_message, subscription.on_gap = on_message, on_gap
        subscription.on_joined, subscription.on_left = on_joined, on_left
        self._rooms.on_loop(partial(self._rooms.subscribe, subscription))
        return subscription

    def publish(self, message: str | bytes, *, key: str | None = None, echo: bool | None = None) -> Reply[Acknowledged]:
        """Publish a message, and have it acknowledged.

        If the connection is lost before the answer comes, the client publishes again with the same key, which the room knows for 120 s,
        so that it is published once. The client makes a key unless one is given (up to 128 characters). Afterwards, and if the room has
        begun anew meanwhile, the result is Uncertain. RoomError if the daemon refuses, QueueFull if 1000 requests wait already.
        `echo` is for a client that is not subscribed to the room; a subscription always has the own messages, or hides them (`own`).
        """
        if not isinstance(message, str | bytes):
            raise TypeError(f"a message is str (text) or bytes (binary), not {type(message).__name__}")
        reply: Reply[Acknowledged] = Reply()
        self._rooms.on_loop(partial(self._rooms.publish, self.name, message, key, echo, reply))
        return reply

    def presence(self, limit: int = DEFAULT_PAGE) -> Reply[Present]:
        """The members of the room, up to `limit` (1 to 1000) of them."""
        return self._ask({"type": "presence", "room": self.name, "limit": limit}, _present)

    def history(
        self, since: tuple[str, int] | None = None, limit: int = DEFAULT_PAGE, *, reverse: bool = False
    ) -> Reply[Past]:  # fmt: skip
        """A page of the room's history: up to `limit` (1 to 1000) messages after the position `since`, or before it with `reverse`."""
        fields: dict[str, Any] = {"type": "history", "room": self.name, "limit": limit}
        if since is not None:
            fields["since"] = {"epoch": since[0], "offset": since[1]}
        if reverse:
            fields["reverse"] = True
        return self._ask(fields, _past)

    def _ask(self, fields: dict[str, Any], answered: Callable[[Mapping[str, Any]], Any]) -> Reply[Any]:
        reply: Reply[Any] = Reply()
        self._rooms.on_loop(partial(self._rooms.request, Pending(fields, self.name, answered, reply)))
        return reply


def _present(event: Mapping[str, Any]) -> Present:
    return Present(int(event["count"]), members_of(event["members"]))


def _past(event: Mapping[str, Any]) -> Past:
    messages = tuple([message_of(each) for each in event["messages"]])
    return Past(str(event["epoch"]), int(event["offset"]), int(event["first"]), messages, bool(event.get("gap")), bool(event.get("more")))
