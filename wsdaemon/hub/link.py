"""A worker's links to the order of rooms in the hub: one for each mount, over the one HubClient of the process."""

from __future__ import annotations

import json
from asyncio import Future
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, TypeVar

from ..brokers import Limits, errors
from ..brokers.contract import HistoryPage, Position, Presence, PresencePage, Published, RoomInfo, RoomPage
from ..brokers.errors import BrokerError, BrokerUnavailable, RateLimited
from ..brokers.links.contract import Joined, Publication, Receiver, Roster, Standing, StandingPage
from . import room_messages
from .client import HubAway, HubClient, HubRefused
from .mount_link import MountLink, MountLinks, read_value
from .room_messages import presence_value, read_position, read_published, read_sheet, sheet

T = TypeVar("T")

NUMBERS_OF_A_LINK = 1 << 48
"""The numbers of the publications of one link."""

LINKS_WITH_OWN_NUMBERS = 1 << 16
"""A number has 64 bits, so the numbers begin anew after so many links, when the hub has long forgotten those of the first."""

_ERRORS: dict[str, type[BrokerError]] = {
    error.code: error
    for error in (
        errors.BadRoom, errors.BadPattern, errors.BadKey, errors.RoomFull, errors.TooManyRooms, errors.MemoryFull,
        errors.TooManySubscriptions, errors.TooManyPatterns, errors.AlreadySubscribed, errors.NotSubscribed,
        errors.DuplicateMember,
    )
}  # fmt: skip


class HubLinks:
    """The links of all mounts of this worker. `report` is called with lines for the log."""

    def __init__(self, client: HubClient, report: Callable[[str], None]) -> None:
        self.client = client
        self.mounts = MountLinks(client, report)
        self._made = count()

    def make(self, path: str, limits: Limits) -> HubLink:
        """A link for the mount at this path. The limits that hold for all workers are those of the latest link that is open.

        After a reload a path may have two apps, each with a link, until the last connection of the earlier one has ended.
        """
        return HubLink(self.client, self.mounts, path, limits, next(self._made) % LINKS_WITH_OWN_NUMBERS)


class HubLink:
    """A `brokers.links.contract.Link` to the hub, which documents its methods. `receiver`: from `open` on."""

    receiver: Receiver

    def __init__(self, client: HubClient, mounts: MountLinks, path: str, limits: Limits, serial: int) -> None:
        """`serial` tells the links of this worker apart: the hub sees one worker, whose publications have one row of numbers."""
        self._client = client
        self._mounts = mounts
        self._path = path
        self._limits = limits
        self._first_number = serial * NUMBERS_OF_A_LINK
        self._mount: MountLink | None = None

    def open(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self._mount = self._mounts.open(self._path, self._limits, receiver)

    def close(self) -> None:
        if self._mount is not None:
            self._mount.close(self.receiver)
            self._mount = None

    def cut(self, reason: str) -> None:
        self._client.begin_anew(reason)

    # -- questions

    def join(self, room: str, member: Presence, since: Position | None, *, watch: bool, owner: str) -> Future[Joined]:
        if self._mount is not None:
            self._mount.rooms.add(room, self.receiver)
        return self._ask(room_messages.JOIN, _read_joined, room, *presence_value(member), since, watch, owner)

    def move(
        self, room: str, member: Presence, since: Position, *, watch: bool, owner: str, told: Position | None
    ) -> Future[Joined]:  # fmt: skip
        if self._mount is not None:
            self._mount.rooms.add(room, self.receiver)
        return self._ask(room_messages.MOVE, _read_joined, room, *presence_value(member), since, watch, owner, told)

    def leave(self, room: str, member: str) -> None:
        self._tell(room_messages.LEAVE, room, member)

    def unfollow(self, room: str) -> None:
        if self._mount is not None and self._mount.rooms.discard(room, self.receiver):
            self._tell(room_messages.UNFOLLOW, room)

    def follow_pattern(self, pattern: str) -> Future[float]:
        if self._mount is not None:
            self._mount.patterns.add(pattern, self.receiver)
        return self._ask(room_messages.FOLLOW_PATTERN, read_value, pattern)

    def unfollow_pattern(self, pattern: str) -> None:
        if self._mount is not None and self._mount.patterns.discard(pattern, self.receiver):
            self._tell(room_messages.UNFOLLOW_PATTERN, pattern)

    def publish(self, publication: Publication) -> Future[Published]:
        mount = self._mount
        if mount is None or not mount.is_restored:
            return self._unavailable()
        body = room_messages.publish(mount.number, publication, self._first_number)
        return self._client.ask(room_messages.PUBLISH, body, read_published, _broker_error)

    def hold(self, room: str, held: bool) -> None:
        if self._mount is None:
            return
        if held:
            self._mount.held.add(room, self.receiver)
            self._tell(room_messages.HOLD, room, True)
        elif self._mount.held.discard(room, self.receiver):
            self._tell(room_messages.HOLD, room, False)

    def history(self, room: str, since: Position | None, limit: int, reverse: bool) -> Future[HistoryPage]:
        return self._ask(room_messages.HISTORY, partial(_read_history, room), room, since, limit, reverse)

    def presence(self, room: str, limit: int | None) -> Future[PresencePage]:
        return self._ask(room_messages.PRESENCE, _read_presence, room, limit)

    def roster(self, room: str) -> Future[Roster | None]:
        return self._ask(room_messages.ROSTER, _read_roster, room)

    def rooms(self, after: str, limit: int, pattern: str | None) -> Future[RoomPage]:
        return self._ask(room_messages.ROOMS, _read_rooms, after, limit, pattern)

    def room_count(self) -> Future[int]:
        return self._ask(room_messages.ROOM_COUNT, read_value)

    def standings(self, rooms: Sequence[str]) -> Future[Mapping[str, Standing]]:
        return self._ask(room_messages.STANDINGS, _read_standings, list(rooms))

    def changed(self, pattern: str, since: float, after: str, limit: int) -> Future[StandingPage]:
        return self._ask(room_messages.CHANGED, _read_changed, pattern, since, after, limit)

    def probe(self) -> Future[None]:
        # Answers and live messages come in one stream, and in order: an answer proves that both ways work.
        return self._ask(room_messages.PROBE, _nothing)

    def _ask(self, kind: int, read: Callable[[bytes], T], *values: Any) -> Future[T]:
        if self._mount is None or not self._mount.is_restored:
            return self._unavailable()
        return self._client.ask(kind, sheet([self._mount.number, *values]), read, _broker_error)

    def _tell(self, kind: int, *values: Any) -> None:
        if self._mount is not None:
            self._mount.tell(kind, *values)

    def _unavailable(self) -> Future[Any]:
        future: Future[Any] = self._client.loop.create_future()
        future.set_exception(BrokerUnavailable("the hub is away"))
        return future


def _broker_error(error: HubAway | HubRefused) -> Exception:
    if isinstance(error, HubAway):
        return BrokerUnavailable(str(error))
    if error.code == RateLimited.code:
        return RateLimited(str(error), json.loads(error.details)["retry_after"])
    known = _ERRORS.get(error.code)
    return BrokerUnavailable(str(error)) if known is None else known(str(error))


# -- answers


def _nothing(body: bytes) -> None:
    return None


def _read_joined(body: bytes) -> Joined:
    (epoch, offset, gap, has_latest, roster, *rest), messages = read_sheet(body)
    latest = messages[-1] if has_latest else None
    changes = room_messages.read_changes(rest[0]) if rest and rest[0] is not None else None
    return Joined(
        Position(epoch, offset), messages[:-1] if has_latest else messages, gap, latest, room_messages.read_roster(roster), changes
    )  # fmt: skip


def _read_history(room: str, body: bytes) -> HistoryPage:
    (epoch, offset, first, gap, has_latest), messages = read_sheet(body)
    latest = messages[-1] if has_latest else None
    return HistoryPage(room, epoch, offset, first, messages[:-1] if has_latest else messages, gap, latest)


def _read_presence(body: bytes) -> PresencePage:
    total, members = read_value(body)
    return PresencePage(total, room_messages.read_presences(members))


def _read_roster(body: bytes) -> Roster | None:
    return room_messages.read_roster(read_value(body))


def _read_rooms(body: bytes) -> RoomPage:
    rooms, after = read_value(body)
    return RoomPage(tuple([RoomInfo(*each) for each in rooms]), after)


def _read_standing(value: Sequence[Any]) -> Standing:
    (epoch, offset), time, roster = value
    return Standing(Position(epoch, offset), time, read_position(roster))


def _read_standings(body: bytes) -> Mapping[str, Standing]:
    return {name: _read_standing(value) for name, value in read_value(body).items()}


def _read_changed(body: bytes) -> StandingPage:
    rooms, after = read_value(body)
    return StandingPage(tuple([(name, _read_standing(value)) for name, value in rooms]), after)
