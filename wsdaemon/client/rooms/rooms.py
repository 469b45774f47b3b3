"""The rooms of a client: subscriptions that resume, and publications that are acknowledged (subprotocol rooms.v1.json)."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import secrets
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol

from ..backlog import closed_error
from ..callbacks import Callbacks
from ..errors import ClientError
from .reply import Reply
from .requests import KEY_SECONDS, Pending, Requests, error_of
from .room import ClientRoom
from .subscription import FINAL_CODES, RoomSubscription, SubscriptionPhase
from .values import Acknowledged, BadEvent, RoomError, message_of

SUBPROTOCOL = "rooms.v1.json"

LONGEST_REFUSAL_SECONDS = 30.0
"""The longest delay before a refused subscription asks again."""

PASSING_CODES = frozenset({"rate_limited", "unavailable", "closed"})
"""Refusals that pass by themselves."""

MAX_EPOCHS = 10_000
"""Rooms whose epoch a client remembers, for as long as a connection lasts."""


class Probes:
    """The epochs of rooms that are known on one connection, None for those that cannot be known, and the questions for others."""

    __slots__ = ("_begun", "asked", "epochs")

    def __init__(self) -> None:
        self.asked: dict[int, str] = {}
        self.epochs: dict[str, str | None] = {}
        self._begun: set[str] = set()

    def knows(self, room: str) -> bool:
        return room in self.epochs

    def begin(self, room: str) -> bool:
        """Whether the room is to be asked for now."""
        if room in self._begun:
            return False
        self._begun.add(room)
        return True

    def forget(self, room: str) -> None:
        """The question was not answered: ask again."""
        self._begun.discard(room)

    def learn(self, room: str, epoch: str | None) -> bool:
        """Keep a room's epoch; False if it was known already."""
        self._begun.discard(room)
        if room in self.epochs:
            self.epochs[room] = epoch
            return False
        if len(self.epochs) >= MAX_EPOCHS:
            self.epochs.pop(next(iter(self.epochs)))
        self.epochs[room] = epoch
        return True


class RoomsClient(Protocol):
    """The client, as its rooms see it."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None: ...

    @property
    def callbacks(self) -> Callbacks: ...

    def send_now(self, text: str) -> None:
        """Send a message on the open connection, on the client's loop, if there is one."""

    def on_loop(self, call: Callable[[], object]) -> None:
        """Call it on the client's loop, now or soon; nothing happens while the client does not run."""

    def failed(self, error: BaseException) -> None:
        """Report an error."""


class ClientRooms:
    """`rooms["prices.eur"]` is a room of the daemon's mount.

    Used on the client's loop, but for what a ClientRoom does. Requests that are made while the client is away wait for the connection.
    """

    def __init__(self, client: RoomsClient, draw: Callable[[float, float], float] = random.uniform) -> None:
        self._client = client
        self.callbacks = client.callbacks
        self._draw = draw
        self._requests = Requests(self._now)
        self._subscriptions: dict[str, RoomSubscription] = {}
        self._asked: dict[int, RoomSubscription] = {}
        self._leaving: dict[int, RoomSubscription] = {}
        self._probes = Probes()
        self._open = False
        self._connection = 0
        self._ended: BaseException | None = None
        self._room: asyncio.Future[None] | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self.member: str | None = None
        """The client's own id on this connection, once it is in a room."""

    def __getitem__(self, name: str) -> ClientRoom:
        return ClientRoom(self, name)

    def __iter__(self) -> Iterator[str]:
        """The names of the rooms that the client has subscribed to."""
        return iter(list(self._subscriptions))

    def _now(self) -> float:
        loop = self._client.loop
        return 0.0 if loop is None else loop.time()

    # -- for rooms and subscriptions

    def on_loop(self, call: Callable[[], object]) -> None:
        """Call it on the client's loop; at once while the client does not run yet."""
        if self._client.loop is None:
            call()
        else:
            self._client.on_loop(call)

    def subscribe(self, subscription: RoomSubscription) -> None:
        """Enter the room of a new subscription."""
        if self._ended is not None:
            subscription.end(self._ended)
        elif subscription.room in self._subscriptions:
            subscription.end(RoomError("already_subscribed", f"the client has a subscription to {subscription.room}"))
        else:
            self._subscriptions[subscription.room] = subscription
            self._ask(subscription)

    def leave(self, subscription: RoomSubscription) -> None:
        """Leave the room."""
        if self._subscriptions.get(subscription.room) is subscription:
            del self._subscriptions[subscription.room]
            if self._open and subscription.phase is not SubscriptionPhase.OUTSIDE:
                self._send({"type": "unsubscribe", "id": self._requests.next_id(), "room": subscription.room})
        subscription.end(None)
        self.caught_up()

    def resume(self, subscription: RoomSubscription) -> None:
        """The program has caught up, and has missed messages: leave the room and enter it again from the last position on."""
        if self._open and self._subscriptions.get(subscription.room) is subscription:
            number = self._requests.next_id()
            self._leaving[number] = subscription  # messages that are under way until the answer are let go by
            self._send({"type": "unsubscribe", "id": number, "room": subscription.room})

    def caught_up(self) -> None:
        """A subscription has room again."""
        room = self._room
        if room is not None and (len(self._requests) or not any(each.full for each in self._subscriptions.values())):
            self._room = None
            if not room.done():
                room.set_result(None)

    def request(self, pending: Pending) -> None:
        """Send a request, now or when there is a connection."""
        if self._ended is not None:
            pending.reply.fail(self._ended)
            return
        try:
            self._requests.add(pending)
        except ClientError as error:
            pending.reply.fail(error)
            return
        if self._open:
            self._send_waiting(pending.room)
        self.caught_up()

    def publish(self, room: str, data: str | bytes, key: str | None, echo: bool | None, reply: Reply[Acknowledged]) -> None:
        """Publish in a room; `reply` gets the acknowledgement."""
        key = key or secrets.token_hex(16)
        fields: dict[str, Any] = {"type": "publish", "room": room, "key": key}
        if isinstance(data, str):
            fields["data"] = data
        else:
            fields |= {"data": base64.b64encode(data).decode(), "encoding": "base64"}
        if room in self._subscriptions:
            echo = True  # a subscription without the own messages could not tell them from lost ones
        if echo is not None:
            fields["echo"] = echo
        self.request(Pending(fields, room, partial(_acknowledged, room, key), reply, key, data))

    # -- sending

    def _send(self, fields: Mapping[str, Any]) -> None:
        self._client.send_now(json.dumps(fields, ensure_ascii=False, separators=(",", ":")))

    def _send_waiting(self, room: str | None = None) -> None:
        """Send the requests that wait, those of one room or all. A publication waits until its room's epoch is known on this connection:
        else it could not be known later whether it may be repeated."""
        for pending in self._requests.to_send():
            if room is not None and pending.room != room:
                continue
            if pending.key and not self._probes.knows(pending.room):
                if pending.room not in self._subscriptions:
                    self._probe(pending.room)
            elif not self._requests.too_old(pending):  # else expire() reports it
                self._requests.sent(pending, self._probes.epochs.get(pending.room))
                self._send(pending.fields)
                if pending.key and self._expiry is None:
                    self._look_later()

    def _probe(self, room: str) -> None:
        """Ask for the epoch of a room."""
        if self._open and self._probes.begin(room):
            number = self._requests.next_id()
            self._probes.asked[number] = room
            self._send({"type": "history", "id": number, "room": room, "limit": 1})

    def _probed(self, room: str, event: Mapping[str, Any]) -> None:
        """The answer to a probe: the epoch of the room. A room that does not exist is made by entering it for a moment."""
        if event.get("type") == "error":
            error = error_of(event)
            if error.code in PASSING_CODES and (loop := self._client.loop) is not None:
                loop.call_later((error.retry_after or 0.0) + self._draw(0.0, 2.0), self._probe_again, room, self._connection)
            else:
                self._known(room, None)
        elif event.get("epoch"):
            self._known(room, str(event["epoch"]))
        else:
            number = self._requests.next_id()
            self._probes.asked[number] = room
            self._send({"type": "subscribe", "id": number, "room": room})
            self._send({"type": "unsubscribe", "id": self._requests.next_id(), "room": room})

    def _probe_again(self, room: str, connection: int) -> None:
        if connection == self._connection:
            self._probes.forget(room)
            self._send_waiting(room)

    def _known(self, room: str, epoch: str | None) -> None:
        """The room's epoch, on this connection. Publications that waited for it leave."""
        if self._probes.learn(room, epoch):
            self._requests.judge(room, epoch)
            self._send_waiting(room)

    def _look_later(self) -> None:
        loop = self._client.loop
        self._expiry = None if loop is None else loop.call_later(KEY_SECONDS / 24, self._look)

    def _look(self) -> None:
        self._expiry = None
        self._requests.expire()
        if len(self._requests):
            self._look_later()

    def _ask(self, subscription: RoomSubscription) -> None:
        if not self._open or subscription.phase is SubscriptionPhase.ENDED:
            return
        subscription.phase = SubscriptionPhase.ASKED
        number = self._requests.next_id()
        subscription.asked_id = number
        self._asked[number] = subscription
        self._send({**subscription.fields, "id": number})

    # -- called by the client

    def opened(self, subprotocol: str | None) -> None:
        """A connection is open: enter the rooms again, and repeat the requests that have no answer."""
        if subprotocol != SUBPROTOCOL:
            self.ended(ClientError(f"the server does not speak {SUBPROTOCOL}"))
            return
        self._open = True
        for subscription in list(self._subscriptions.values()):
            self._ask(subscription)
        self._send_waiting()

    def lost(self) -> None:
        """The connection is over."""
        self._open, self.member = False, None
        self._connection += 1
        self._asked.clear()
        self._leaving.clear()
        self._probes = Probes()
        self._requests.lost()
        for subscription in self._subscriptions.values():
            subscription.outside()

    def ended(self, error: BaseException | None) -> None:
        """The client has ended."""
        self._open = False
        reason = error or closed_error()
        self._ended = reason if error is not None else None
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        self._requests.end(reason)
        for subscription in list(self._subscriptions.values()):
            subscription.end(error)
        self._subscriptions.clear()
        self.caught_up()

    def received(self, message: str | bytes) -> asyncio.Future[None] | None:
        """A message of the daemon. A future if the connection should read no further before it is done."""
        try:
            event = json.loads(message)
            if not isinstance(event, dict):
                raise BadEvent("a message that is no object")
            self._handle(event)
        except ValueError as error:
            self._client.failed(ClientError(f"the server breaks the rules of {SUBPROTOCOL}: {error}"))
        if len(self._requests) or not any(each.full for each in self._subscriptions.values()):
            return None
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()
        return self._room

    def _handle(self, event: Mapping[str, Any]) -> None:
        kind, room = event.get("type"), event.get("room")
        subscription = self._subscriptions.get(room) if isinstance(room, str) else None
        if "id" in event:
            self._answered(event["id"], event)
        elif subscription is not None:
            if kind == "message":
                subscription.came(message_of(event))
            elif kind == "gap":
                subscription.interrupted(event)
                self._probes.learn(subscription.room, str(event.get("epoch")))
            elif kind in ("joined", "left"):
                subscription.changed(event)

    def _answered(self, number: Any, event: Mapping[str, Any]) -> None:
        subscription = self._asked.pop(number, None)
        if subscription is not None:
            self._subscribed(subscription, event)
        elif number in self._leaving:
            left = self._leaving.pop(number)
            left.outside()
            self._ask(left)
        elif number in self._probes.asked:
            self._probed(self._probes.asked.pop(number), event)
        else:
            self._requests.answer(number, event)

    def _subscribed(self, subscription: RoomSubscription, event: Mapping[str, Any]) -> None:
        if subscription.phase is SubscriptionPhase.ENDED:
            return
        if event.get("type") == "error":
            self._refused(subscription, error_of(event))
            return
        member = event.get("member")
        self.member = member if isinstance(member, str) else self.member
        subscription.answered(event)
        self._known(subscription.room, str(event.get("epoch")))

    def _refused(self, subscription: RoomSubscription, error: RoomError) -> None:
        """A room does not let the client in: for good, or it is asked again later."""
        subscription.outside()
        if error.code in FINAL_CODES or not (subscription.epoch or error.code in PASSING_CODES):
            self._subscriptions.pop(subscription.room, None)
            subscription.end(error)
            self._send_waiting(subscription.room)
            return
        subscription.refusals += 1
        window = min(LONGEST_REFUSAL_SECONDS, 2.0 ** min(subscription.refusals, 10))
        delay = (error.retry_after or 0.0) + self._draw(0.0, window)
        loop = self._client.loop
        if loop is not None:
            loop.call_later(delay, self._ask_again, subscription)

    def _ask_again(self, subscription: RoomSubscription) -> None:
        if subscription.phase is SubscriptionPhase.OUTSIDE and self._subscriptions.get(subscription.room) is subscription:
            self._ask(subscription)


def _acknowledged(room: str, key: str, event: Mapping[str, Any]) -> Acknowledged:
    if event.get("dropped"):
        return Acknowledged(room, key, "", 0, dropped=True)
    return Acknowledged(room, key, str(event["epoch"]), int(event["offset"]), bool(event.get("duplicate")))
