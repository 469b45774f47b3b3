"""The link to an order that is kept in Redis or Valkey.

One link has one connection for questions and one for live messages to each primary (`redis_session`). While they stand, the link asks by
scripts (`redis_scripts`) and reports messages. When one of them is lost, all of them are closed, and the link connects anew, with pauses of
a second at most, and declares its rooms and members before it reports that it is back.

A process's members are in the order for PRESENCE_SECONDS, and its heartbeat renews that; so members of a process that has died leave by
then.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from ...core.rare_lines import LineLog, RareLines
from ...settings.broker import Acknowledge, BrokerSettings
from .. import Limits
from ..contract import HistoryPage, Position, Presence, PresencePage, Published, RoomPage
from ..errors import BrokerUnavailable, MemoryFull, RoomFull
from ..patterns import check_room
from .contract import Declared, Joined, Publication, Receiver, Roster, Standing, StandingPage
from .redis_index import RoomIndex
from .redis_keys import Names
from .redis_messages import describe, last_message, live_changes, live_message, log_messages, members_in_order
from .redis_publishing import Common, Publishing
from .redis_reading import PRESENCE_SECONDS, Reading, in_turns
from .redis_scripts import DECLARE, JOIN, LEAVE
from .redis_servers import Away, Servers, Unfit, lacks_rights
from .redis_session import RedisSession

HEARTBEAT_SECONDS = PRESENCE_SECONDS / 3

SWEEP_SECONDS = 20.0
"""Between two looks at rooms that may be unused."""

LONGEST_PAUSE_SECONDS = 1.0
"""Between two attempts to connect."""

FIRST_PAUSE_SECONDS = 0.05

MEMBERS_PER_COMMAND = 500
"""Members of one declaration."""

WIDE_PATTERNS = 16
"""Patterns of channels of one process. With more of them it subscribes to all channels of the mount, because every publication is compared
with each of them."""

T = TypeVar("T")


class RedisLink:
    """As `contract.Link`, for the rooms of the mount at `path`."""

    def __init__(self, settings: BrokerSettings, path: str, limits: Limits, log: LineLog) -> None:
        self._settings = settings
        self._limits = limits
        self._log = log
        self._rare = RareLines(log)
        self._path = path
        self._names = Names(settings.prefix, path)
        self.node = secrets.token_hex(8)
        """The name of this process's members in Redis."""
        self._fresh = 0
        self._servers = Servers(settings)
        self._index = RoomIndex(self._names, limits, self._common)
        self._reading = Reading(self._names, limits, self._index, self._common)
        replica = settings.timeout if settings.acknowledge is Acknowledge.REPLICA else 0.0
        self._publishing = Publishing(
            self._names, limits, self.node, common=self._common, reserve=self._index.reserve, replica=replica
        )  # fmt: skip
        self._publishing.everything = self._names.everything
        self._ttl = 0 if limits.keep == float("inf") else round(max(limits.keep, PRESENCE_SECONDS * 2) * 1000)
        self._receiver: Receiver | None = None
        self._session: RedisSession | None = None
        self._ready = False
        self._followed: dict[str, asyncio.Future[None]] = {}
        self._watched: set[str] = set()
        self._joining: dict[tuple[str, str], asyncio.Task[Joined]] = {}
        self._globs: dict[str, set[str]] = {}
        self._glob_of: dict[str, str] = {}
        self._probes: dict[str, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._runner: asyncio.Task[None] | None = None
        self._shout = "PUBLISH"
        self._last_rooms: list[str] = []
        """Rooms with members of this process when the link was closed."""
        self.losses = 0
        """How often the connection was lost."""

    # -- life

    @property
    def connected(self) -> bool:
        """Whether questions are answered now."""
        return self._ready

    async def try_out(self) -> str | None:
        """Connect once, before `open`. Why Redis is away now; None if it is there. Unfit if it cannot be used."""
        session = RedisSession(self._servers, replica=False)
        try:
            async with asyncio.timeout(self._servers.limit):
                await session.open(self._message, _nothing)
                await session.prove(f"{self._settings.prefix}:try:{self.node}", self._probes)
                if self._limits.max_patterns:
                    await session.subscribe_pattern(self._names.channels(""), self._names.everything)
        except (Away, BrokerUnavailable, ConnectionError) as error:
            if lacks_rights(str(error)):
                raise Unfit(str(error)) from error
            return str(error)
        except TimeoutError:
            return "it does not answer"
        finally:
            self._probes.clear()
            await session.close()
        return None

    def open(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._runner = asyncio.get_running_loop().create_task(self._run(receiver))

    def close(self) -> None:
        self._ready = False
        if self._runner is not None and self._receiver is not None and not self._runner.cancelling():
            # The receiver forgets its rooms when it has closed its link, and the goodbye comes later.
            self._last_rooms = [declared.room for declared in self._receiver.declared() if declared.members]
            self._runner.cancel()
        self._publishing.close()
        for task in list(self._tasks):
            task.cancel()

    async def closed(self) -> None:
        """Done when all that `close` ended is over."""
        await asyncio.gather(*([] if self._runner is None else [self._runner]), *self._tasks, return_exceptions=True)

    def cut(self, reason: str) -> None:
        if self._session is not None:
            self._session.end(reason)

    async def _run(self, receiver: Receiver) -> None:
        """Connect, serve until the connection is lost, and again."""
        pause = 0.0
        while True:
            session = self._session = RedisSession(self._servers, replica=self._settings.acknowledge is Acknowledge.REPLICA)
            try:
                try:
                    await self._restore(session, receiver)
                except (Away, Unfit, BrokerUnavailable, MemoryFull, ConnectionError, TimeoutError) as error:
                    why = str(error) or "no answer"
                    session.end(why)
                    self._rare.warn(("away", type(error)), "Redis is away: {why}", why=why)
                else:
                    pause = 0.0
                    self._rare.info("connected", "connected to Redis at {place}, for {path}", place=session.places, path=self._path)
                    receiver.restored()
                    keeper = asyncio.get_running_loop().create_task(self._keep(session, receiver))
                    try:
                        reason = await asyncio.shield(session.ended)
                    finally:
                        keeper.cancel()
                        await asyncio.gather(keeper, return_exceptions=True)
                    self._ready = False
                    self._rare.warn("lost", "the connection to Redis is lost: {why}", why=reason)
                    receiver.lost(reason)
                    self.losses += 1
            finally:
                self._ready = False
                self._forget_session()
                if self._leaving(session):
                    await self._say_goodbye(session)
                await session.close()
            pause = min(LONGEST_PAUSE_SECONDS, max(FIRST_PAUSE_SECONDS, pause * 2))
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads reconnects, and is no secret

    def _leaving(self, session: RedisSession) -> bool:
        """Whether the session ends because the link is closed."""
        return not session.ended.done() and bool(session.layout.primaries)

    async def _say_goodbye(self, session: RedisSession) -> None:
        """Tell the order that this process's members leave, for half a second at most."""
        try:
            async with asyncio.timeout(0.5):
                await in_turns([self._leave_all(session, room) for room in self._last_rooms])
        except (BrokerUnavailable, MemoryFull, TimeoutError):
            return  # they expire

    async def _leave_all(self, session: RedisSession, room: str) -> None:
        await session.ask(DECLARE, self._names.room(room), *self._common(room), self.node, round(PRESENCE_SECONDS * 1000), 1)

    def _forget_session(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        self._followed.clear()
        self._watched.clear()
        self._globs.clear()
        self._glob_of.clear()
        for future in self._probes.values():
            if not future.done():
                future.set_exception(BrokerUnavailable("the connection to Redis is lost"))
                future.exception()  # it may be that nothing waits for it
        self._probes.clear()

    async def _restore(self, session: RedisSession, receiver: Receiver) -> None:
        """Connect, and declare what the receiver declares, until nothing has changed meanwhile.

        TimeoutError if Redis answers nothing for as long as a connection may take.
        """
        await session.open(self._message, lambda channel: self._dropped(session, channel))
        self._shout = "SPUBLISH" if session.clustered else "PUBLISH"
        async with asyncio.timeout(self._servers.limit) as limit:
            await self._declare_all(session, receiver, limit)
        if session.ended.done():
            raise Away(session.ended.result())
        self._ready = True

    async def _declare_all(self, session: RedisSession, receiver: Receiver, limit: asyncio.Timeout) -> None:
        """The limit begins anew with each answer, because there may be many rooms."""
        loop = asyncio.get_running_loop()

        async def step(question: Coroutine[Any, Any, Any]) -> None:
            await question
            if not limit.expired():
                limit.reschedule(loop.time() + self._servers.limit)

        told: dict[str, set[str]] = {}
        while True:
            declared, patterns = list(receiver.declared()), list(receiver.patterns())
            news = [each for each in declared if each.room not in told or {one.presence.id for one in each.members} != told[each.room]]
            gone = told.keys() - {each.room for each in declared}
            new_patterns = [each for each in patterns if each not in self._glob_of]
            if not news and not gone and not new_patterns:
                break
            await asyncio.gather(*[step(self._follow(session, each.room, each.watch)) for each in news])
            await asyncio.gather(*[step(self._follow_pattern(session, pattern)) for pattern in new_patterns])
            await in_turns([step(self._declare(session, each)) for each in news if each.members or told.get(each.room)])
            await in_turns([step(self._leave_all(session, room)) for room in gone if told[room]])
            for room in gone:
                self._unfollow(session, room)
                del told[room]
            told.update({each.room: {one.presence.id for one in each.members} for each in news})
        for pattern in set(self._glob_of) - set(patterns):
            self._unfollow_pattern(session, pattern)

    async def _declare(self, session: RedisSession, declared: Declared) -> None:
        """These are the members of this process in a room, and no others."""
        room, members = declared.room, declared.members
        for start in range(0, max(1, len(members)), MEMBERS_PER_COMMAND):
            some = members[start : start + MEMBERS_PER_COMMAND]
            described = [part for each in some for part in (each.presence.id, describe(each.presence))]
            whole = int(start + MEMBERS_PER_COMMAND >= len(members))
            if whole:
                described += [part for each in members[:start] for part in (each.presence.id, "")]
            await session.ask(
                DECLARE, self._names.room(room), *self._common(room), self.node, round(PRESENCE_SECONDS * 1000), whole, *described
            )

    async def _keep(self, session: RedisSession, receiver: Receiver) -> None:
        """The heartbeat of presence, and the sweeping of unused rooms."""
        swept = asyncio.get_running_loop().time() + random.uniform(0.5, 1) * SWEEP_SECONDS  # noqa: S311
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                declared = list(receiver.declared())
                await in_turns([self._beat(session, each) for each in declared if each.members])
                await self._index.touch(session, [each.room for each in declared if each.members])
                self._publishing.tidy()
                if asyncio.get_running_loop().time() >= swept:
                    swept = asyncio.get_running_loop().time() + SWEEP_SECONDS
                    await self._index.sweep(session)
                if await session.moved():
                    session.end("another server is the primary now")
            except (Away, Unfit, BrokerUnavailable, MemoryFull) as error:
                self._rare.warn("heartbeat", "Redis has not taken a heartbeat: {why}", why=str(error))

    async def _beat(self, session: RedisSession, declared: Declared) -> None:
        answer = await self._reading.stand(session, declared.room, self.node)
        if answer[0] == b"absent" or not answer[8]:
            await self._declare(session, declared)

    def _common(self, room: str) -> Common:
        self._fresh += 1
        return f"{self.node}{self._fresh:x}", self._ttl, self._names.channel(room), self._shout

    # -- live

    def _message(self, channel: bytes, data: bytes) -> None:
        receiver = self._receiver
        name = channel.decode()
        if (probe := self._probes.get(name)) is not None:
            if not probe.done():
                probe.set_result(None)
            return
        if receiver is None:
            return
        try:
            if name == self._names.everything:
                length, _, rest = data.partition(b" ")
                name, data = rest[: int(length)].decode(), rest[int(length) :]
            room = self._names.room_of(name)
            if data[:1] == b"m":
                receiver.message(live_message(room, data[1:]))
            elif room in self._watched:
                position, changes = live_changes(data[1:])
                receiver.roster_changed(room, position, changes)
        except (ValueError, TypeError) as error:
            self._rare.warn("strange", "Redis sent a message that is none of ours on {channel}: {error}", channel=name, error=str(error))

    def _dropped(self, session: RedisSession, channel: bytes) -> None:
        """The server gave up a subscription, because its slot went to another server. Nothing is lost, but something may be missing."""
        if channel.decode() in self._probes or self._names.room_of(channel.decode()) in self._followed:
            session.end("a slot of the cluster has moved to another server")

    # -- questions

    def _ask(self, question: Callable[[RedisSession], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """The answer to a question that needs more than one step."""
        task = asyncio.get_running_loop().create_task(self._question(question))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _question(self, question: Callable[[RedisSession], Coroutine[Any, Any, T]]) -> T:
        session = self._session
        if not self._ready or session is None or session.ended.done():
            raise BrokerUnavailable("Redis is away")
        try:
            return await question(session)
        except asyncio.CancelledError:
            if session.ended.done() or self._session is not session:
                raise BrokerUnavailable("the connection to Redis is lost") from None
            raise
        except (Away, ConnectionError) as error:
            raise BrokerUnavailable(str(error)) from error

    async def _follow(self, session: RedisSession, room: str, watch: bool) -> None:
        if watch:
            self._watched.add(room)
        confirmed = self._followed.get(room)
        if confirmed is None:
            confirmed = self._followed[room] = session.subscribe(self._names.channel(room))
        await asyncio.shield(confirmed)

    def _unfollow(self, session: RedisSession, room: str) -> None:
        self._watched.discard(room)
        if self._followed.pop(room, None) is not None:
            session.unsubscribe(self._names.channel(room))
            self._leave(session, room, "", True)

    def join(self, room: str, member: Presence, since: Position | None, *, watch: bool, owner: str) -> asyncio.Task[Joined]:
        task = self._ask(lambda session: self._join(session, room, member, since, watch, owner))
        key = room, member.id
        self._joining[key] = task

        def joined(done: asyncio.Task[Joined]) -> None:
            if self._joining.get(key) is done:
                del self._joining[key]

        task.add_done_callback(joined)
        return task

    async def _join(self, session: RedisSession, room: str, member: Presence, since: Position | None, watch: bool, owner: str) -> Joined:
        check_room(room, self._limits)
        await self._follow(session, room, watch)
        limits, place = self._limits, ("", 0) if since is None else since
        for create in (0, 1):
            answer = await session.ask(
                JOIN, self._names.room(room), *self._common(room), self.node, member.id, describe(member), round(PRESENCE_SECONDS * 1000),
                *place, int(watch), limits.max_members, *self._reading.kept, int(limits.latest), create,
            )  # fmt: skip
            if answer[0] != b"absent":
                break
            await self._index.reserve(session, room, owner)
        if answer[0] == b"full":
            raise RoomFull(f"the room has {limits.max_members} members")
        _, epoch, offset, gap, messages, newest, roster, number, members = answer
        life = epoch.decode()
        return Joined(
            Position(life, int(offset)),
            log_messages(room, life, messages),
            bool(gap),
            last_message(room, life, newest),
            Roster(Position(roster.decode(), int(number)), members_in_order(members)) if watch else None,
        )

    def leave(self, room: str, member: str) -> None:
        joining = self._joining.get((room, member))
        session = self._session
        if session is None or not self._ready:
            return
        if joining is None:
            self._leave(session, room, member, False)
        else:
            joining.add_done_callback(lambda _: self._leave(session, room, member, False))

    def _leave(self, session: RedisSession, room: str, member: str, last: bool) -> None:
        if not session.ended.done():
            arguments = (*self._common(room), self.node, member, int(last))
            self._ask(lambda session: session.ask(LEAVE, self._names.room(room), *arguments)).add_done_callback(_noticed)

    def unfollow(self, room: str) -> None:
        if self._session is not None and self._ready:
            self._unfollow(self._session, room)

    def follow_pattern(self, pattern: str) -> asyncio.Task[float]:
        return self._ask(lambda session: self._follow_pattern(session, pattern))

    async def _follow_pattern(self, session: RedisSession, pattern: str) -> float:
        """The order's time when the pattern was followed."""
        if pattern not in self._glob_of:
            glob = _literal(pattern)
            if glob not in self._globs and len(self._globs) >= WIDE_PATTERNS:
                glob = ""
            self._glob_of[pattern] = glob
            self._globs.setdefault(glob, set()).add(pattern)
        await session.subscribe_pattern(self._names.channels(self._glob_of[pattern]), self._names.everything)
        seconds, microseconds = await session.command(self._names.index[0], "TIME")
        return int(seconds) + int(microseconds) // 1000 / 1000

    def unfollow_pattern(self, pattern: str) -> None:
        if self._session is not None and self._ready:
            self._unfollow_pattern(self._session, pattern)

    def _unfollow_pattern(self, session: RedisSession, pattern: str) -> None:
        glob = self._glob_of.pop(pattern, None)
        if glob is not None:
            self._globs[glob].discard(pattern)
            if not self._globs[glob]:
                del self._globs[glob]
                if not session.clustered or not self._globs:
                    session.unsubscribe_pattern(self._names.channels(glob), self._names.everything)

    def publish(self, publication: Publication) -> asyncio.Future[Published]:
        session = self._session
        if session is None or not self._ready or session.ended.done():
            future: asyncio.Future[Published] = asyncio.get_running_loop().create_future()
            future.set_exception(BrokerUnavailable("Redis is away"))
            return future
        return self._publishing.publish(session, publication)

    def hold(self, room: str, held: bool) -> None:
        """Redis has no means for that: `slow_client = wait` makes the publishers of this process wait, and no others."""

    def history(self, room: str, since: Position | None, limit: int, reverse: bool) -> asyncio.Task[HistoryPage]:
        return self._ask(lambda session: self._reading.history(session, room, since, limit, reverse))

    def presence(self, room: str, limit: int | None) -> asyncio.Task[PresencePage]:
        return self._ask(lambda session: self._reading.presence(session, room, limit))

    def roster(self, room: str) -> asyncio.Task[Roster | None]:
        return self._ask(lambda session: self._reading.roster(session, room))

    def rooms(self, after: str, limit: int, pattern: str | None) -> asyncio.Task[RoomPage]:
        return self._ask(lambda session: self._reading.rooms(session, after, limit, pattern))

    def room_count(self) -> asyncio.Task[int]:
        return self._ask(self._index.count)

    def standings(self, rooms: Sequence[str]) -> asyncio.Task[Mapping[str, Standing]]:
        return self._ask(lambda session: self._reading.standings(session, rooms))

    def changed(self, pattern: str, since: float, after: str, limit: int) -> asyncio.Task[StandingPage]:
        return self._ask(lambda session: self._reading.changed(session, pattern, since, after, limit))

    def probe(self) -> asyncio.Task[None]:
        return self._ask(lambda session: session.prove(f"{self._settings.prefix}:probe:{self.node}", self._probes))


def _literal(pattern: str) -> str:
    """The part of a pattern before its first wildcard."""
    tokens = pattern.split(".")
    wild = next((index for index, token in enumerate(tokens) if token in ("*", ">")), len(tokens))
    return "".join([f"{token}." for token in tokens[:wild]]) if wild < len(tokens) else pattern


def _noticed(done: asyncio.Task[Any]) -> None:
    """A leave that failed is not repeated: the next declaration, or the expiry, stands in for it."""
    if not done.cancelled():
        done.exception()


def _nothing(*arguments: object) -> None:
    """A message that comes while Redis is tried out."""
