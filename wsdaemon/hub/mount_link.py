"""The mounts of one worker in the hub: opened, declared, and opened again after a loss.

After a reload two apps may serve one mount, until the last connection of the earlier one has ended. The hub sees one worker, which opens
the mount once and declares the members of both; here each app has a receiver of its own, and each is given all messages.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from ..brokers import Limits
from ..brokers.contract import Position
from ..brokers.links.contract import Receiver
from . import room_messages
from .client import HubClient, HubRefused
from .room_messages import Source, presence_value, read_message, read_sheet, sheet

MEMBERS_PER_DECLARATION = 1000
"""Members, and rooms, in one message of a declaration."""


class Interests:
    """The rooms, or patterns, that receivers of one mount want, and which of them want each."""

    __slots__ = ("_receivers",)

    def __init__(self) -> None:
        self._receivers: dict[str, list[Receiver]] = {}

    def add(self, name: str, receiver: Receiver) -> None:
        receivers = self._receivers.setdefault(name, [])
        if receiver not in receivers:
            receivers.append(receiver)

    def discard(self, name: str, receiver: Receiver) -> bool:
        """The receiver does not want it any more. Whether no other one does."""
        receivers = self._receivers.get(name, [])
        if receiver in receivers:
            receivers.remove(receiver)
        if not receivers:
            self._receivers.pop(name, None)
        return not receivers

    def only_of(self, receiver: Receiver) -> list[str]:
        """Those that no other receiver wants."""
        return [name for name, receivers in self._receivers.items() if receivers == [receiver]]

    def forget(self, receiver: Receiver) -> None:
        """The receiver wants nothing any more."""
        for name in [name for name, receivers in self._receivers.items() if receiver in receivers]:
            self.discard(name, receiver)

    def clear(self) -> None:
        self._receivers.clear()


class MountLink:
    """One mount in the hub, for its receivers. `number` is the mount's at this hub, if `is_open`.

    `is_open`: the hub has answered. `is_restored`: it has the declaration too, so that questions can be asked.
    """

    def __init__(self, client: HubClient, mounts: MountLinks, path: str) -> None:
        self._client = client
        self._mounts = mounts
        self._path = path
        self._receivers: dict[Receiver, Limits] = {}  # in the order in which they were opened
        self.receivers: tuple[Receiver, ...] = ()
        self.number = 0
        self.is_open = self.is_restored = False
        self.rooms, self.patterns, self.held = Interests(), Interests(), Interests()
        self._busy: dict[str, None] = {}  # rooms whose publishers must wait
        self._told: Limits | None = None  # the limits that this worker brought last
        self._life = 0

    def add(self, receiver: Receiver, limits: Limits) -> None:
        self._receivers[receiver] = limits
        self.receivers = tuple(self._receivers)
        if len(self.receivers) == 1:
            if self._client.is_there:
                self.connect()
        elif self.is_open:
            self._tell_limits()
            if self.is_restored:
                self._client.loop.call_soon(self._welcome, receiver, self._life)

    def _welcome(self, receiver: Receiver, life: int) -> None:
        """A receiver that came to an open mount has nothing to declare."""
        if receiver in self._receivers and life == self._life:
            self._restore(receiver)

    def _restore(self, receiver: Receiver) -> None:
        for room in self._busy:
            receiver.held(room, True)
        receiver.restored()

    def hold(self, room: str, held: bool) -> None:
        """The hub makes publishers of a room wait, or go on."""
        if held:
            self._busy[room] = None
        else:
            self._busy.pop(room, None)
        for receiver in self.receivers:
            receiver.held(room, held)

    def close(self, receiver: Receiver) -> None:
        """The receiver is called no more, and the order forgets its members, who have left."""
        if len(self.receivers) == 1:
            self.tell(room_messages.CLOSE)
            self._mounts.forget(self)
            self._life += 1
            self.is_open = self.is_restored = False
        else:
            for room in self.held.only_of(receiver):
                self.tell(room_messages.HOLD, room, False)
            for room in self.rooms.only_of(receiver):
                self.tell(room_messages.UNFOLLOW, room)
            for pattern in self.patterns.only_of(receiver):
                self.tell(room_messages.UNFOLLOW_PATTERN, pattern)
        was_latest = self.receivers[-1] is receiver
        del self._receivers[receiver]
        self.receivers = tuple(self._receivers)
        for wanted in (self.rooms, self.patterns, self.held):
            wanted.forget(receiver)
        if was_latest and self.receivers:
            self._tell_limits()

    def tell(self, kind: int, *values: Any) -> None:
        if self.is_open:
            self._client.tell(kind, sheet([self.number, *values]))

    def _limits(self) -> Limits:
        return self._receivers[self.receivers[-1]]

    def _tell_limits(self) -> None:
        if self.is_open:
            self._told = self._limits()
            self.tell(room_messages.LIMITS, room_messages.limits_value(self._told))

    # -- connecting

    def connect(self) -> None:
        """Open the mount, and declare what this worker has in it. Called when the hub has welcomed the worker."""
        self._life += 1
        limits = self._limits()
        if self._told is None:  # later the hub has the mount already, and takes other limits only from LIMITS
            self._told = limits
        opening = self._client.ask(room_messages.OPEN, sheet([self._path, room_messages.limits_value(limits)]), read_value)
        opening.add_done_callback(partial(self._opened, self._life))

    def _opened(self, life: int, opening: Future[Any]) -> None:
        number = self._outcome(life, opening)
        if number is None:
            return
        self.number, self.is_open = number, True
        self._mounts.by_number[number] = self
        if len(self.receivers) > 1 or self._told != self._limits():  # a reload may have come since the question, or while the link was away
            self._tell_limits()
        for parts in self._declarations():
            declared = self._client.ask(room_messages.DECLARE, sheet([number, *parts]), read_value)
            declared.add_done_callback(partial(self._declared if parts[-1] else self._outcome, life))

    def _declared(self, life: int, declaring: Future[Any]) -> None:
        held = self._outcome(life, declaring)
        if held is not None:
            self.is_restored = True
            self._busy.update(dict.fromkeys(held))
            for receiver in self.receivers:
                self._restore(receiver)

    def _outcome(self, life: int, future: Future[Any]) -> Any:
        """The answer to a question of this life of the link; None if the link was lost meanwhile."""
        error = None if future.cancelled() else future.exception()
        if isinstance(error, HubRefused):
            self._mounts.report(f"the hub does not open the rooms of {self._path}: {error}")
        return future.result() if error is None and life == self._life and self.receivers else None

    def lost(self, reason: str) -> None:
        """The hub is gone, or this worker begins its link anew."""
        self._life += 1
        self.is_open = False
        was_restored, self.is_restored = self.is_restored, False
        for wanted in (self.rooms, self.patterns, self.held):
            wanted.clear()
        self._busy.clear()
        if was_restored:
            for receiver in self.receivers:
                receiver.lost(reason)

    def _declarations(self) -> Iterator[tuple[list[Any], list[str], bool]]:
        """Parts of a declaration: rooms, patterns, and whether it is the last."""
        rooms: list[Any] = []
        count = 0
        patterns: dict[str, None] = {}
        for receiver in self.receivers:
            for pattern in receiver.patterns():
                patterns[pattern] = None
                self.patterns.add(pattern, receiver)
            for declared in receiver.declared():
                self.rooms.add(declared.room, receiver)
                if declared.held:
                    self.held.add(declared.room, receiver)
                members = [[*presence_value(member.presence), member.owner] for member in declared.members]
                for start in range(0, max(1, len(members)), MEMBERS_PER_DECLARATION):
                    part = members[start : start + MEMBERS_PER_DECLARATION]
                    rooms.append([declared.room, part, declared.watch, declared.held])
                    count += 1 + len(part)
                    if count >= MEMBERS_PER_DECLARATION:
                        yield rooms, [], False
                        rooms, count = [], 0
        yield rooms, list(patterns), True


class MountLinks:
    """All mounts of this worker. `report` is called with lines for the log."""

    def __init__(self, client: HubClient, report: Callable[[str], None]) -> None:
        self._client = client
        self.report = report
        self.by_number: dict[int, MountLink] = {}
        self._by_path: dict[str, MountLink] = {}
        self._sources: dict[bytes, Source] = {}
        client.handle(room_messages.MESSAGE, self._message)
        client.handle(room_messages.ROSTER_CHANGED, self._roster_changed)
        client.handle(room_messages.HELD, self._held)
        client.lost.append(self._lost)
        client.returned.append(self._returned)

    def open(self, path: str, limits: Limits, receiver: Receiver) -> MountLink:
        mount = self._by_path.get(path)
        if mount is None:
            mount = self._by_path[path] = MountLink(self._client, self, path)
        mount.add(receiver, limits)
        return mount

    def forget(self, mount: MountLink) -> None:
        """The last receiver of the mount is closed."""
        self._by_path = {path: each for path, each in self._by_path.items() if each is not mount}
        if mount.is_open:
            self.by_number.pop(mount.number, None)

    def _message(self, body: bytes) -> None:
        message, source = read_message(body, self._sources)
        mount = self.by_number.get(source.mount)
        if mount is not None:
            for receiver in mount.receivers:
                receiver.message(message)
                if receiver is not mount.receivers[-1]:  # each counts the memory of its own messages
                    message, _ = read_message(body, self._sources)

    def _roster_changed(self, body: bytes) -> None:
        (number, room, epoch, offset, changes), _ = read_sheet(body)
        if (mount := self.by_number.get(number)) is not None:
            for receiver in mount.receivers:
                receiver.roster_changed(room, Position(epoch, offset), room_messages.read_changes(changes))

    def _held(self, body: bytes) -> None:
        (number, room, held), _ = read_sheet(body)
        if (mount := self.by_number.get(number)) is not None:
            mount.hold(room, held)

    def _lost(self, reason: str) -> None:
        self.by_number.clear()
        for mount in list(self._by_path.values()):
            mount.lost(reason)

    def _returned(self, same: bool) -> None:
        for mount in list(self._by_path.values()):
            mount.connect()


def read_value(body: bytes) -> Any:
    """The JSON of a sheet without messages."""
    return read_sheet(body)[0]
