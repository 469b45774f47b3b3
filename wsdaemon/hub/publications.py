"""The way of a publication through the hub: from its frame to the workers that follow its room, and to its answer.

All publications of a daemon with workers go this way, so it takes few steps: the rare ones stand in functions of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..brokers import contract
from ..brokers.budget import MESSAGE_BYTES
from ..brokers.errors import BadRoom, BrokerError
from ..brokers.room import Room
from . import protocol
from .numbers import NUMBERS_KEPT
from .protocol import ANSWER, HEADER
from .room_messages import (
    MESSAGE,
    MESSAGE_FRAME,
    MESSAGE_HEAD,
    NO_KEY,
    PUBLISH_HEAD,
    PUBLISHED,
    PUBLISHED_FRAME,
    SOURCES_KEPT,
    Source,
)
from .rooms import MountOrder
from .server import WorkerLink

HEADER_BYTES = HEADER.size
PUBLISH_HEAD_BYTES = PUBLISH_HEAD.size
PUBLISHED_BYTES = PUBLISHED.size
MESSAGE_OVER_PUBLISH = MESSAGE_HEAD.size - PUBLISH_HEAD.size
"""The bytes by which the body of MESSAGE is longer than that of PUBLISH."""

read_publish_head = PUBLISH_HEAD.unpack_from
pack_message = MESSAGE_FRAME.pack
pack_published = PUBLISHED_FRAME.pack


class KnownSource:
    """A source of publications over one link: its order, its owner's account, and the room, as far as they were found before.

    `epoch`: of `room`, which may have been forgotten meanwhile.
    """

    __slots__ = ("account", "epoch", "get_room", "get_targets", "link", "name", "numbers", "order", "room", "source", "source_length")

    def __init__(self, link: WorkerLink, order: MountOrder, source: Source, source_length: int) -> None:
        self.link = link
        self.order = order
        self.source = source
        self.source_length = source_length
        self.numbers = order.links[link]
        self.account = order.account(source.owner)
        self.name = source.room
        self.get_room = order.table.get
        self.get_targets = order.followers.targets.get
        self.room: Room | None = None
        self.epoch = b""

    def find_room(self, room: Room | None, size: int) -> Room:
        """The room, made if there is none, which is kept here from now on. It is not made if there is no memory for `size` bytes in it."""
        if room is None:
            order = self.order
            room = order.table.ready(self.name, None, size, self.account, order.clock())
        self.room, self.epoch = room, room.epoch.encode()
        return room


class HubPublications:
    """`find_order` returns the order of a mount that a link has opened. `will_answer` and `answer_when_written` are HubServer's; `refuse`
    answers with an error."""

    def __init__(
        self,
        find_order: Callable[[WorkerLink, int], MountOrder],
        will_answer: Callable[[WorkerLink], None],
        answer_when_written: Callable[[WorkerLink, bytes, Sequence[WorkerLink]], None],
        refuse: Callable[[WorkerLink, int, BrokerError], None],
    ) -> None:
        self._find_order = find_order
        self._will_answer = will_answer
        self._answer_when_written = answer_when_written
        self._refuse = refuse
        self._known: dict[bytes, KnownSource] = {}

    def forget(self) -> None:
        """Forget the sources, because a link has begun or ended, or to let go of accounts and rooms that are not used any more."""
        self._known.clear()

    def publish(self, link: WorkerLink, request: int, body: bytes) -> None:
        """Handle a frame of PUBLISH: give the publication its place in the order, and give it on. The answer leaves when it was written to
        all workers that follow the room."""
        try:
            length, key_length, number = read_publish_head(body)
            payload_at = PUBLISH_HEAD_BYTES + length
            known = self._known.get(body[PUBLISH_HEAD_BYTES:payload_at])
            if known is None or known.link is not link:
                known = self._find_source(link, body[PUBLISH_HEAD_BYTES:payload_at])
            name = known.name
            targets = known.get_targets(name)
            if targets is None:
                targets = known.order.followers.find(name)
            numbers = known.numbers
            if number > numbers.highest:
                numbers.highest = number
            elif (former := numbers.find(number)) is not None:
                self._answer_when_written(link, protocol.frame(ANSWER, request, former[HEADER_BYTES:]), targets)
                return
            if key_length == NO_KEY:
                answer = self._place(known, targets, request, body, payload_at, None)
            else:
                answer = self._place_with_key(known, targets, request, body, payload_at, key_length)
        except BrokerError as error:
            self._refuse(link, request, error)
            return
        younger = numbers.younger  # as `numbers.add`
        if len(younger) >= NUMBERS_KEPT:
            numbers.turn()
            younger = numbers.younger
        younger[number] = answer
        if not link.answers:  # as `answer_when_written`
            self._will_answer(link)
        link.answers.append(answer)
        link.needs.append(targets)

    def _find_source(self, link: WorkerLink, key: bytes) -> KnownSource:
        try:
            source = Source(key)
        except UnicodeDecodeError as error:
            raise BadRoom("a room name is UTF-8") from error
        order = self._find_order(link, source.mount)
        if len(self._known) >= SOURCES_KEPT:
            self._known.clear()
        found = self._known[key] = KnownSource(link, order, source, len(key))
        return found

    def _place_with_key(
        self, known: KnownSource, targets: Sequence[WorkerLink], request: int, body: bytes, payload_at: int, key_length: int
    ) -> bytes:
        """As `_place`, unless the room knows the key: the answer then has the place that the publication has already."""
        end = len(body) - key_length
        key = body[end:].decode("utf-8", "surrogatepass")
        contract.check_key(key)
        room = known.get_room(known.name)
        if room is not None and room.keys:
            order = known.order
            first = order.table.keys.find(room.keys, key, order.clock())
            if first is not None:
                return pack_published(PUBLISHED_BYTES, ANSWER, request, first, room.epoch.encode(), True, 0)
        return self._place(known, targets, request, body[:end], payload_at, key)

    def _place(
        self, known: KnownSource, targets: Sequence[WorkerLink], request: int, body: bytes, payload_at: int, key: str | None
    ) -> bytes:
        """Give a new publication its place in the order, and give it on. Returns the whole frame of the answer."""
        order = known.order
        rooms = order.table
        room = known.get_room(known.name)
        if room is None or room is not known.room:
            room = known.find_room(room, len(body) - payload_at + MESSAGE_BYTES)
        present = len(room.members)
        keeps = rooms.keeps_messages or order.recent is not None or key is not None or not present
        if keeps:
            rooms.make_place(known.account, len(body) - payload_at + MESSAGE_BYTES, room)
        if room.bucket is not None:
            order.check_rate(room.bucket)
        offset = room.offset = room.offset + 1
        if rooms.changed is not None:
            rooms.changed[known.name] = None
        time = room.published_at = order.wall()
        if keeps:
            order.keep(known.source, known.account, room, body[payload_at:], time, key)
        if targets:
            size = len(body) + MESSAGE_OVER_PUBLISH
            frame = pack_message(size, MESSAGE, 0, known.source_length, offset, time, known.epoch) + body[PUBLISH_HEAD_BYTES:]
            for target in targets:
                target.add(frame)
        return pack_published(PUBLISHED_BYTES, ANSWER, request, offset, known.epoch, False, present)
