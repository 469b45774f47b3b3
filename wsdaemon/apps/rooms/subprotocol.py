"""rooms.v1.json: many rooms on one connection, patterns, acknowledged publications, positions, presence and history.

`requests` has the format of the client's messages, `events` that of the daemon's. The daemon handles the requests of one connection one
after the other, and answers them in that order. The states of each room, or pattern, of a connection:

                     subscribe, granted: "subscribed"
      +---------+ ----------------------------------------> +------------+ ---+
      | outside |                                            | subscribed |    | "message", "joined", "left", "gap"
      +---------+ <---------------------------------------- +------------+ <--+
        |     ^      unsubscribe: "unsubscribed",
        |     |      or the connection ends
        +-----+
      subscribe, refused: "error"

While a long history is sent before the answer "subscribed", the client is still outside, and its "message" events are that history.
Publishing, and asking for history or presence, need no subscription.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from ...brokers.account import Account
from ...brokers.contract import Message, MovedSubscription, Notice, Position, Subscribed
from ...brokers.errors import BrokerError, RateLimited
from ...brokers.pages import first_messages
from ...brokers.patterns import check_known, check_pattern
from ...core.closing import POLICY_VIOLATION, TRY_AGAIN_LATER
from ...core.connection import Connection, writer_of
from ...core.rate import TokenBucket
from . import events
from .events import Event, encode
from .going_along import SessionState, give, is_settled, move_in, read_state, take_leave, take_place
from .mount_rooms import MountRooms
from .requests import Fault, Id, Request, parse
from .visitor import Refused, Visitor

MAX_FAULTS = 20
"""Messages in a row that are no requests. After one more the daemon closes the connection."""

BURST_SECONDS = 2
"""Seconds' worth of requests that a connection may send at once after a pause. As many again may be refused before it is closed."""


class JsonSession:
    """One client of the subprotocol: a member of any number of rooms."""

    __slots__ = (
        "_bucket", "_faults", "_inside", "_moved", "_refusals", "_rooms", "_scope", "account", "connection", "id", "identity", "room",
        "visitor", "writer",
    )  # fmt: skip

    structured = True

    def __init__(
        self, rooms: MountRooms, connection: Connection, room: str, identity: Mapping[str, Any], scope: str, visitor: Visitor | None,
        account: Account,
    ) -> None:  # fmt: skip
        """`room`: the room that the path names, if any. `scope`: the user whose idempotency keys these are; empty without `auth`."""
        self._rooms = rooms
        self.account = account
        self.connection = connection
        self.writer = writer_of(connection)
        self.id = connection.id
        self.identity = identity
        self.room = room
        self.visitor = visitor
        self._scope = hashlib.sha256(scope.encode()).hexdigest()[:32] + ":" if scope else ""
        self._faults = self._refusals = 0
        self._inside: set[str] = set()
        self._moved: tuple[MovedSubscription, ...] = ()
        rate = rooms.rules.requests_per_second
        self._bucket = TokenBucket(rate, BURST_SECONDS * rate, rooms.clock()) if rate else None

    def received_payload(self, payload: bytes, text: bool) -> Awaitable[object] | None:
        return self._rooms.run(self._handle(payload, text))

    async def _handle(self, payload: bytes, text: bool) -> None:
        """Answer one request. A request over the rate is refused, and the next one is read when the rate allows it."""
        id: Id = None
        pause = 0.0
        try:
            limit = self._over_rate()
            if not text:
                raise Fault("bad_message", "expected text; binary data goes into a publish, in base64")
            request = parse(payload)
            id = request.id
            if limit is not None:
                pause = limit.retry_after
                raise limit
            answer = await self._answer(request)
            self._faults = 0
        except Fault as fault:
            id = id or fault.id
            answer = _error(fault.code, fault)
            self._faults += 1
        except Refused as refusal:
            answer = _error("forbidden", refusal)
        except RateLimited as error:
            answer = _error(error.code, error) | {"retry_after": round(error.retry_after, 3)}
        except BrokerError as error:
            answer = _error(error.code, error)
        if self.writer.live:
            self._send(answer if id is None else {"type": answer["type"], "id": id, **answer})
            self._close_if_hostile()
        if pause and self.writer.live:
            await asyncio.sleep(pause)
        if self.writer.congested:
            await self.connection.writable()

    def _over_rate(self) -> RateLimited | None:
        """The error for a request that comes too soon, else None. Refusals are counted until the connection has paused."""
        if self._bucket is None:
            return None
        now = self._rooms.clock()
        if self._refusals and self._bucket.is_full(now):
            self._refusals = 0
        wait = self._bucket.take(now, self._rooms.grace())
        if not wait:
            return None
        self._refusals += 1
        return RateLimited(f"a connection may send {self._rooms.rules.requests_per_second:g} requests a second", wait)

    def _close_if_hostile(self) -> None:
        if self._faults > MAX_FAULTS:
            self.connection.close(POLICY_VIOLATION, "too_many_errors")
        elif self._refusals > BURST_SECONDS * self._rooms.rules.requests_per_second:
            self.connection.close(POLICY_VIOLATION, RateLimited.code)

    def _send(self, event: Event) -> None:
        payload = encode(event)
        if self._rooms.rules.drops_messages:  # a mount may drop messages, but no answers
            self.writer.send_prepared(self.writer.prepare(payload, True, object()))
        else:
            self.writer.send_payload(payload, True)

    # -- requests

    async def _answer(self, request: Request) -> Event:
        match request.type:
            case "subscribe":
                return await (self._subscribe(request) if request.pattern is None else self._subscribe_pattern(request, request.pattern))
            case "unsubscribe":
                return await self._unsubscribe(request)
            case "publish":
                return await self._publish(request)
            case "history":
                return await self._history(request)
            case "presence":
                room = await self._admitted(request)
                await self._rooms.long_answers.turn()
                return events.presence(room, await self._rooms.presence(room, request.limit))
            case _:
                return {"type": "pong"}

    def _room(self, request: Request) -> str:
        room = request.room or self.room
        if not room:
            raise Fault("bad_message", "room: missing")
        return room

    async def _admitted(self, request: Request) -> str:
        """The room that the request means. Raises Refused unless the policy lets this client enter it."""
        room = self._room(request)
        if self._rooms.policy is not None and room not in self._inside:
            await self._rooms.policy.enter(self.connection, self.visitor, room)
        return room

    async def _subscribe(self, request: Request) -> Event:
        rooms, since = self._rooms, request.since
        room = await self._admitted(request)
        if since is None:
            await rooms.long_answers.turn()
        else:
            since = await rooms.catch_up(room, since, self.connection, self._give_missed)
        answer = await rooms.subscribe(room, self, since, request.presence)
        if not self.connection.is_open:
            rooms.remove(self)
        elif rooms.policy is not None:
            self._inside.add(room)
        return {"type": "subscribed", "member": self.id, **events.subscribed(answer)}

    async def _subscribe_pattern(self, request: Request, pattern: str) -> Event:
        rooms = self._rooms
        if rooms.policy is not None:
            await rooms.policy.enter_pattern(self.connection, self.visitor, pattern)
        known: dict[str, Position] = dict(request.since or {})
        check_pattern(pattern)
        check_known(pattern, known)  # before any of their messages is given: the policy allowed the pattern, not these rooms
        for room, position in known.items():
            known[room] = await rooms.catch_up(room, position, self.connection, self._give_missed, all_of_it=True)
        answer = await rooms.subscribe_pattern(pattern, self, known)
        if not self.connection.is_open:
            rooms.remove(self)
        return {"type": "subscribed", "member": self.id, "pattern": pattern, "rooms": [events.subscribed(one) for one in answer.rooms]}

    def _give_missed(self, messages: Sequence[Message]) -> None:
        self._rooms.give_missed(self, messages)

    async def _unsubscribe(self, request: Request) -> Event:
        if request.pattern is not None:
            await self._rooms.unsubscribe_pattern(request.pattern, self)
            return {"type": "unsubscribed", "pattern": request.pattern}
        room = self._room(request)
        await self._rooms.unsubscribe(room, self)
        self._inside.discard(room)
        return {"type": "unsubscribed", "room": room}

    async def _publish(self, request: Request) -> Event:
        rooms = self._rooms
        if rooms.rules.publish != "clients":
            raise Refused("clients do not publish here")
        room = await self._admitted(request)
        payload, text = request.data, request.text
        if rooms.policy is not None:
            changed = await rooms.policy.publish(self.connection, self.visitor, room, payload, text)
            if changed is None:
                return events.published(room, None)
            payload, text = changed
        key = None if request.key is None else self._scope + request.key
        echo = rooms.rules.echo_to_sender if request.echo is None else request.echo
        answer = await rooms.publish(room, payload, text, publisher=self.id, key=key, echo=echo, account=self.account)
        return events.published(room, answer)

    async def _history(self, request: Request) -> Event:
        room = await self._admitted(request)
        await self._rooms.long_answers.turn()
        page = await self._rooms.history(room, request.since, request.limit, request.reverse)
        return events.history(page, first_messages(page.messages, self._rooms.page_bytes, events.ENVELOPE_BYTES), request.reverse)

    # -- in an upgrade

    def is_settled(self) -> bool:
        return is_settled(self._rooms, self)

    def hand_over(self) -> bytes | None:
        moved = take_leave(self._rooms, self)
        if moved is None:
            return None
        tokens: float | None = None
        age = 0.0
        if self._bucket is not None:
            tokens, time = self._bucket.state()
            age = self._rooms.clock() - time
        return SessionState(moved, self._faults, self._refusals, tokens, age).encode()

    def handed_over(self) -> None:
        self._rooms.remove(self)

    def go_on(self, state: bytes) -> None:
        """Begin where the session of another process ended."""
        known = read_state(state)
        self._moved, self._faults, self._refusals = known.rooms, known.faults, known.refusals
        take_place(self._rooms, self)
        if self._bucket is not None and known.tokens is not None:
            self._bucket.restore(known.tokens, self._rooms.clock() - known.age)
        if self._rooms.policy is not None:
            self._inside.update(moved.room for moved in known.rooms)

    async def resumed(self) -> None:
        for moved in self._moved:
            if not self.connection.is_open:
                return
            try:
                answer = await move_in(self._rooms, self, moved)
            except BrokerError as error:
                self._rooms.remove(self)
                self.connection.close(TRY_AGAIN_LATER, error.code)
                return
            if self.connection.is_open:
                give(self._rooms, self, moved, answer)
        self._moved = ()

    # -- called by the broker and the edge

    def deliver(self, message: Message) -> None:
        self._rooms.give_one(self, message)

    def presence_changed(self, notice: Notice) -> None:
        self._rooms.tell(self, notice)

    def interrupted(self, room: str, answer: Subscribed, pattern: str | None = None) -> None:
        self._rooms.interrupt(self, answer, pattern)

    def expiring(self, seconds: float) -> None:
        """Tell the client that its token expires in so many seconds."""
        if self.writer.live:
            self._send({"type": "expiring", "seconds": round(seconds)})

    def closed(self, code: int, reason: str) -> None:
        self._rooms.remove(self)


def _error(code: str, error: Exception) -> Event:
    return {"type": "error", "code": code, "message": str(error) or "not allowed here"}
