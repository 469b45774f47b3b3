"""One subscription: each message of a room exactly once and in order, over any number of connections, or a gap that it is told of."""

from __future__ import annotations

import asyncio
import enum
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from ..callbacks import Callbacks
from .values import BadEvent, RoomError, RoomGap, RoomMember, RoomMessage, members_of, message_of

FULL = 256
"""Messages that wait for the program; with so many the connection reads no further, unless a request waits for its answer."""

OVERFULL = 4 * FULL
"""With so many the subscription lets messages go by, and asks the room for them once the program has caught up."""

MAX_OWN_IDS = 16
"""Member ids of earlier connections by which own messages are known."""

FINAL_CODES = frozenset({"bad_room", "bad_json", "bad_message", "forbidden"})
"""Refusals that end a subscription. After others it asks again."""

Item = RoomMessage | RoomGap
OnItem = Callable[[Any], object]


class SubscriptionPhase(enum.Enum):
    """OUTSIDE > ASKED > INSIDE; BEHIND: the messages that come are let go by. ENDED is final."""

    OUTSIDE = "outside"
    ASKED = "asked"
    INSIDE = "inside"
    BEHIND = "behind"
    ENDED = "ended"


class SubscribedRooms(Protocol):
    """The rooms of the client, as a subscription sees them."""

    @property
    def callbacks(self) -> Callbacks: ...

    def on_loop(self, call: Callable[[], object]) -> None:
        """Call it on the client's loop."""

    def leave(self, subscription: RoomSubscription) -> None:
        """Leave the room."""

    def resume(self, subscription: RoomSubscription) -> None:
        """Enter the room again from the last position on."""

    def caught_up(self) -> None:
        """A subscription has room again."""


class RoomSubscription:
    """An async iterator of the messages of one room; RoomGap stands where messages were lost. Or callbacks, which get the same.

    `members` are those of the room, by id, if it was subscribed with `presence`. `epoch` and `offset` are the position of the last
    message that came.
    """

    __slots__ = (
        "_busy", "_granted", "_ids", "_messages", "_own", "_rooms", "_waiter", "asked_id", "epoch", "error", "members", "offset", "on_gap",
        "on_joined", "on_left", "on_message", "phase", "presence", "refusals", "room",
    )  # fmt: skip

    def __init__(self, rooms: SubscribedRooms, room: str, *, presence: bool, own: bool, since: tuple[str, int] | None) -> None:
        self._rooms = rooms
        self.room = room
        self.presence = presence
        self._own = own
        self.epoch, self.offset = since or ("", 0)
        self.on_message: OnItem | None = None
        self.on_gap: OnItem | None = None
        self.on_joined: OnItem | None = None
        self.on_left: OnItem | None = None
        self.phase = SubscriptionPhase.OUTSIDE
        self.refusals = 0
        self.asked_id = 0
        self.error: BaseException | None = None
        self.members: dict[str, RoomMember] = {}
        self._ids: deque[str] = deque(maxlen=MAX_OWN_IDS)
        self._messages: deque[Item] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._granted: asyncio.Future[None] | None = None
        self._busy: asyncio.Future[Any] | None = None

    def __repr__(self) -> str:
        return f"<subscription to {self.room} {self.phase.value} at {self.epoch}:{self.offset}>"

    # -- for the program

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        """The next message or gap. The iteration ends with unsubscribe() and close(); a final failure is raised."""
        messages = self._messages
        while not messages:
            if self.phase is SubscriptionPhase.ENDED:
                if self.error is not None:
                    raise self.error
                raise StopAsyncIteration
            if self._waiter is not None:
                raise RuntimeError("one task at a time can take the messages of a subscription")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        item = messages.popleft()
        self._taken()
        return item

    async def granted(self) -> Self:
        """Wait until the room has let the client in. RoomError if it refuses for good."""
        while self.phase not in (SubscriptionPhase.INSIDE, SubscriptionPhase.BEHIND):
            if self.phase is SubscriptionPhase.ENDED:
                raise self.error or RoomError("closed", "the subscription has ended")
            if self._granted is None or self._granted.done():
                self._granted = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._granted)
        return self

    def unsubscribe(self) -> None:
        """Leave the room, from any thread. The iteration ends when it has given what came before."""
        self._rooms.on_loop(lambda: self._rooms.leave(self))

    async def __aenter__(self) -> Self:
        return await self.granted()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.unsubscribe()

    # -- called by the rooms of the client

    @property
    def full(self) -> bool:
        """Whether the program is behind."""
        return len(self._messages) >= FULL

    @property
    def _is_behind(self) -> bool:
        return self.phase is SubscriptionPhase.BEHIND

    @property
    def fields(self) -> dict[str, Any]:
        """The request that subscribes from the position of the last message on."""
        fields: dict[str, Any] = {"type": "subscribe", "room": self.room}
        if self.epoch:
            fields["since"] = {"epoch": self.epoch, "offset": self.offset}
        if self.presence:
            fields["presence"] = True
        return fields

    def outside(self) -> None:
        """The connection is lost."""
        if self.phase is not SubscriptionPhase.ENDED:
            self.phase = SubscriptionPhase.OUTSIDE

    def answered(self, event: Mapping[str, Any]) -> None:
        """The room has let the client in. BadEvent."""
        epoch, offset = position_of(event)
        member = event.get("member")
        if isinstance(member, str) and member not in self._ids:
            self._ids.append(member)
        self.refusals = 0
        if self.phase is not SubscriptionPhase.BEHIND:  # as it may be again, by the part of a long history that came before
            self.phase = SubscriptionPhase.INSIDE
        knew, missed = bool(self.epoch), event.get("messages") or ()
        for each in missed:
            self.came(message_of(each))
        if event.get("gap") or (knew and not self._is_behind and (self.epoch, self.offset) != (epoch, offset)):
            self._go_on_from(epoch, offset, gap=True)
        elif not knew:
            self._go_on_from(epoch, offset, gap=False)
        if event.get("latest") is not None:
            self._deliver(message_of(event["latest"]))
        self._present(event)
        if self._granted is not None and not self._granted.done():
            self._granted.set_result(None)

    def interrupted(self, event: Mapping[str, Any]) -> None:
        """The event `gap`: the room goes on after a position, and messages before it may be lost. BadEvent."""
        epoch, offset = position_of(event)
        self._go_on_from(epoch, offset, gap=True)
        for each in event.get("messages") or ():
            self._deliver(message_of(each))
        self._present(event)

    def came(self, message: RoomMessage) -> None:
        """A message of the room: the next one is given on, one that was given already is not, and a hole is a gap."""
        if self.phase in (SubscriptionPhase.BEHIND, SubscriptionPhase.ENDED):
            return
        if message.epoch == self.epoch and message.offset <= self.offset:
            return
        hole = bool(self.epoch) and (message.epoch != self.epoch or message.offset != self.offset + 1)
        told = not hole or self._deliver(RoomGap(self.room, message.epoch, message.offset - 1))
        if told and self._deliver(message):
            self.epoch, self.offset = message.epoch, message.offset

    def changed(self, event: Mapping[str, Any]) -> None:
        """Members joined or left. BadEvent."""
        joined = event["type"] == "joined"
        for member in members_of(event.get("members", ())):
            if joined:
                self.members[member.id] = member
            else:
                self.members.pop(member.id, None)
            self._rooms.callbacks.call(self.on_joined if joined else self.on_left, member)

    def end(self, error: BaseException | None) -> None:
        """The subscription is over. The iteration gives what came before."""
        if self.phase is SubscriptionPhase.ENDED:
            return
        self.phase, self.error = SubscriptionPhase.ENDED, error
        for future in (self._waiter, self._granted):
            if future is not None and not future.done():
                future.set_result(None)

    def _present(self, event: Mapping[str, Any]) -> None:
        if event.get("present") is not None:
            self.members = {member.id: member for member in members_of(event["present"])}

    def _go_on_from(self, epoch: str, offset: int, gap: bool) -> None:
        told = not gap or self._deliver(RoomGap(self.room, epoch, offset))
        if told:
            self.epoch, self.offset = epoch, offset

    # -- to the program

    def _deliver(self, item: Item) -> bool:
        """Give an item on, or keep it for the program. False if there is no room for it: then it is asked for again later."""
        if isinstance(item, RoomMessage) and not self._own and item.publisher in self._ids:
            return True
        if len(self._messages) >= OVERFULL:
            self.phase = SubscriptionPhase.BEHIND
            return False
        if self.on_message is not None and self._busy is None and not self._messages:
            self._give(item)
            return True
        self._messages.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        return True

    def _give(self, item: Item) -> None:
        """Call the callback. While its coroutine runs, later items wait."""
        callback = self.on_gap if isinstance(item, RoomGap) and self.on_gap is not None else self.on_message
        callbacks = self._rooms.callbacks
        result = callbacks.result(callback, item)
        if inspect.isawaitable(result):
            self._busy = callbacks.keep(_whole(result))
            self._busy.add_done_callback(self._go_on)

    def _go_on(self, done: asyncio.Future[Any]) -> None:
        self._busy = None
        while self._messages and self._busy is None and not done.cancelled():
            self._give(self._messages.popleft())
            self._taken()

    def _taken(self) -> None:
        """The program has taken an item."""
        if len(self._messages) == FULL // 2:
            self._rooms.caught_up()
        if not self._messages and self.phase is SubscriptionPhase.BEHIND:
            self._rooms.resume(self)


async def _whole(work: Awaitable[object]) -> None:
    await work


def position_of(event: Mapping[str, Any]) -> tuple[str, int]:
    """Epoch and offset of an event. BadEvent."""
    epoch, offset = event.get("epoch"), event.get("offset")
    if not isinstance(epoch, str) or type(offset) is not int:
        raise BadEvent("an answer without a position")
    return epoch, offset
