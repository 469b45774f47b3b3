"""The rooms of one mount: their broker, the publishers that wait, and the sending of one message to many members."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, cast

from ...brokers.account import Account
from ...brokers.contract import (
    Answer,
    BrokerMaker,
    HistoryPage,
    Member,
    Message,
    Notice,
    PatternSubscribed,
    Position,
    PresencePage,
    Published,
    RoomPage,
    Subscribed,
)
from ...brokers.errors import Busy, RateLimited
from ...brokers.pages import first_messages
from ...core.closing import INTERNAL_ERROR
from ...core.connection import Connection, background_of
from ...core.wire_halves import Prepared, Writer
from .eager import eagerly
from .events import ENVELOPE_BYTES, encode, gap_event, message_event, notice_events
from .long_answers import LongAnswers
from .policy import Policy

SWEEP_INTERVAL_SECONDS = 5.0
"""Between two sweeps, which forget the rooms that are not used any more."""

NEXT_SWEEP_SECONDS = 0.01
"""Until the next sweep, if the last one did not look at every room."""

MAX_ROOMS_PER_SWEEP = 500
"""Rooms that one sweep looks at: less than a millisecond."""

CLOSING_SECONDS = 5.0
"""Over this time the app spreads the closing of many connections at once, so that their clients come back one after the other."""

MAX_STOP_SECONDS = 5.0
"""How long the app waits at its stop for tasks that it has cancelled."""

PAGE_MESSAGES = 200
"""Messages of a history that are sent before the app looks whether the client takes them."""

PAGE_BYTES = 256 * 1024
"""Payload of a history that is sent before the app looks whether the client takes it."""

T = TypeVar("T")
Failed = Callable[[Connection, str, BaseException], None]
"""Called with a connection that cannot be served, the part of the work that failed, and the error."""

SendToAll = Callable[[Sequence[Writer], Sequence[Prepared]], None]
"""Sends all of the messages to each of the wires, in one write for each, and raises nothing."""

PLAIN, JSON = "plain", "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomsRules:
    """The rules of a mount, besides the broker's limits. Sizes in bytes, times in seconds."""

    publish: Literal["clients", "server", "none"] = "clients"
    """The publishers that the mount allows."""
    echo_to_sender: bool = False
    parameters: tuple[str, ...] = ()
    """Names of the path's parameters. Their values, with a / between them, name the room. If there are none, the mount serves the
    subprotocol only."""
    drops_messages: bool = False
    """The mount drops messages rather than a slow connection."""
    waits: bool = False
    """A publisher waits until the slowest member has room."""
    one_at_a_time: bool = False
    """A plain client's next message waits until the one before is published, because a room's rate may refuse that."""
    send_backlog: int = 1024 * 1024
    hook_timeout: float = 10.0
    requests_per_second: float = 50.0
    """Of one connection of the subprotocol; 0 is no limit."""


class RoomSession(Protocol):
    """The parts of a session that a room needs to send to it. `structured`: it is given events of the subprotocol, not the bare payload."""

    @property
    def connection(self) -> Connection: ...

    @property
    def writer(self) -> Writer: ...

    @property
    def structured(self) -> bool: ...


class AccountedMember(Member, Protocol):
    """A member whose subscriptions count in an account."""

    @property
    def account(self) -> Account: ...


class PublisherQueue:
    """The publishers that wait until their room can take more. Only the first of them tries again."""

    __slots__ = ("length", "turn")

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.length = 0

    @contextmanager
    def waiter(self, queues: dict[str, PublisherQueue], room: str) -> Iterator[None]:
        """Count one more publisher. With the last one the queue leaves `queues`."""
        self.length += 1
        try:
            yield
        finally:
            self.length -= 1
            if not self.length:
                del queues[room]


class MountRooms:
    """The rooms of one mount, which no other mount shares.

    `make_broker` makes their broker. `send_to_all` is the wire's. `failed` is called when a connection cannot be served. `hooks` is the
    user's policy object, if any.
    """

    def __init__(
        self, rules: RoomsRules, make_broker: BrokerMaker, send_to_all: SendToAll, failed: Failed, hooks: object | None,
        clock: Callable[[], float], grace: Callable[[], float],
    ) -> None:  # fmt: skip
        self.rules = rules
        self.open_to_all = hooks is None and rules.publish == "clients"
        """Whether every member may publish without a hook."""
        self.policy = None if hooks is None else Policy(hooks, rules.hook_timeout, failed)
        held = self._hold if rules.waits else None
        self.broker = make_broker(
            self._member_failed, bulk=self._give, held=held, loop=asyncio.get_running_loop, later=_later, clock=clock, grace=grace
        )  # fmt: skip
        self.page_bytes = max(1, min(PAGE_BYTES, rules.send_backlog // 4))
        self.loop: asyncio.AbstractEventLoop | None = None
        self.crowded: dict[str, PublisherQueue] = {}
        """Rooms that are busy, and their publishers."""
        self.throttled: dict[str, PublisherQueue] = {}
        """Rooms whose rate is used up, and their plain publishers."""
        self.long_answers = LongAnswers()
        self.clock = clock
        self.grace = grace
        """Returns the seconds for which the loop was away just now. Rates let through so much more at once."""
        self._send_to_all = send_to_all
        self._failed = failed
        self._sweeper: asyncio.TimerHandle | None = None
        self._gap: tuple[Subscribed, str | None, Prepared] | None = None  # the last break that was told, until the next sweep
        self._tasks: set[asyncio.Task[Any]] = set()

    # -- start, stop and tasks

    async def start(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.broker.open()
        self._sweeper = self.loop.call_later(SWEEP_INTERVAL_SECONDS, self._sweep)

    async def stop(self) -> None:
        """Stop after the drain, when no member is left."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=MAX_STOP_SECONDS)
        await answer_of(self.broker.close())

    def in_background(self, work: Coroutine[Any, Any, None], connection: Connection | None = None) -> None:
        """Run `work`, which handles its own errors, in a task of its own. A stopping daemon waits for the work of connections."""
        task = asyncio.get_running_loop().create_task(work)
        if connection is not None:
            background_of(connection).add(task, connection)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def run(self, work: Coroutine[Any, Any, None]) -> Awaitable[None] | None:
        """Run a session's work up to its first wait, and return the rest. With a policy return all of it, because hooks may need a task."""
        return eagerly(work) if self.policy is None else work

    def failed(self, connection: Connection, doing: str, error: BaseException) -> None:
        """Report a connection that cannot be served, and close it."""
        self._failed(connection, doing, error)
        connection.close(INTERNAL_ERROR, "internal error")

    def close_later(self, connection: Connection, code: int, reason: str) -> None:
        """Close a connection at a random moment of the next CLOSING_SECONDS."""
        asyncio.get_running_loop().call_later(random.uniform(0, CLOSING_SECONDS), connection.close, code, reason)  # noqa: S311 (no secret)

    # -- publishing and recovering

    async def publish(self, room: str, payload: bytes, text: bool, *, account: Account | None = None, **options: Any) -> Published:
        """Publish. While the room is busy, publishers wait, first come, first served.

        A publication that waits counts in the memory of the rooms. Errors: those of `Broker.publish` but Busy, MemoryFull among them if
        there is no memory to wait in.
        """
        queue = self.crowded.get(room)
        if queue is None:
            try:
                return await answer_of(self.broker.publish(room, payload, text, account=account, **options))
            except Busy:
                queue = self.crowded[room] = PublisherQueue()
        with queue.waiter(self.crowded, room):
            with self.broker.waiting(len(payload), account):
                await queue.turn.acquire()
            try:
                while True:
                    try:
                        return await answer_of(self.broker.publish(room, payload, text, account=account, **options))
                    except Busy:
                        with self.broker.waiting(len(payload), account):
                            await self.broker.less_busy(room)
            finally:
                queue.turn.release()

    async def publish_in_rate(
        self, connection: Connection, room: str, payload: bytes, text: bool, *, account: Account, **options: Any
    ) -> None:  # fmt: skip
        """Publish. While the room's rate is used up, publishers wait, first come, first served.

        If the connection is lost meanwhile, the message is dropped, so that a client that comes again and again does not use up the rate.
        Errors: those of `publish` but RateLimited.
        """
        queue = self.throttled.get(room)
        if queue is None:
            try:
                await self.publish(room, payload, text, account=account, **options)
                return
            except RateLimited:
                queue = self.throttled[room] = PublisherQueue()
        with queue.waiter(self.throttled, room):
            with self.broker.waiting(len(payload), account):
                await queue.turn.acquire()
            try:
                while connection.is_open:
                    try:
                        await self.publish(room, payload, text, account=account, **options)
                        return
                    except RateLimited as limit:
                        with self.broker.waiting(len(payload), account):
                            await asyncio.sleep(limit.retry_after)
            finally:
                queue.turn.release()

    async def subscribe(self, room: str, member: AccountedMember, since: Position | None, presence: bool = False) -> Subscribed:
        return await answer_of(self.broker.subscribe(room, member, since, presence=presence, account=member.account))

    async def subscribe_pattern(self, pattern: str, member: AccountedMember, since: Mapping[str, Position]) -> PatternSubscribed:
        return await answer_of(self.broker.subscribe_pattern(pattern, member, since, account=member.account))

    async def unsubscribe(self, room: str, member: Member) -> None:
        await answer_of(self.broker.unsubscribe(room, member))

    async def unsubscribe_pattern(self, pattern: str, member: Member) -> None:
        await answer_of(self.broker.unsubscribe_pattern(pattern, member))

    async def history(self, room: str, since: Position | None, limit: int, reverse: bool) -> HistoryPage:
        return await answer_of(self.broker.history(room, since, limit, reverse))

    async def presence(self, room: str, limit: int | None) -> PresencePage:
        return await answer_of(self.broker.presence(room, limit))

    async def rooms(self, after: str, limit: int, pattern: str | None) -> RoomPage:
        return await answer_of(self.broker.rooms(after, limit, pattern))

    def remove(self, member: Member) -> None:
        """Take the member out of all rooms. May be called twice."""
        leaving = self.broker.remove(member)
        if leaving is not None:
            self.in_background(answer_of(leaving))

    async def catch_up(
        self, room: str, since: Position, connection: Connection, give: Callable[[Sequence[Message]], None], all_of_it: bool = False
    ) -> Position:
        """Give a client the messages after `since` as fast as it reads, except the last page, which fits into one answer.

        With `all_of_it` the last page too. When it returns, this turn of the loop is the caller's for that answer. Returns the position
        that the client then has. If a gap opens meanwhile, the client is told of it when it subscribes from that position.
        """
        while True:
            await self.long_answers.turn()
            if not connection.is_open:
                break
            page: HistoryPage = await answer_of(self.broker.history(room, since, PAGE_MESSAGES))
            messages = first_messages(page.messages, self.page_bytes, ENVELOPE_BYTES)
            if page.gap or not messages or (messages[-1].offset == page.offset and not all_of_it):
                break
            give(messages)
            since = Position(page.epoch, messages[-1].offset)
            await asyncio.sleep(0)  # the page leaves, which shows whether the client reads; and other clients have their turn
            await connection.writable()
        return since

    # -- to the members

    def _give(self, members: Sequence[Member], messages: Sequence[Message]) -> None:
        """The broker's `bulk`: give each of the members all of the messages."""
        sessions = cast("Sequence[RoomSession]", members)
        plain = [session.writer for session in sessions if not session.structured]
        if plain:
            self._send_to_all(plain, [_prepared(message, PLAIN, plain[0]) for message in messages])
        if len(plain) < len(sessions):
            structured = [session.writer for session in sessions if session.structured]
            self._send_to_all(structured, [_prepared(message, JSON, structured[0]) for message in messages])

    def _hold(self, members: Sequence[Member], go_on: Callable[[], None]) -> bool:
        """The broker's `held`: whether some members have no room for a message. `go_on` is called when they have, or are closed."""
        sessions = cast("Sequence[RoomSession]", members)
        slow = [session.connection for session in sessions if session.writer.queued and session.writer.live]
        if slow:
            self.in_background(_when_all_have_room(slow, go_on))
        return bool(slow)

    def give_one(self, member: Member, message: Message) -> None:
        """Give one member one message."""
        self._give((member,), (message,))

    def give_missed(self, session: RoomSession, messages: Sequence[Message]) -> None:
        """Give one member messages from a history, which keeps no frames."""
        if messages:
            form, writer = JSON if session.structured else PLAIN, session.writer
            self._send_to_all((writer,), [_prepare(message, form, writer) for message in messages])

    def tell(self, session: RoomSession, notice: Notice) -> None:
        """Tell one member of changes in a room's presence. Members that are given the same notice share its frames."""
        if notice.cache is None:
            notice.cache = {JSON: [session.writer.prepare(encode(event), True, object()) for event in notice_events(notice)]}
        self._send_to_all((session.writer,), notice.cache[JSON])

    def interrupt(self, session: RoomSession, answer: Subscribed, pattern: str | None) -> None:
        """Tell one member of a break. The members that are told the same, one after the other, share its frames."""
        gap = self._gap
        if gap is None or gap[0] is not answer or gap[1] != pattern:
            prepared = session.writer.prepare(encode(gap_event(answer, pattern)), True, object())
            gap = self._gap = (answer, pattern, prepared)
        self._send_to_all((session.writer,), (gap[2],))

    # -- called by the loop and the broker

    def _sweep(self) -> None:
        self._gap = None
        seen = self.broker.sweep(MAX_ROOMS_PER_SWEEP)
        wait = NEXT_SWEEP_SECONDS if seen >= MAX_ROOMS_PER_SWEEP else SWEEP_INTERVAL_SECONDS
        self._sweeper = asyncio.get_running_loop().call_later(wait, self._sweep)

    def _member_failed(self, member: Member, error: Exception) -> None:
        self.failed(cast("RoomSession", member).connection, "delivering", error)


def _later(seconds: float, call: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(seconds, call)


async def _when_all_have_room(connections: Sequence[Connection], go_on: Callable[[], None]) -> None:
    for connection in connections:
        await connection.writable()
    go_on()


def _prepared(message: Message, form: str, writer: Writer) -> Prepared:
    """The message in the form that all members of one kind are given, made once."""
    cache = message.cache
    if cache is None:
        cache = message.cache = {}
    prepared: Prepared | None = cache.get(form)
    if prepared is None:
        prepared = cache[form] = _prepare(message, form, writer)
    return prepared


def _prepare(message: Message, form: str, writer: Writer) -> Prepared:
    if form == PLAIN:
        return writer.prepare(message.payload, message.text, message.room)
    return writer.prepare(encode(message_event(message)), True, message.room)


async def answer_of(answer: Answer[T]) -> T:
    """The value of a broker's answer, awaited if it is an awaitable."""
    return await answer if isinstance(answer, Awaitable) else answer
