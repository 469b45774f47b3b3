"""A worker's links to the order of rooms in the hub: one for each mount, over the one HubClient of the process."""

from __future__ import annotations

import json
from asyncio import Future
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from ..brokers import Limits, contract
from ..brokers.contract import (
    BrokerError,
    BrokerUnavailable,
    HistoryPage,
    Position,
    Presence,
    PresencePage,
    Published,
    RateLimited,
    RoomInfo,
    RoomPage,
)
from ..brokers.links.contract import Joined, Publication, Receiver, Roster, Standing, StandingPage
from . import room_messages
from .client import HubAway, HubClient, HubRefused
from .room_messages import Source, presence_value, read_message, read_position, read_published, read_sheet, sheet

T = TypeVar("T")

MEMBERS_PER_DECLARATION = 1000
"""Members, and rooms, in one message of a declaration."""

_ERRORS: dict[str, type[BrokerError]] = {
    error.code: error
    for error in (
        contract.BadRoom, contract.BadPattern, contract.BadKey, contract.RoomFull, contract.TooManyRooms, contract.MemoryFull,
        contract.TooManySubscriptions, contract.TooManyPatterns, contract.AlreadySubscribed, contract.NotSubscribed,
        contract.DuplicateMember,
    )
}  # fmt: skip


class HubLinks:
    """The links of all mounts of this worker. `report` is called with lines for the log."""

    def __init__(self, client: HubClient, report: Callable[[str], None]) -> None:
        self.client = client
        self.report = report
        self.by_number: dict[int, HubLink] = {}
        self._links: list[HubLink] = []
        self._sources: dict[bytes, Source] = {}
        client.handle(room_messages.MESSAGE, self._message)
        client.handle(room_messages.ROSTER_CHANGED, self._roster_changed)
        client.handle(room_messages.HELD, self._held)
        client.lost.append(self._lost)
        client.returned.append(self._returned)

    def make(self, path: str, limits: Limits) -> HubLink:
        """The link of the mount at this path. The limits that hold for all workers are those of the first worker that opens the mount."""
        link = HubLink(self, path, limits)
        self._links.append(link)
        return link

    def forget(self, link: HubLink) -> None:
        self._links.remove(link)

    def _message(self, body: bytes) -> None:
        message, source = read_message(body, self._sources)
        link = self.by_number.get(source.mount)
        if link is not None:
            link.receiver.message(message)

    def _roster_changed(self, body: bytes) -> None:
        (number, room, epoch, offset, changes), _ = read_sheet(body)
        link = self.by_number.get(number)
        if link is not None:
            link.receiver.roster_changed(room, Position(epoch, offset), room_messages.read_changes(changes))

    def _held(self, body: bytes) -> None:
        (number, room, held), _ = read_sheet(body)
        link = self.by_number.get(number)
        if link is not None:
            link.receiver.held(room, held)

    def _lost(self, reason: str) -> None:
        self.by_number.clear()
        for link in list(self._links):
            link.lost(reason)

    def _returned(self, same: bool) -> None:
        for link in list(self._links):
            link.connect()


class HubLink:
    """A `brokers.links.contract.Link` to the hub, which documents its methods. `receiver`: from `open` on."""

    receiver: Receiver

    def __init__(self, links: HubLinks, path: str, limits: Limits) -> None:
        self._links = links
        self._client = links.client
        self._path = path
        self._limits = limits
        self._is_open = False
        self._number: int | None = None
        """The mount's number at this hub, once the hub has opened it and the declaration is sent."""
        self._is_restored = False
        self._life = 0

    def open(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self._is_open = True
        if self._client.is_there:
            self.connect()

    def close(self) -> None:
        if self._is_open:
            self._tell(room_messages.CLOSE)
            self._is_open = self._is_restored = False
            self._life += 1
            if self._number is not None:
                self._links.by_number.pop(self._number, None)
                self._number = None
            self._links.forget(self)

    def cut(self, reason: str) -> None:
        self._client.begin_anew(reason)

    # -- connecting

    def connect(self) -> None:
        """Open the mount, and declare what this worker has in it. Called when the hub has welcomed the worker."""
        if self._is_open:
            self._life += 1
            question = sheet([self._path, room_messages.limits_value(self._limits)])
            opening = self._client.ask(room_messages.OPEN, question, _value)
            opening.add_done_callback(partial(self._opened, self._life))

    def _opened(self, life: int, opening: Future[Any]) -> None:
        number = self._outcome(life, opening)
        if number is None:
            return
        self._number = number
        self._links.by_number[number] = self
        declared = None
        for parts in _declarations(self.receiver):
            declared = self._client.ask(room_messages.DECLARE, sheet([number, *parts]), _value)
            declared.add_done_callback(partial(self._declared if parts[-1] else self._outcome, life))

    def _declared(self, life: int, declaring: Future[Any]) -> None:
        held = self._outcome(life, declaring)
        if held is not None:
            self._is_restored = True
            for room in held:
                self.receiver.held(room, True)
            self.receiver.restored()

    def _outcome(self, life: int, future: Future[Any]) -> Any:
        """The answer to a question of this life of the link; None if the link was lost meanwhile."""
        error = None if future.cancelled() else future.exception()
        if isinstance(error, HubRefused):
            self._links.report(f"the hub does not open the rooms of {self._path}: {error}")
        return future.result() if error is None and life == self._life and self._is_open else None

    def lost(self, reason: str) -> None:
        """The hub is gone, or this worker begins its link anew."""
        self._life += 1
        self._number = None
        was_restored, self._is_restored = self._is_restored, False
        if was_restored:
            self.receiver.lost(reason)

    # -- questions

    def join(self, room: str, member: Presence, since: Position | None, *, watch: bool, owner: str) -> Future[Joined]:
        return self._ask(room_messages.JOIN, _read_joined, room, *presence_value(member), since, watch, owner)

    def leave(self, room: str, member: str) -> None:
        self._tell(room_messages.LEAVE, room, member)

    def unfollow(self, room: str) -> None:
        self._tell(room_messages.UNFOLLOW, room)

    def follow_pattern(self, pattern: str) -> Future[float]:
        return self._ask(room_messages.FOLLOW_PATTERN, _value, pattern)

    def unfollow_pattern(self, pattern: str) -> None:
        self._tell(room_messages.UNFOLLOW_PATTERN, pattern)

    def publish(self, publication: Publication) -> Future[Published]:
        if self._number is None or not self._is_restored:
            return self._unavailable()
        return self._client.ask(room_messages.PUBLISH, room_messages.publish(self._number, publication), read_published, _broker_error)

    def hold(self, room: str, held: bool) -> None:
        self._tell(room_messages.HOLD, room, held)

    def history(self, room: str, since: Position | None, limit: int, reverse: bool) -> Future[HistoryPage]:
        return self._ask(room_messages.HISTORY, partial(_read_history, room), room, since, limit, reverse)

    def presence(self, room: str, limit: int | None) -> Future[PresencePage]:
        return self._ask(room_messages.PRESENCE, _read_presence, room, limit)

    def roster(self, room: str) -> Future[Roster | None]:
        return self._ask(room_messages.ROSTER, _read_roster, room)

    def rooms(self, after: str, limit: int, pattern: str | None) -> Future[RoomPage]:
        return self._ask(room_messages.ROOMS, _read_rooms, after, limit, pattern)

    def room_count(self) -> Future[int]:
        return self._ask(room_messages.ROOM_COUNT, _value)

    def standings(self, rooms: Sequence[str]) -> Future[Mapping[str, Standing]]:
        return self._ask(room_messages.STANDINGS, _read_standings, list(rooms))

    def changed(self, pattern: str, since: float, after: str, limit: int) -> Future[StandingPage]:
        return self._ask(room_messages.CHANGED, _read_changed, pattern, since, after, limit)

    def probe(self) -> Future[None]:
        # Answers and live messages come in one stream, and in order: an answer proves that both ways work.
        return self._ask(room_messages.PROBE, _nothing)

    def _ask(self, kind: int, read: Callable[[bytes], T], *values: Any) -> Future[T]:
        if self._number is None or not self._is_restored:
            return self._unavailable()
        return self._client.ask(kind, sheet([self._number, *values]), read, _broker_error)

    def _tell(self, kind: int, *values: Any) -> None:
        if self._number is not None:
            self._client.tell(kind, sheet([self._number, *values]))

    def _unavailable(self) -> Future[Any]:
        future: Future[Any] = self._client.loop.create_future()
        future.set_exception(BrokerUnavailable("the hub is away"))
        return future


def _declarations(receiver: Receiver) -> Iterator[tuple[list[Any], list[str], bool]]:
    """Parts of a declaration: rooms, patterns, and whether it is the last."""
    rooms: list[Any] = []
    count = 0
    for declared in receiver.declared():
        members = [[*presence_value(member.presence), member.owner] for member in declared.members]
        for start in range(0, max(1, len(members)), MEMBERS_PER_DECLARATION):
            part = members[start : start + MEMBERS_PER_DECLARATION]
            rooms.append([declared.room, part, declared.watch, declared.held])
            count += 1 + len(part)
            if count >= MEMBERS_PER_DECLARATION:
                yield rooms, [], False
                rooms, count = [], 0
    yield rooms, list(receiver.patterns()), True


def _broker_error(error: HubAway | HubRefused) -> Exception:
    if isinstance(error, HubAway):
        return BrokerUnavailable(str(error))
    if error.code == RateLimited.code:
        return RateLimited(str(error), json.loads(error.details)["retry_after"])
    known = _ERRORS.get(error.code)
    return BrokerUnavailable(str(error)) if known is None else known(str(error))


# -- answers


def _value(body: bytes) -> Any:
    return read_sheet(body)[0]


def _nothing(body: bytes) -> None:
    return None


def _read_joined(body: bytes) -> Joined:
    (epoch, offset, gap, has_latest, roster), messages = read_sheet(body)
    latest = messages[-1] if has_latest else None
    return Joined(Position(epoch, offset), messages[:-1] if has_latest else messages, gap, latest, room_messages.read_roster(roster))


def _read_history(room: str, body: bytes) -> HistoryPage:
    (epoch, offset, first, gap, has_latest), messages = read_sheet(body)
    latest = messages[-1] if has_latest else None
    return HistoryPage(room, epoch, offset, first, messages[:-1] if has_latest else messages, gap, latest)


def _read_presence(body: bytes) -> PresencePage:
    count, members = _value(body)
    return PresencePage(count, room_messages.read_presences(members))


def _read_roster(body: bytes) -> Roster | None:
    return room_messages.read_roster(_value(body))


def _read_rooms(body: bytes) -> RoomPage:
    rooms, after = _value(body)
    return RoomPage(tuple([RoomInfo(*each) for each in rooms]), after)


def _read_standing(value: Sequence[Any]) -> Standing:
    (epoch, offset), time, roster = value
    return Standing(Position(epoch, offset), time, read_position(roster))


def _read_standings(body: bytes) -> Mapping[str, Standing]:
    return {name: _read_standing(value) for name, value in _value(body).items()}


def _read_changed(body: bytes) -> StandingPage:
    rooms, after = _value(body)
    return StandingPage(tuple([(name, _read_standing(value)) for name, value in rooms]), after)
