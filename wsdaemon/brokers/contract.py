"""The interface of a broker: its methods, which each kind of broker has, and their values.

A broker carries messages between members of rooms. Each room has one total order: every publication gets the next offset, and every member
is given its messages in the order of offsets. Offsets count from 1 and grow by one; the epoch names one life of a room. A member that comes
back gives its epoch and offset, and is given exactly the messages that it missed, or is told that there is a gap.

A method returns its value, or an awaitable of it if the broker has to ask another process, so that the memory broker needs no task and no
future. Test with `isinstance(answer, Published)` and the like, and await an answer only if it is not the value. Errors come both ways too.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, Future
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, Union, runtime_checkable

from .account import Account
from .errors import BadKey

T = TypeVar("T")

Answer = Union[T, Awaitable[T]]  # noqa: UP007 (a type variable knows no |)
"""A value, or an awaitable of it."""


class Position(NamedTuple):
    """A place in a room's order: a client has seen all messages up to `offset`. Offset 0 is the place before the first message."""

    epoch: str
    offset: int


@dataclass(slots=True, eq=False, repr=False)
class Message:
    """One publication in a room. Nothing in it changes once it is published, except `holds` and `cache`.

    `payload` holds UTF-8 if `text` is true; the publisher has checked it, and the broker does not check again. `time` is in seconds since
    1970. `publisher` is the id of the member that published, or None. In `cache` the app may keep the frames that it made for all members,
    but only while the message is delivered. When the last member was given the message, the broker sets `cache` to None, so that a
    history holds payloads and no frames.
    """

    room: str
    epoch: str
    offset: int
    payload: bytes
    text: bool
    time: float
    publisher: str | None = None
    content_type: str | None = None
    account: Account | None = None
    """The account in which it counts; None is the program's."""
    echo: bool = True
    """False if the publisher is not to be given it live, on an order that is kept elsewhere. The memory broker leaves it True."""
    holds: int = 0
    """The number of histories, rooms and deliveries of the broker that refer to it. While it is above 0, its bytes count."""
    cache: dict[Any, Any] | None = None

    def __repr__(self) -> str:
        """Without the payload: it may be private, and large."""
        kind = "text" if self.text else "binary"
        return f"<Message {self.room!r} {self.epoch}:{self.offset} {kind}, {len(self.payload)} bytes>"


class Presence(NamedTuple):
    """A member of a room as others see it: its id, and the identity that authentication gave it."""

    id: str
    identity: Mapping[str, Any]


class Change(NamedTuple):
    """A member joined or left."""

    kind: Literal["joined", "left"]
    who: Presence


class Notice:
    """Changes of a room's presence, in order. `cache` is as in `Message`: one notice object serves many members."""

    __slots__ = ("cache", "changes", "room")

    def __init__(self, room: str, changes: tuple[Change, ...]) -> None:
        self.room = room
        self.changes = changes
        self.cache: dict[Any, Any] | None = None


class Member(Protocol):
    """A receiver of messages: for a WebSocket, the session of a connection.

    `id` is unique among all members of the broker and does not change. `identity` is shown to others as presence.
    """

    @property
    def id(self) -> str: ...

    @property
    def identity(self) -> Mapping[str, Any]: ...

    def deliver(self, message: Message) -> None:
        """Take one message at once, without blocking. The member may call the broker again, for instance to remove itself.

        It should not raise: if it does, it has missed a message, so the broker removes it and reports it as failed.
        """

    def presence_changed(self, notice: Notice) -> None:
        """Take changes in a room to which this member subscribed with `presence=True`. The same rules as for `deliver`."""

    def interrupted(self, room: str, answer: Subscribed, pattern: str | None = None) -> None:
        """Learn that messages of the room may be lost for this member, because the broker was cut off from the room's order.

        `answer.gap` is true. The room continues at `answer.epoch` and `answer.offset`: the messages that the room still has, and live ones,
        follow with `offset + 1` by `deliver`. `answer.messages` has at most the message at `offset` itself, if the room keeps its latest.
        `answer.present` is the whole roster, if the member subscribed with `presence=True`; notices count from there. `pattern`: one of the
        member's patterns that matches, if it is not a member of the room. If nothing is lost, the broker delivers what the member missed
        and does not call this. The same rules as for `deliver`. The memory broker never calls it.
        """


class Published(NamedTuple):
    """The answer to a publish: the position of the message.

    `duplicate`: this key was published before; epoch and offset are those of the first time, and nothing was sent. `members`: the number of
    members that are given it, as far as this broker knows.
    """

    epoch: str
    offset: int
    duplicate: bool
    members: int


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The answer to a subscribe. Live messages follow with `offset + 1`, with nothing lost or doubled in between.

    `messages`: the messages after the position in the request, in order, up to and including `offset`. `gap`: that position cannot be
    served (another epoch, or the history no longer holds all of them); then `messages` is empty. `latest`: the room's last message, for
    newcomers and after a gap, if the room keeps it. `present`: all members of the room, the new one included, if the request asked for
    presence; notices count from there. If `epoch` is "", the room does not exist now.
    """

    room: str
    epoch: str
    offset: int
    messages: tuple[Message, ...] = ()
    gap: bool = False
    latest: Message | None = None
    present: tuple[Presence, ...] | None = None
    changes: tuple[Change, ...] | None = None
    """The answer to `MovingBroker.move_in` alone, if the member watches: the changes of presence that it was not told of. None: they are
    not known, and `present` replaces its list."""


@dataclass(frozen=True, slots=True)
class PatternSubscribed:
    """The answer to a pattern subscription: `rooms` has one entry for each room that was named in `since`, in that order."""

    pattern: str
    rooms: tuple[Subscribed, ...] = ()


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A part of a room's history. `epoch` is "" and `offset` 0 for a room that does not exist now.

    `offset` is that of the room's last message. `first`: the oldest offset that is held (`offset + 1` if none is). `gap`: messages between
    the position in the request and `first` are lost, or the position is of another epoch; the page is then that without a position.
    """

    room: str
    epoch: str
    offset: int
    first: int
    messages: tuple[Message, ...] = ()
    gap: bool = False
    latest: Message | None = None
    """After a gap, the room's last message, if the room keeps it."""


@dataclass(frozen=True, slots=True)
class PresencePage:
    """The members of a room: `count` is their number, `members` lists as many as the request asked for, in the order they came."""

    count: int
    members: tuple[Presence, ...]


class RoomInfo(NamedTuple):
    """One room in a listing. `held`: messages in its history."""

    room: str
    epoch: str
    offset: int
    members: int
    held: int


@dataclass(frozen=True, slots=True)
class RoomPage:
    """Some rooms, sorted by name. `after`: the `after` of the next page; None if this was the last."""

    rooms: tuple[RoomInfo, ...]
    after: str | None


class Broker(Protocol):
    """Rooms, members and messages.

    If the answer to `subscribe` is an awaitable, the broker holds that room's live messages back until the caller has resumed with the
    answer, so that a member is never given a live message before the messages that it missed.
    """

    def open(self) -> None:
        """Begin, on the running loop. Called once, before all other methods but `account`."""

    def account(self, owner: str) -> Account:
        """The account of an address or a user. The calls below count memory in their `account`; without one, in the program's."""

    def subscribe(
        self, room: str, member: Member, since: Position | None = None, *, presence: bool = False, account: Account | None = None
    ) -> Answer[Subscribed]:
        """Make `member` a member of `room`, which is created if need be. With `since` the answer has the messages after it.

        No message is lost or doubled between the answer and the live messages. `presence`: the answer lists the members, and notices tell
        the member of changes. Errors: BadRoom, AlreadySubscribed, RoomFull, TooManyRooms, TooManySubscriptions, MemoryFull,
        DuplicateMember.
        """

    def subscribe_pattern(
        self, pattern: str, member: Member, since: Mapping[str, Position] | None = None, *, account: Account | None = None
    ) -> Answer[PatternSubscribed]:
        """Give `member` the messages published from now on in every room that matches, now or later; see `patterns`.

        A member gets each message once, however many of its subscriptions match. It is no member of those rooms: presence and max_members
        do not count it, and they may be evicted while it listens. `since`: positions by room, for which the answer has the messages that
        it missed, as that of `subscribe`. `rooms(pattern=...)` lists other rooms, and `history` has their messages. Errors: BadPattern,
        BadRoom (a room in `since` that does not match), AlreadySubscribed, TooManyPatterns, TooManyRooms (more than MAX_PAGE rooms in
        `since`), MemoryFull, DuplicateMember.
        """

    def unsubscribe(self, room: str, member: Member) -> Answer[None]:
        """Leave a room. Messages that are not delivered yet will not be. Errors: NotSubscribed."""

    def unsubscribe_pattern(self, pattern: str, member: Member) -> Answer[None]:
        """Give up a pattern. Errors: NotSubscribed."""

    def remove(self, member: Member) -> Answer[None]:
        """Leave all rooms and patterns, at the end of a connection. Raises nothing, and may be called twice."""

    def publish(
        self,
        room: str,
        payload: bytes,
        text: bool,
        *,
        publisher: str | None = None,
        key: str | None = None,
        content_type: str | None = None,
        echo: bool = True,
        account: Account | None = None,
    ) -> Published | Future[Published]:
        """Give the message its offset, keep it in history and give it to all members, in the room's order.

        The room is created if need be. `publisher`: the id of the member that publishes. `key`: an idempotency key of up to MAX_KEY
        characters. While the room remembers a key, publishing with it again sends nothing and has the answer of the first time. The keys
        of a room are those of all its publishers: put something into the key that no other publisher can have. `echo=False`: the publisher
        is not given its own message live (history and recovery have it nevertheless). After an error nothing was changed. Errors: BadRoom,
        BadKey, TooManyRooms, MemoryFull, RateLimited, Busy (only raised, never from a future).

        If the answer is a future, the publication is under way at once: the order takes the publications of one broker in the order of
        these calls. A caller whose messages must keep their order, in rooms with a rate, waits for each answer before the next call.
        """

    def less_busy(self, room: str) -> Awaitable[None]:
        """Done when it is worth trying again to publish in a room that raised Busy; or when the broker is closed."""

    def waiting(self, size: int, account: Account | None) -> AbstractContextManager[None]:
        """Count a publication of `size` bytes that waits until the room can take more. MemoryFull if there is no memory for that."""

    def sweep(self, limit: int = 1000) -> int:
        """Forget state that is not used any more: up to about `limit` rooms. Returns the number of rooms that it looked at.

        Call it every few seconds, and again soon if it returns `limit` or more.
        """

    def history(self, room: str, since: Position | None = None, limit: int = 100, reverse: bool = False) -> Answer[HistoryPage]:
        """Up to `limit` (1 to MAX_PAGE) messages, oldest first, from just after `since`, or from the oldest held.

        With `reverse`: newest first, from just before `since`, or from the newest. Errors: ValueError for a bad limit.
        """

    def presence(self, room: str, limit: int | None = None) -> Answer[PresencePage]:
        """Up to `limit` members of the room, or with None all. A room that does not exist has none."""

    def rooms(self, after: str = "", limit: int = 100, pattern: str | None = None) -> Answer[RoomPage]:
        """Up to `limit` (1 to MAX_PAGE) rooms, sorted by name, that match `pattern` and whose names come after `after`.

        Errors: BadPattern, ValueError for a bad limit.
        """

    def close(self) -> Answer[None]:
        """Forget all rooms and deliver no more. Every later call, except `remove` and `close`, raises BrokerClosed."""


class MovedSubscription(NamedTuple):
    """The room of a member whose connection goes to another process, and how much it was told."""

    room: str
    position: Position
    told: Position | None
    """If it watches presence: its place among the changes of the room's roster."""


@runtime_checkable
class MovingBroker(Broker, Protocol):
    """A broker whose members may go on in another process, with the same id, without a message lost or doubled, and without a change of
    presence."""

    def is_settled(self, member: Member) -> bool:
        """Whether `take_leave` may be called now; if not, it may be soon."""

    def take_leave(self, member: Member) -> tuple[MovedSubscription, ...] | None:
        """Give the member all that waits for it here, and return its rooms. None: it has to stay, because it has patterns, or because
        this broker's order lets no member go.

        The member stays in its rooms, and whatever it is given afterwards is not for the client. When the other process has it, `remove`
        it, which is not told. If it goes on here instead, the client's new session takes its place, and moves in here.
        """

    def take_place(self, member: Member) -> None:
        """This member of a client that has come is the one to remove from now on. Nothing happens if the broker has none with its id."""

    def move_in(self, moved: MovedSubscription, member: Member, account: Account) -> Awaitable[Subscribed]:
        """Make a member of a client that has come one of the room's, in the place of the member with its id: the answer has all messages
        after its position, as that of `subscribe`. Limits on members and subscriptions do not count here. Errors: BrokerUnavailable,
        BrokerClosed.
        """


MAX_PAGE = 1000
"""The most messages or rooms of one page, and the most rooms that one pattern subscription can recover."""

MAX_KEY = 256
"""The longest idempotency key, in characters."""


def check_limit(limit: int) -> None:
    """Raise ValueError unless a page may have `limit` entries."""
    if not 1 <= limit <= MAX_PAGE:
        raise ValueError(f"a limit is from 1 to {MAX_PAGE}, not {limit}")


def check_key(key: str) -> None:
    """Raise BadKey unless this can be an idempotency key."""
    if not 0 < len(key) <= MAX_KEY:
        raise BadKey(f"an idempotency key is text of 1 to {MAX_KEY} characters")


Failed = Callable[[Member, Exception], None]
"""Called with a member whose `deliver` raised, after the broker has removed it. Closes that member's connection."""


Bulk = Callable[[Sequence[Member], Sequence[Message]], None]
"""Gives each of the members all of the messages, which are of one room and in order, faster than one `deliver` after the other.

It handles members that it cannot serve, and does not raise. If it does, all of the members count as failed.
"""

Held = Callable[[Sequence[Member], Callable[[], None]], bool]
"""Returns whether one of the members has no room for a message now. If so, it calls the function later, when that may be over."""


Later = Callable[[float, Callable[[], None]], object]
"""Asks for one call after some seconds."""


class BrokerMaker(Protocol):
    """Makes the broker of a mount, which is not open yet.

    `failed`, `bulk` and `held` serve its members. `loop` returns the running loop. `clock` is monotonic, in seconds. `grace` is that of
    TokenBucket.
    """

    def __call__(
        self, failed: Failed, *, bulk: Bulk, held: Held | None, loop: Callable[[], AbstractEventLoop], later: Later,
        clock: Callable[[], float], grace: Callable[[], float],
    ) -> Broker: ...  # fmt: skip
