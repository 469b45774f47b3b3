"""The app behind `app = rooms`: its broker, its timers, and the way of a message to many members."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeVar, cast

from ...brokers import Limits
from ...brokers.account import Account
from ...brokers.contract import (
    Answer,
    Broker,
    Busy,
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
from ...brokers.memory import MemoryBroker
from ...brokers.pages import first_messages
from ...core.absence import no_grace
from ...core.closing import INTERNAL_ERROR
from ...core.connection import Connection, Prepared, Writer
from ...core.handshake import Handshake
from .eager import eagerly
from .events import ENVELOPE_BYTES, SUBPROTOCOL, encode, message_event, notice_events
from .plain import PlainSession
from .policy import Policy, Visitor
from .subprotocol import JsonSession

SWEEP_INTERVAL_SECONDS = 5.0
"""Between two looks for rooms that are not used any more."""

MAX_ROOMS_PER_SWEEP = 500
"""Rooms that one sweep looks at: less than a millisecond."""

PAGE_MESSAGES = 200
"""Messages of a history that are sent before the app looks whether the client takes them."""

PAGE_BYTES = 256 * 1024

T = TypeVar("T")
Failed = Callable[[Connection, str, BaseException], None]
SendToAll = Callable[[Sequence[Writer], Sequence[Prepared]], None]
"""Sends all of the messages to each of the wires, in one write for each, and raises nothing."""

PLAIN, JSON = "plain", "json"
NOBODY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomsPolicy:
    """What the app is told besides the broker's limits. Sizes in bytes, times in seconds."""

    publish: Literal["clients", "server", "none"] = "clients"
    """The publishers that the mount allows."""
    echo_to_sender: bool = False
    parameters: tuple[str, ...] = ()
    """Those of the path: their values, with a / between them, name the room. None: only the subprotocol is served."""
    drops_messages: bool = False
    """The mount would rather drop messages than a slow connection."""
    waits: bool = False
    """A publisher waits until the slowest member has room."""
    send_backlog: int = 1024 * 1024
    hook_timeout: float = 10.0
    requests_per_second: float = 50.0
    """Of one connection of the subprotocol; 0: no limit."""


class Queue:
    """The publishers that wait until their room can take more."""

    __slots__ = ("length", "turn")

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.length = 0

    @contextmanager
    def waiter(self, queues: dict[str, Queue], room: str) -> Iterator[None]:
        """One publisher more. With the last one the queue leaves `queues`."""
        self.length += 1
        try:
            yield
        finally:
            self.length -= 1
            if not self.length:
                del queues[room]


class RoomsApp:
    """One mount's rooms. They are its own: two mounts share none.

    `send_to_all` is the wire's; `failed` is told what goes wrong for one connection. `hooks` is the user's policy object, if any.
    """

    subprotocols = (SUBPROTOCOL,)

    def __init__(
        self, policy: RoomsPolicy, limits: Limits, send_to_all: SendToAll, failed: Failed, hooks: object | None = None, *,
        clock: Callable[[], float] = time.monotonic, grace: Callable[[], float] = no_grace,
    ) -> None:  # fmt: skip
        self.policy = policy
        self.open_to_all = hooks is None and policy.publish == "clients"
        """Whether every member may publish without a hook."""
        self.hooks = None if hooks is None else Policy(hooks, policy.hook_timeout, failed)
        self.keeps_handshake = hooks is not None
        """Hooks are given a visitor's handshake for as long as the connection is open; without hooks the app reads it in `open` alone."""
        held = self._hold if policy.waits else None
        self._memory = MemoryBroker(
            limits, self._member_failed, loop=asyncio.get_running_loop, later=_later, bulk=self._give, held=held, clock=clock,
            grace=grace,
        )  # fmt: skip
        self.broker: Broker = self._memory
        self.page_bytes = max(1, min(PAGE_BYTES, policy.send_backlog // 4))
        self.loop: asyncio.AbstractEventLoop | None = None
        self.crowded: dict[str, Queue] = {}
        self.clock = clock
        self.grace = grace
        """Seconds by which the loop was away just now: rates let through so much more at once."""
        self._send_to_all = send_to_all
        self._failed = failed
        self._sweeper: asyncio.TimerHandle | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    # -- its life

    async def start(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._sweeper = self.loop.call_later(SWEEP_INTERVAL_SECONDS, self._sweep)

    async def stop(self) -> None:
        """Stop after the drain, when no member is left."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5.0)
        await answer_of(self.broker.close())
        self._wake_waiters()

    def open(self, connection: Connection, handshake: Handshake) -> PlainSession | JsonSession:
        room = "/".join([handshake.params[name] for name in self.policy.parameters])
        identity = NOBODY if handshake.identity is None else {"name": handshake.identity.name, "method": handshake.identity.method}
        visitor = None if self.hooks is None else Visitor(connection.id, handshake)
        owner = f"address {handshake.peer.network}" if handshake.identity is None else f"user {handshake.identity.name}"
        account = self.broker.account(owner)
        if handshake.subprotocol == SUBPROTOCOL:
            scope = "" if handshake.identity is None else handshake.identity.name
            return JsonSession(self, connection, room, identity, scope, visitor, account)
        session = PlainSession(self, connection, room, identity, visitor, account)
        session.enter(handshake)
        return session

    def in_background(self, work: Coroutine[Any, Any, None], connection: Connection | None = None) -> None:
        """Run `work` in a task of its own; it handles its own errors. A stopping daemon waits for the work of connections."""
        task = asyncio.get_running_loop().create_task(work)
        if connection is not None:
            connection.wire.background.add(task, connection)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def run(self, work: Coroutine[Any, Any, None]) -> Awaitable[None] | None:
        """Do a session's work: at once as far as it goes; what is returned is the rest. With hooks in a task, for they may need one."""
        return eagerly(work) if self.hooks is None else work

    def failed(self, connection: Connection, doing: str, error: BaseException) -> None:
        """One connection cannot be served: it is told to the operator, and that one is closed."""
        self._failed(connection, doing, error)
        connection.wire.close(INTERNAL_ERROR, "internal error")

    # -- publishing and recovering

    async def publish(self, room: str, payload: bytes, text: bool, *, account: Account | None = None, **options: Any) -> Published:
        """Publish; while the room still delivers too much, wait, first come, first served. Other BrokerErrors come through.

        A publication that waits counts in the memory of the rooms: MemoryFull if there is none left to wait in.
        """
        queue = self.crowded.get(room)
        if queue is None:
            try:
                return await answer_of(self.broker.publish(room, payload, text, account=account, **options))
            except Busy:
                queue = self.crowded[room] = Queue()
        with queue.waiter(self.crowded, room):
            with self._memory.waiting(len(payload), account):
                await queue.turn.acquire()
            try:
                while True:
                    try:
                        return await answer_of(self.broker.publish(room, payload, text, account=account, **options))
                    except Busy:
                        with self._memory.waiting(len(payload), account):
                            await self._delivered()
            finally:
                queue.turn.release()

    async def subscribe(self, room: str, member: PlainSession | JsonSession, since: Position | None, presence: bool = False) -> Subscribed:
        return await answer_of(self.broker.subscribe(room, member, since, presence=presence, account=member.account))

    async def subscribe_pattern(self, pattern: str, member: JsonSession, since: Mapping[str, Position]) -> PatternSubscribed:
        return await answer_of(self.broker.subscribe_pattern(pattern, member, since, account=member.account))

    async def unsubscribe(self, room: str, member: JsonSession) -> None:
        await answer_of(self.broker.unsubscribe(room, member))

    async def unsubscribe_pattern(self, pattern: str, member: JsonSession) -> None:
        await answer_of(self.broker.unsubscribe_pattern(pattern, member))

    async def history(self, room: str, since: Position | None, limit: int, reverse: bool) -> HistoryPage:
        return await answer_of(self.broker.history(room, since, limit, reverse))

    async def presence(self, room: str, limit: int | None) -> PresencePage:
        return await answer_of(self.broker.presence(room, limit))

    async def rooms(self, after: str, limit: int, pattern: str | None) -> RoomPage:
        return await answer_of(self.broker.rooms(after, limit, pattern))

    def remove(self, member: PlainSession | JsonSession) -> None:
        """The member has left all that it was in. May be called twice."""
        gone = self.broker.remove(member)
        if gone is not None:
            self.in_background(answer_of(gone), member.connection)

    async def _delivered(self) -> None:
        """Wait until some of what is under way was delivered."""
        if not self._waiters:
            self._memory.fan.call_after_turn(self._wake_waiters)
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    async def catch_up(
        self, room: str, since: Position, connection: Connection, give: Callable[[Sequence[Message]], None], all_of_it: bool = False
    ) -> Position:
        """Give what was missed, as fast as the client takes it, but for a last part that fits into one answer; with `all_of_it` that too.

        Answers the position that the client then has. A gap, one that opens meanwhile too, is seen when it then subscribes from there.
        """
        while connection.is_open:
            page: HistoryPage = await answer_of(self.broker.history(room, since, PAGE_MESSAGES))
            messages = first_messages(page.messages, self.page_bytes, ENVELOPE_BYTES)
            if page.gap or not messages or (messages[-1].offset == page.offset and not all_of_it):
                break
            give(messages)
            since = Position(page.epoch, messages[-1].offset)
            await asyncio.sleep(0)  # it leaves, and it shows whether the client takes it; and others have their turn
            await connection.writable()
        return since

    # -- to the members

    def _give(self, members: Sequence[Member], messages: Sequence[Message]) -> None:
        """The broker: give each of the members all of the messages."""
        sessions = cast("Sequence[PlainSession | JsonSession]", members)
        plain = [session.writer for session in sessions if type(session) is PlainSession]
        if plain:
            self._send_to_all(plain, [_prepared(message, PLAIN, plain[0]) for message in messages])
        if len(plain) < len(sessions):
            structured = [session.writer for session in sessions if session.structured]
            self._send_to_all(structured, [_prepared(message, JSON, structured[0]) for message in messages])

    def _hold(self, members: Sequence[Member], go_on: Callable[[], None]) -> bool:
        """The broker: whether some of the members have no room for a message; it goes on when they have, or are gone."""
        sessions = cast("Sequence[PlainSession | JsonSession]", members)
        slow = [session.connection for session in sessions if session.writer.queued and session.writer.live]
        if slow:
            self.in_background(_when_all_have_room(slow, go_on))
        return bool(slow)

    def give_one(self, member: Member, message: Message) -> None:
        """Give one member one message, outside the usual way to all."""
        self._give((member,), (message,))

    def give_missed(self, session: PlainSession | JsonSession, messages: Sequence[Message]) -> None:
        """Give one member messages out of a history, which keeps no frames."""
        if messages:
            form, writer = JSON if session.structured else PLAIN, session.writer
            self._send_to_all((writer,), [_prepare(message, form, writer) for message in messages])

    def tell(self, session: JsonSession, notice: Notice) -> None:
        """Tell one member of changes in a room's presence. Members that are told the same share the frames."""
        if notice.cache is None:
            notice.cache = {JSON: [session.writer.prepare(encode(event), True, object()) for event in notice_events(notice)]}
        self._send_to_all((session.writer,), notice.cache[JSON])

    # -- the loop

    def _wake_waiters(self) -> None:
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def _sweep(self) -> None:
        seen = self._memory.sweep(MAX_ROOMS_PER_SWEEP)
        self._sweeper = asyncio.get_running_loop().call_later(0.01 if seen >= MAX_ROOMS_PER_SWEEP else SWEEP_INTERVAL_SECONDS, self._sweep)

    def _member_failed(self, member: Member, error: Exception) -> None:
        self.failed(cast("PlainSession | JsonSession", member).connection, "delivering", error)


def _later(seconds: float, call: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(seconds, call)


async def _when_all_have_room(connections: Sequence[Connection], go_on: Callable[[], None]) -> None:
    for connection in connections:
        await connection.writable()
    go_on()


def _prepared(message: Message, form: str, writer: Writer) -> Prepared:
    """The message as all members of one kind are given it, made once."""
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
    """A broker's answer, whichever way it comes."""
    return await answer if isinstance(answer, Awaitable) else answer
