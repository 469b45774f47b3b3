"""The interface between a broker whose order is kept elsewhere and its link to that order.

`remote` has the broker. It serves the members of this process, and one link of its own carries its questions to the order (the hub, Redis)
and reports the order's publications. The order keeps the rooms' epochs, offsets, histories, idempotency keys and rosters, and it checks the
limits that hold for all processes. A link is thin: it carries and reports. The broker alone merges live messages with histories, drops
doubles, finds gaps, asks again and repairs.

Questions. A method that asks returns a plain `asyncio.Future` at once and raises nothing. The future gets its value, or a BrokerError: one
of the order's, or BrokerUnavailable. BrokerUnavailable leaves open whether the order carried out the question. A link that is not connected
fails a question at once, because it keeps no queue; a link that loses its connection fails all unanswered questions. The broker then asks
again, so each question may be asked twice: a join of a member that is in the room already is answered anew, and a publication is not
published again if the order knows its `number`.

Order. The order takes the publications of one link in the order in which the link was asked, as far as it takes them. If it may refuse a
publication as RateLimited, the broker asks for one publication of a publisher at a time, so nothing overtakes it. An order never answers
Busy: it calls `Receiver.held` instead.

Live messages. Between the answer to a join, or to `follow_pattern`, and `unfollow`, or `unfollow_pattern`, the link calls
`Receiver.message` for each publication in the room, or in each room that matches. The process follows a room once, however many of its
members are in it. The link begins to follow before the order reads the answer, so that each message is in the answer or comes live, or
both. A link promises no more: messages may come before the answer, twice, or in another order, and until the first answer and after
`unfollow` stray ones may come. Messages may be missing only if the link calls `lost`; the broker nevertheless compares positions from time
to time.

Loss. `Receiver.lost` says that from now on messages and changes may be missing, and that questions fail. The link connects again by itself,
with pauses of a second at most. When it is connected, it declares all that `Receiver.declared` and `Receiver.patterns` return: the order
then counts these members of this process in these rooms, and no others, and the link follows the rooms and patterns, each confirmed. A
declaration is never refused, even if a room is over its limit then. Only then does the link call `Receiver.restored`, after which live
messages come again and questions are answered; the broker compares all positions. `leave`, `unfollow`, `unfollow_pattern` and `hold` do
nothing while the link is away, and are not repeated, because the declaration replaces all that the order knew of this process. An order
that cannot be told so (Redis) forgets a member that no process declares any more after its expiry. If the order may have lost publications
or changes of presence, it gives the room, or the roster, a new epoch.

All calls, in both directions, are made on the loop's thread. A receiver's methods raise nothing and return at once.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from ..contract import Change, HistoryPage, Message, Position, Presence, PresencePage, Published, RoomPage


@dataclass(slots=True, eq=False, repr=False)
class Publication:
    """A message to be published; the fields are those of `Broker.publish`.

    `number` counts this broker's publications from 1. Together with a name that the link makes for this process, unique in all time, it is
    the publication's own key: the order remembers it for at least a minute, apart from the idempotency keys of the room. `owner` is as in
    `Link.join`.
    """

    number: int
    room: str
    payload: bytes
    text: bool
    publisher: str | None = None
    key: str | None = None
    content_type: str | None = None
    echo: bool = True
    owner: str = ""

    def __repr__(self) -> str:
        """Without the payload: it may be private, and large."""
        return f"<Publication {self.number} in {self.room!r}, {len(self.payload)} bytes>"


class Roster(NamedTuple):
    """All members of a room, over all processes, in the order they came, at one moment.

    `position` is the place of that moment among the room's changes of presence: `offset` counts them, and `epoch` names one life of the
    roster. That need not be the room's epoch, but if the order loses changes, or counts anew, it takes a new epoch.
    """

    position: Position
    members: tuple[Presence, ...]


@dataclass(frozen=True, slots=True)
class Joined:
    """The answer to a join, read by the order in one moment.

    `position`: of the room's last message. `messages`: those after `since`, in order, up to `position`. `gap`: `since` is of another epoch,
    or the history no longer has all of them; `messages` is then empty. `latest`: the last message, if the room keeps it, and `since` was
    None or there is a gap. `roster`: if the question had `watch`; the new member is in it.
    """

    position: Position
    messages: tuple[Message, ...] = ()
    gap: bool = False
    latest: Message | None = None
    roster: Roster | None = None
    changes: tuple[Change, ...] | None = None
    """The answer to `MovingLink.move` alone: the changes of the roster after `told`; None if they are not known any more."""


class Standing(NamedTuple):
    """The positions of a room now. `time`: of its last publication, by the order's clock, in seconds since 1970; 0.0 if it has none.

    `roster`: the position of its roster; None if the order keeps none for this room now.
    """

    position: Position
    time: float = 0.0
    roster: Position | None = None


class StandingPage(NamedTuple):
    """Some rooms, sorted by name. `after`: the `after` of the next page; None if this was the last."""

    rooms: tuple[tuple[str, Standing], ...]
    after: str | None


class DeclaredMember(NamedTuple):
    """A member of this process in a room, and the owner of its join."""

    presence: Presence
    owner: str


class Declared(NamedTuple):
    """A room that this process follows. `watch`: it needs the changes of presence. `held`: as in `Link.hold`."""

    room: str
    members: Sequence[DeclaredMember]
    watch: bool
    held: bool


class Receiver(Protocol):
    """The broker, as its link sees it."""

    def message(self, message: Message) -> None:
        """A live message. `message.echo` is false if its publisher, a member with that id, is not to be given it live."""

    def roster_changed(self, room: str, position: Position, changes: Sequence[Change]) -> None:
        """Changes of the roster of a room that this process watches, in order; `position` is that of the last of them.

        May come twice or in another order, and changes of this process's own members come too. The same promises as for messages.
        """

    def held(self, room: str, held: bool) -> None:
        """Whether publishers in this room must wait now. A process holds a room while its own members are slow; see `Link.hold`."""

    def lost(self, reason: str) -> None:
        """The link is cut. `reason` is for the log. Not called again before `restored`. A new link that has never connected is lost
        already, and need not say so."""

    def restored(self) -> None:
        """The link is connected, and everything is declared. Called after `lost`, and for the first connection too."""

    def declared(self) -> Iterable[Declared]:
        """All rooms that this process follows with their members of this process, for a declaration or a heartbeat of presence.

        Read it in one go, within one turn of the loop.
        """

    def patterns(self) -> Iterable[str]:
        """All patterns that this process follows."""


class Link(Protocol):
    """A connection to an order, for the rooms of one mount. See the module."""

    def open(self, receiver: Receiver) -> None:
        """Begin to connect, and go on trying until `close`. Called once, on the running loop, before all other methods.

        The other side may be away for as long as it likes: the link logs it, and questions fail with BrokerUnavailable meanwhile.
        """

    def close(self) -> None:
        """End the connection. The order forgets this process's members; unanswered questions fail; the receiver is called no more."""

    def cut(self, reason: str) -> None:
        """Treat the connection as lost and connect again, because the broker found it silent. Nothing happens if it is lost already."""

    def join(self, room: str, member: Presence, since: Position | None, *, watch: bool, owner: str) -> Future[Joined]:
        """Make a member of this process a member of the room, which is created if need be; and follow the room.

        `watch`: follow its changes of presence too, until `unfollow`. `owner`: the address ("address 192.0.2.1") or user ("user ada") whose
        share of the rooms' memory this counts in; "" is the program itself. Checked by the order: BadRoom, RoomFull, TooManyRooms,
        MemoryFull.
        """

    def leave(self, room: str, member: str) -> None:
        """The member with this id leaves. Nothing happens if it is not in the room. Does not end the following of the room."""

    def unfollow(self, room: str) -> None:
        """This process has no member in the room any more."""

    def follow_pattern(self, pattern: str) -> Future[float]:
        """Follow all rooms that match, now or later. A link may report more rooms than match.

        The answer is the order's time: a publication whose `time` is later comes live. Errors of the order: MemoryFull.
        """

    def unfollow_pattern(self, pattern: str) -> None:
        """This process has no member with this pattern any more."""

    def publish(self, publication: Publication) -> Future[Published]:
        """Publish. Errors of the order: BadRoom, BadKey, TooManyRooms, MemoryFull, RateLimited.

        The answer says `duplicate` only if the order knew `key`, not if it knew `number`. `members`: as many as the order knows of.
        """

    def hold(self, room: str, held: bool) -> None:
        """Ask the order to make all publishers of the room wait, on all processes, until this process takes it back.

        Several processes may hold a room; it is free when the last has taken it back, or is gone. A link whose order has no means for that
        does nothing.
        """

    def history(self, room: str, since: Position | None, limit: int, reverse: bool) -> Future[HistoryPage]:
        """As `Broker.history`. If the page has a gap, its `latest` is the room's last message, if the room keeps it."""

    def presence(self, room: str, limit: int | None) -> Future[PresencePage]:
        """As `Broker.presence`, over all processes."""

    def roster(self, room: str) -> Future[Roster | None]:
        """The room's roster now; None if the order keeps none."""

    def rooms(self, after: str, limit: int, pattern: str | None) -> Future[RoomPage]:
        """As `Broker.rooms`, over all processes."""

    def room_count(self) -> Future[int]:
        """The number of rooms that the order has. It may count rooms that are gone for a while."""

    def standings(self, rooms: Sequence[str]) -> Future[Mapping[str, Standing]]:
        """The positions of up to MAX_STANDINGS rooms. A room that does not exist now is left out."""

    def changed(self, pattern: str, since: float, after: str, limit: int) -> Future[StandingPage]:
        """Rooms that match the pattern, and whose last publication is not before `since`, an order's time; their `roster` may be None.

        `after` and `limit` are as in `Broker.rooms`. More rooms than that may be listed.
        """

    def probe(self) -> Future[None]:
        """Done when the path of writes and the live delivery of messages both work. The broker asks every few seconds."""


@runtime_checkable
class MovingLink(Link, Protocol):
    """A link to an order that lets a member go from one process to another in one step, while its connection goes along in an upgrade."""

    def move(
        self, room: str, member: Presence, since: Position, *, watch: bool, owner: str, told: Position | None
    ) -> Future[Joined]:  # fmt: skip
        """As `join`, with a member that may be another process's: it is this one's from now on, and no member is told of any change.

        The member was told all messages up to `since` and, if it watches, all changes of the roster up to `told`. The messages after
        `since` are known for some seconds, also in a room without a history. Asked again, it is answered anew.
        """


MAX_STANDINGS = 500
"""The most rooms of one question for standings."""
