"""The connections of a link to all primaries, from the moment that they stand until the first of them is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)

from ..errors import BrokerError, BrokerUnavailable, MemoryFull
from .redis_pipe import Argument, Questions, Subscriptions
from .redis_scripts import DIGESTS, PROVE
from .redis_servers import Away, Layout, RedisPlace, Servers, moved_to

REDIRECTS = (MovedError, AskError, TryAgainError)
"""A cluster's answers for a slot that is elsewhere, or on its way."""

FATAL = (ReadOnlyError, NoScriptError, BusyLoadingError, ClusterDownError)
"""Answers of a server that is not the primary any more, or has been restarted or emptied: the link connects anew."""

REDIRECT_SECONDS = 0.02
"""Before a question is asked again while its slot migrates."""


class RedisSession:
    """Connections for questions and for subscriptions to each primary. `ended` has the reason of the first loss."""

    def __init__(self, servers: Servers, *, replica: bool) -> None:
        """`replica`: publications have a connection of their own, because WAIT blocks all that comes after it."""
        self._loop = asyncio.get_running_loop()
        self._servers = servers
        self._replica = replica
        self.ended: asyncio.Future[str] = self._loop.create_future()
        self._questions: dict[RedisPlace, Questions] = {}
        self._publishing: dict[RedisPlace, Questions] = {}
        self._subscriptions: dict[RedisPlace, Subscriptions] = {}
        self.layout = Layout(())

    @property
    def clustered(self) -> bool:
        """Whether messages are sharded over several primaries."""
        return self.layout.slots is not None

    @property
    def places(self) -> str:
        """The primaries, for the log."""
        return ", ".join([str(place) for place in self.layout.primaries])

    async def open(self, message: Callable[[bytes, bytes], None], dropped: Callable[[bytes], None]) -> None:
        """Connect to all primaries. Away or Unfit; then `close` it, which closes the connections to the primaries that live."""
        self.layout = await self._servers.find()
        opening = [self._loop.create_task(self._open(place, message, dropped)) for place in self.layout.primaries]
        try:
            await asyncio.gather(*opening)
        except BaseException:
            # gather() leaves the others running; they would open connections after the close.
            for task in opening:
                task.cancel()
            await asyncio.gather(*opening, return_exceptions=True)
            raise
        for pipe in self._pipes():
            pipe.ended.add_done_callback(self._lost)

    async def _open(self, place: RedisPlace, message: Callable[[bytes, bytes], None], dropped: Callable[[bytes], None]) -> None:
        self._questions[place] = questions = await self._servers.questions(place)
        self._cut_if_ended(questions)
        if self._replica:
            self._publishing[place] = publishing = await self._servers.questions(place)
            self._cut_if_ended(publishing)
        self._subscriptions[place] = subscriptions = await self._servers.subscriptions(place, message, dropped)
        self._cut_if_ended(subscriptions)

    def _cut_if_ended(self, pipe: Questions | Subscriptions) -> None:
        """Cut a connection that opened after end(). Away, so that no other is opened."""
        if self.ended.done():
            pipe.end(self.ended.result())
            raise Away(self.ended.result())

    def _pipes(self) -> Iterable[Questions | Subscriptions]:
        return [*self._questions.values(), *self._publishing.values(), *self._subscriptions.values()]

    def _lost(self, ended: asyncio.Future[str]) -> None:
        self.end(ended.result())

    def end(self, reason: str) -> None:
        """Cut all connections; unanswered questions fail now."""
        if not self.ended.done():
            self.ended.set_result(reason)
            for pipe in self._pipes():
                pipe.end(reason)

    async def close(self) -> None:
        """Cut all connections, and wait until they are closed."""
        self.end("closed")
        for pipe in self._pipes():
            await pipe.close()

    async def moved(self) -> bool:
        """Whether Sentinels or nodes name other primaries than when the session began. If not, its slots are brought up to date."""
        layout = await self._servers.find()
        if set(layout.primaries) != set(self._questions):
            return True
        self.layout = layout
        return False

    # -- questions

    def tell(
        self, done: Callable[[Any], None], script: str, keys: tuple[str, ...], arguments: tuple[Argument, ...], publishing: bool = False,
        asking: RedisPlace | None = None,
    ) -> None:  # fmt: skip
        """Run a script on a room's keys, which begin with a fence and its kin. `done` is called with the answer or an exception.

        `publishing` questions keep their order among themselves. `asking`: the server that an ASK named.
        """
        try:
            pipe = self._pipe(keys[0], publishing, asking)
        except Away as error:
            done(ConnectionError(str(error)))
            return
        if asking is not None:
            pipe.tell(_ignore, "ASKING")
        # A room that came from another primary that lives came with its slot.
        kin = "" if len(self._questions) == 1 or not pipe.fence else f" {' '.join([each.fence for each in self._questions.values()])} "
        pipe.tell(done, "EVALSHA", DIGESTS[script], len(keys), *keys, pipe.fence, kin, *arguments)

    def _pipe(self, key: str, publishing: bool = False, asking: RedisPlace | None = None) -> Questions:
        pipes = self._publishing if publishing and self._replica else self._questions
        place = asking if asking is not None else self.layout.primaries[0] if self.layout.slots is None else self._place(key)
        pipe = pipes.get(place)
        if pipe is None:
            self.end(f"{place} is a primary now")
            raise Away(f"{place} is a primary now")
        return pipe

    def _place(self, key: str) -> RedisPlace:
        return self.layout.place_of(key_slot(key.encode()))

    def wait(self, key: str, milliseconds: int) -> asyncio.Future[Any]:
        """WAIT until a replica has what was published last with this key's server. The answer is the number of replicas."""
        return self._pipe(key, True).ask("WAIT", 1, milliseconds)

    def redirect(self, error: Exception) -> RedisPlace | None:
        """Note a redirect. The server to ask with ASKING, once; None to ask the slot's server again."""
        if isinstance(error, MovedError):
            place = moved_to(error)
            if place not in self._questions:
                self.end(f"{place} is a primary now")
            elif self.layout.slots is not None:
                slots = list(self.layout.slots)
                slots[error.slot_id] = place
                self.layout = Layout(self.layout.primaries, tuple(slots))
            return None
        return moved_to(error) if isinstance(error, AskError) else None

    async def ask(self, script: str, keys: tuple[str, ...], *arguments: Argument, whole: bool = True) -> Any:
        """Run a script, and follow the redirects of a cluster. `whole`: it takes a fence. BrokerUnavailable, MemoryFull."""
        asking: RedisPlace | None = None
        while True:
            future: asyncio.Future[Any] = self._loop.create_future()
            answered = partial(_answer, future)
            if whole:
                self.tell(answered, script, keys, arguments, asking=asking)
            else:
                pipe = self._pipe_or_away(keys[0], asking)
                if asking is not None:
                    pipe.tell(_ignore, "ASKING")
                pipe.tell(answered, "EVALSHA", DIGESTS[script], len(keys), *keys, *arguments)
            reply = await future
            if not isinstance(reply, Exception):
                return reply
            if not isinstance(reply, REDIRECTS) or self.ended.done():
                raise self.failed(reply)
            asking = self.redirect(reply)
            if asking is None:
                await asyncio.sleep(REDIRECT_SECONDS)

    async def command(self, key: str, *arguments: Argument) -> Any:
        """One command on one key. BrokerUnavailable, MemoryFull."""
        while True:
            try:
                return await self._pipe_or_away(key).ask(*arguments)
            except REDIRECTS as error:
                if self.ended.done():
                    raise self.failed(error) from error
                self.redirect(error)
                await asyncio.sleep(REDIRECT_SECONDS)
            except BrokerError:
                raise
            except Exception as error:
                raise self.failed(error) from error

    def _pipe_or_away(self, key: str, asking: RedisPlace | None = None) -> Questions:
        try:
            return self._pipe(key, False, asking)
        except Away as error:
            raise BrokerUnavailable(str(error)) from error

    def failed(self, error: Exception) -> BrokerError:
        """The BrokerError of an answer that is none. After some of them the session is over."""
        if isinstance(error, FATAL):
            self.end(f"the server answered: {error}")
        if isinstance(error, OutOfMemoryError) or str(error).startswith("OOM"):
            return MemoryFull("Redis has no memory left")
        return BrokerUnavailable(f"Redis: {error}")

    # -- subscriptions

    def subscribe(self, channel: str) -> asyncio.Future[None]:
        """Subscribe to a room's channel. Done when it is confirmed; ConnectionError."""
        if not self.clustered:
            return self._subscriptions[self.layout.primaries[0]].subscribe(channel)
        slot = key_slot(channel.encode())
        subscriptions = self._subscriptions.get(self.layout.place_of(slot))
        if subscriptions is None:
            raise Away("the cluster has another primary now")
        return subscriptions.subscribe(channel, "SSUBSCRIBE", slot)

    def unsubscribe(self, channel: str) -> None:
        """Give up a room's channel."""
        if not self.clustered:
            self._subscriptions[self.layout.primaries[0]].unsubscribe(channel)
            return
        slot = key_slot(channel.encode())
        place = None if self.layout.slots is None else self.layout.slots[slot]
        if place is not None and place in self._subscriptions:
            self._subscriptions[place].unsubscribe(channel, "SUNSUBSCRIBE", slot)

    def subscribe_pattern(self, channels: str, everything: str) -> asyncio.Future[None]:
        """Subscribe to all channels that match, or in a cluster to the one for all messages of the mount."""
        subscriptions = self._subscriptions[self.layout.primaries[0]]
        return subscriptions.subscribe(everything, "SUBSCRIBE") if self.clustered else subscriptions.subscribe(channels, "PSUBSCRIBE")

    def unsubscribe_pattern(self, channels: str, everything: str) -> None:
        """Give up what `subscribe_pattern` began."""
        subscriptions = self._subscriptions[self.layout.primaries[0]]
        if self.clustered:
            subscriptions.unsubscribe(everything, "UNSUBSCRIBE")
        else:
            subscriptions.unsubscribe(channels, "PUNSUBSCRIBE")

    async def prove(self, prefix: str, told: dict[str, asyncio.Future[None]]) -> None:
        """Write to every primary, and wait for the messages that the writes send. Their arrival is to resolve the futures in `told`."""
        await asyncio.gather(*[self._prove(place, prefix, told) for place in self.layout.primaries])

    async def _prove(self, place: RedisPlace, prefix: str, told: dict[str, asyncio.Future[None]]) -> None:
        name = self._name_on(place, prefix)
        if name not in told:
            await self.subscribe(name)
        arrived = told[name] = self._loop.create_future()
        shout = "SPUBLISH" if self.clustered else "PUBLISH"
        try:
            # Not through the connection for publications, because it may stand in WAIT for as long as a replica is away.
            await self._questions[place].ask("EVALSHA", DIGESTS[PROVE], 1, f"{name}:written", "probe", name, shout)
        except Exception as error:
            raise self.failed(error) from error
        await arrived

    def _name_on(self, place: RedisPlace, prefix: str) -> str:
        """A name whose slot this primary has."""
        if self.layout.slots is None:
            return f"{prefix}{{0}}"
        return next(name for number in range(10 * len(self.layout.slots)) if self._place(name := f"{prefix}{{{number}}}") == place)


def _answer(future: asyncio.Future[Any], reply: object) -> None:
    """The answer to a question. If its asker was cancelled meanwhile, none waits for it."""
    if not future.done():
        future.set_result(reply)


def _ignore(reply: object) -> None:
    """The answer to ASKING."""
