"""Publications on their way to the order: sent at once, in order, and again after a loss of the link."""

from __future__ import annotations

from asyncio import AbstractEventLoop, Future, TimerHandle
from collections.abc import Callable
from functools import partial

from ..account import Account
from ..budget import WAITING_BYTES, Budget
from ..contract import Published
from ..errors import BrokerClosed, BrokerUnavailable, Busy
from ..links.contract import Link, Publication
from .questions import AGAIN_SECONDS, no_answer

MAX_UNDER_WAY = 1000
"""Publications of one room that wait for the order's answer in this process. A room with as many is busy."""


class _UnderWay:
    __slots__ = ("account", "cost", "due", "future", "publication", "sent")

    def __init__(self, publication: Publication, account: Account, future: Future[Published], due: float) -> None:
        self.publication = publication
        self.account = account
        self.cost = WAITING_BYTES + len(publication.payload)
        self.due = due
        self.future = future
        self.sent = False


class Publications:
    """The publications of one broker that the order has not answered, oldest first. Each has `timeout` seconds, and counts in `budget`.

    `less_busy` is called when a room that was busy, or the whole, has fewer of them.
    """

    def __init__(
        self, link: Link, budget: Budget, timeout: float, loop: Callable[[], AbstractEventLoop], less_busy: Callable[[], None]
    ) -> None:  # fmt: skip
        self._link = link
        self._budget = budget
        self._timeout = timeout
        self._loop = loop
        self._less_busy = less_busy
        self._connected = False
        self._stalled = False  # an answer is missing: nothing is sent until all others have come, so that the order of the queue holds
        self._sent = 0
        self._queue: dict[int, _UnderWay] = {}
        self._rooms: dict[str, int] = {}
        self._timer: TimerHandle | None = None
        self._empty: Future[None] | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def publish(self, publication: Publication, account: Account) -> Future[Published]:
        """Send it, or keep it until the link is restored. Raises MemoryFull and Busy; the future gets the order's errors.

        The future gets BrokerUnavailable after `timeout` seconds; the order may have the publication nevertheless.
        """
        count = self._rooms.get(publication.room, 0)
        if count >= MAX_UNDER_WAY:
            raise Busy("earlier publications in this room are still under way")
        loop = self._loop()
        waiting = _UnderWay(publication, account, loop.create_future(), loop.time() + self._timeout)
        if not self._budget.fits(account, waiting.cost):
            raise self._budget.refusal(account, waiting.cost)
        self._budget.take(account, waiting.cost)
        self._rooms[publication.room] = count + 1
        self._queue[publication.number] = waiting
        if self._timer is None:
            self._timer = loop.call_at(waiting.due, self._expire)
        if self._connected and not self._stalled:
            self._send(waiting)
        return waiting.future

    def lost(self) -> None:
        """The link is lost. Publications without an answer wait here."""
        self._connected = False

    def restored(self) -> None:
        """Send all that wait, in order."""
        self._connected = True
        self._resume()

    async def drain(self) -> None:
        """Wait until no publication is under way; each of them has an end."""
        if self._queue:
            self._empty = self._loop().create_future()
            await self._empty

    def close(self) -> None:
        """Fail all that wait."""
        for waiting in list(self._queue.values()):
            self._finish(waiting, None, BrokerClosed("the broker is closed"))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send(self, waiting: _UnderWay) -> None:
        waiting.sent = True
        self._sent += 1
        self._link.publish(waiting.publication).add_done_callback(partial(self._answered, waiting))

    def _resume(self) -> None:
        if not self._connected or self._sent:
            return
        self._stalled = False
        for waiting in list(self._queue.values()):
            if not waiting.sent:
                self._send(waiting)

    def _answered(self, waiting: _UnderWay, answer: Future[Published]) -> None:
        waiting.sent = False
        self._sent -= 1
        error = BrokerUnavailable("the link has ended") if answer.cancelled() else answer.exception()
        if isinstance(error, BrokerUnavailable):
            self._stalled = True
        else:
            self._finish(waiting, None if error is not None else answer.result(), error)
        if self._stalled and not self._sent and self._connected:
            self._loop().call_later(AGAIN_SECONDS, self._resume)

    def _finish(self, waiting: _UnderWay, published: Published | None, error: BaseException | None) -> None:
        publication = waiting.publication
        if self._queue.pop(publication.number, None) is None:
            return
        self._budget.give_back(waiting.account, waiting.cost)
        left = self._rooms[publication.room] - 1
        if left:
            self._rooms[publication.room] = left
        else:
            del self._rooms[publication.room]
        if not waiting.future.done():
            if published is not None:
                waiting.future.set_result(published)
            elif error is not None:
                waiting.future.set_exception(error)
        if left in (0, MAX_UNDER_WAY // 2):
            self._less_busy()
        if not self._queue and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def _expire(self) -> None:
        self._timer = None
        now = self._loop().time()
        for waiting in list(self._queue.values()):
            if waiting.due > now:
                self._timer = self._loop().call_at(waiting.due, self._expire)
                return
            self._finish(waiting, None, no_answer(self._timeout))
