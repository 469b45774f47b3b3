"""The publications of one link, in the order in which it was asked for them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

from .. import Limits
from ..contract import Published
from ..errors import BrokerError, BrokerUnavailable, RateLimited, TooManyRooms
from .contract import Publication
from .redis_keys import Names
from .redis_messages import pack
from .redis_scripts import PUBLISH
from .redis_servers import RedisPlace
from .redis_session import REDIRECT_SECONDS, REDIRECTS, RedisSession

NUMBER_SECONDS = 90.0
"""How long an unanswered number may be asked again."""

Common = tuple[str, int, str, str]
"""A new epoch, if one is needed; the expiry of the room's keys; its channel; the command that publishes."""


class Work:
    """A publication under way."""

    __slots__ = ("absent", "asking", "create", "future", "publication", "turn")

    def __init__(self, publication: Publication, future: asyncio.Future[Published], turn: int) -> None:
        self.publication = publication
        self.future = future
        self.turn = turn
        """Its place among all that the link was asked for."""
        self.absent = False
        """The room does not exist, and needs a place first."""
        self.create = False
        """The room has its place, and may be made."""
        self.asking: RedisPlace | None = None
        """The server that an ASK named."""


class RoomLine:
    """The publications of one room. `stalled`: those that wait until the one before them is taken; None if they go out as they come.

    The first publication of a line goes alone, because the room may not exist, and one that is sent again goes alone, because the others
    could overtake it while its slot migrates.
    """

    __slots__ = ("numbers", "sent", "stalled")

    def __init__(self) -> None:
        self.sent = 0
        """Publications at the server."""
        self.stalled: list[Work] | None = None
        self.numbers: dict[int, float] = {}
        """Numbers that the order must still remember, and until when: infinite while they are under way."""


class Publishing:
    """Sends publications, and keeps each room's in order when some of them must be sent again."""

    def __init__(
        self, names: Names, limits: Limits, node: str, *, common: Callable[[str], Common],
        reserve: Callable[[RedisSession, str, str], Awaitable[None]], replica: float,
    ) -> None:  # fmt: skip
        """`reserve` gives a new room its place, or raises a BrokerError. `replica`: seconds for a replica to acknowledge; 0 asks none."""
        self._names = names
        self._limits = limits
        self._node = node
        self._common = common
        self._reserve = reserve
        self._replica = replica
        self._lines: dict[str, RoomLine] = {}
        self._turn = 0
        self._mending: set[asyncio.Task[None]] = set()
        self.everything = ""
        """The channel for all messages of the mount, where a cluster needs it."""

    def publish(self, session: RedisSession, publication: Publication) -> asyncio.Future[Published]:
        """As `Link.publish`."""
        line = self._lines.get(publication.room)
        first = line is None
        if line is None:
            line = self._lines[publication.room] = RoomLine()
            line.stalled = []
        work = Work(publication, asyncio.get_running_loop().create_future(), self._turn)
        self._turn += 1
        line.numbers[publication.number] = math.inf
        if line.stalled is not None and not first:
            line.stalled.append(work)
        else:
            self._send(session, line, work)
        return work.future

    def _send(self, session: RedisSession, line: RoomLine, work: Work) -> None:
        publication, limits = work.publication, self._limits
        names, room = self._names, publication.room
        line.sent += 1
        session.tell(
            lambda reply: self._answered(session, line, work, reply),
            PUBLISH,
            (*names.room(room), names.own(room, self._node)),
            (
                *self._common(room),
                publication.number,
                min(line.numbers),
                publication.key or "",
                publication.owner,
                pack(publication),
                len(publication.payload),
                limits.history_count,
                round((limits.history_age or 0) * 1000),
                limits.history_bytes,
                int(limits.latest),
                limits.rate or 0,
                limits.burst,
                round(limits.key_age * 1000),
                limits.max_keys,
                int(work.create),
                self.everything if session.clustered and limits.max_patterns else "",
            ),
            True,
            work.asking,
        )

    def _answered(self, session: RedisSession, line: RoomLine, work: Work, reply: Any) -> None:
        line.sent -= 1
        comes_again = True
        if isinstance(reply, REDIRECTS) and not session.ended.done():
            work.asking = session.redirect(reply)
        elif not isinstance(reply, Exception) and reply[0] == b"absent":
            work.absent = True
        else:
            comes_again = False
            self._settle(session, line, work, reply)
        if comes_again:
            line.stalled = [*(line.stalled or []), work]
        if line.stalled is not None and not line.sent:
            self._continue(session, line, None if comes_again else work)

    def _settle(self, session: RedisSession, line: RoomLine, work: Work, reply: Any) -> None:
        """The order has answered."""
        if isinstance(reply, Exception):
            self._fail(line, work, session.failed(reply))
        elif reply[0] == b"settled":
            self._fail(line, work, BrokerUnavailable("Redis has settled later publications"))
        elif reply[0] == b"rate":
            rate = self._limits.rate or 0
            self._fail(line, work, RateLimited(f"the room takes {rate:g} publications a second", int(reply[1]) / 1000))
        else:
            kind, epoch, offset, members = reply
            published = Published(epoch.decode(), int(offset), kind == b"known", int(members))
            if self._replica:
                self._replicate(session, line, work, published)
            else:
                self._finish(line, work, published)

    def _continue(self, session: RedisSession, line: RoomLine, settled: Work | None) -> None:
        """Nothing of the room is at the server. `settled` was taken or refused, and the others may follow; None if it must come again."""
        if session.ended.done():
            self._fail_stalled(line, BrokerUnavailable(session.ended.result()))
        elif settled is None:
            task = asyncio.get_running_loop().create_task(self._mend(session, line))
            self._mending.add(task)
            task.add_done_callback(self._mending.discard)
        else:
            stalled, line.stalled = line.stalled or [], None
            for work in sorted(stalled, key=lambda work: work.turn):
                work.asking = settled.asking
                self._send(session, line, work)

    async def _mend(self, session: RedisSession, line: RoomLine) -> None:
        """Make the room if it is absent, or wait a moment for its slot, and send the first publication again."""
        stalled = line.stalled
        assert stalled
        first = min(stalled, key=lambda work: work.turn)
        if first.absent:
            try:
                await self._reserve(session, first.publication.room, first.publication.owner)
            except TooManyRooms as error:
                stalled.remove(first)  # each of the others has an owner of its own
                self._fail(line, first, error)
                first = min(stalled, key=lambda work: work.turn, default=first)
                if not stalled:
                    line.stalled = None
                    self._tidy(first.publication.room, line)
                    return
            except BrokerError as error:
                self._fail_stalled(line, error)
                return
            else:
                first.create = True
        else:
            await asyncio.sleep(REDIRECT_SECONDS)
        stalled.remove(first)
        self._send(session, line, first)

    def _fail_stalled(self, line: RoomLine, error: BrokerError) -> None:
        stalled, line.stalled = line.stalled or [], None
        for work in stalled:
            self._fail(line, work, error)
        if stalled:
            self._tidy(stalled[0].publication.room, line)

    # -- replicas

    def _replicate(self, session: RedisSession, line: RoomLine, work: Work, published: Published) -> None:
        """Acknowledge when a replica has it. WAIT is no part of the script, because it does not wait there."""
        key = self._names.room(work.publication.room)[0]
        try:
            waiting = session.wait(key, round(self._replica * 1000))
        except Exception as error:
            self._fail(line, work, session.failed(error))
            return

        def waited(done: asyncio.Future[Any]) -> None:
            if (error := done.exception()) is not None:
                self._fail(line, work, session.failed(error))  # type: ignore[arg-type]
            elif done.result() < 1:
                self._fail(line, work, BrokerUnavailable("no replica has acknowledged the message in time"))
            else:
                self._finish(line, work, published)

        waiting.add_done_callback(waited)

    # -- answers

    def _finish(self, line: RoomLine, work: Work, published: Published) -> None:
        line.numbers.pop(work.publication.number, None)
        self._tidy(work.publication.room, line)
        if not work.future.done():
            work.future.set_result(published)

    def _fail(self, line: RoomLine, work: Work, error: BrokerError) -> None:
        number = work.publication.number
        if isinstance(error, BrokerUnavailable):
            line.numbers[number] = asyncio.get_running_loop().time() + NUMBER_SECONDS
        else:
            line.numbers.pop(number, None)
        self._tidy(work.publication.room, line)
        if not work.future.done():
            work.future.set_exception(error)

    def _tidy(self, room: str, line: RoomLine) -> None:
        """Forget a line without work, and numbers that are not asked again."""
        if line.numbers and not line.sent and line.stalled is None:
            now = asyncio.get_running_loop().time()
            line.numbers = {number: until for number, until in line.numbers.items() if until > now}
        if not line.numbers and not line.sent and not line.stalled and self._lines.get(room) is line:
            del self._lines[room]

    def tidy(self) -> None:
        """Forget what failed long ago; called every few seconds."""
        for room, line in list(self._lines.items()):
            self._tidy(room, line)

    def close(self) -> None:
        """Fail what waits."""
        for task in self._mending:
            task.cancel()
        for line in list(self._lines.values()):
            self._fail_stalled(line, BrokerUnavailable("the daemon ends"))
