"""Messages and changes as Redis carries them; `redis_scripts` has the parts that the scripts add.

A message is one byte of flags, two lengths, the publisher's id, the content type and the payload.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from typing import Any

from ..contract import Change, Message, Position, Presence
from .contract import Publication

_HEAD = struct.Struct("!BHH")
TEXT, ECHO, PUBLISHER, CONTENT_TYPE = 1, 2, 4, 8


def pack(publication: Publication) -> bytes:
    """The message of a publication."""
    publisher, content_type = publication.publisher, publication.content_type
    flags = (
        (TEXT if publication.text else 0)
        | (ECHO if publication.echo else 0)
        | (PUBLISHER if publisher is not None else 0)
        | (CONTENT_TYPE if content_type is not None else 0)
    )
    first, second = (publisher or "").encode(), (content_type or "").encode()
    return b"%b%b%b%b" % (_HEAD.pack(flags, len(first), len(second)), first, second, publication.payload)


def unpack(room: str, epoch: str, offset: int, time: int, packed: bytes) -> Message:
    """The message in `packed`. `time` is in milliseconds since 1970. ValueError if it is none."""
    if len(packed) < _HEAD.size:
        raise ValueError("a message in Redis is cut short")
    flags, first, second = _HEAD.unpack_from(packed)
    middle, start = _HEAD.size + first, _HEAD.size + first + second
    return Message(
        room,
        epoch,
        offset,
        packed[start:],
        bool(flags & TEXT),
        time / 1000,
        packed[_HEAD.size : middle].decode() if flags & PUBLISHER else None,
        packed[middle:start].decode() if flags & CONTENT_TYPE else None,
        echo=bool(flags & ECHO),
    )


def live_message(room: str, data: bytes) -> Message:
    """The message of a room's channel, after its first letter."""
    epoch, offset, time, packed = data.split(b" ", 3)
    return unpack(room, epoch.decode(), int(offset), int(time), packed)


def live_changes(data: bytes) -> tuple[Position, list[Change]]:
    """The changes of a room's channel, after their first letter, and the position of the last of them."""
    epoch, number, changes = data.split(b" ", 2)
    return Position(epoch.decode(), int(number)), [Change(kind, Presence(*who)) for kind, who in json.loads(changes)]


def log_messages(room: str, epoch: str, entries: Iterable[Any]) -> tuple[Message, ...]:
    """The messages of entries of a room's log."""
    messages = []
    for place, (_, field) in entries:
        time, _, packed = field.partition(b" ")
        messages.append(unpack(room, epoch, int(place.partition(b"-")[0]), int(time), packed))
    return tuple(messages)


def last_message(room: str, epoch: str, data: bytes) -> Message | None:
    """The room's latest message, if it has one."""
    if not data:
        return None
    offset, time, packed = data.split(b" ", 2)
    return unpack(room, epoch, int(offset), int(time), packed)


def describe(presence: Presence) -> str:
    """A member, as its room keeps it. TypeError if its identity has a value that JSON does not know."""
    return json.dumps([presence.id, dict(presence.identity)], ensure_ascii=False, separators=(",", ":"))


def members_in_order(values: Iterable[bytes]) -> tuple[Presence, ...]:
    """The members of a room, in the order they came, from the values of its hash."""
    found = []
    for value in values:
        _, number, who = value.split(b" ", 2)
        found.append((int(number), Presence(*json.loads(who))))
    found.sort(key=lambda entry: entry[0])
    return tuple([presence for _, presence in found])
