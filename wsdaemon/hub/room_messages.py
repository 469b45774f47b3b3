"""The messages of rooms on the link between the hub and a worker; `protocol` has the table.

Publications have a binary format, because there are many of them. The part that the hub gives on unchanged stands together:

    tail          2 length of room, 2 length of publisher, 2 length of content type, these three in UTF-8, and the payload
    PUBLISH       2 mount, 1 flags, 8 number, 2 length of key, 2 length of owner, the tail, and key and owner in UTF-8
    PUBLISHED     (the answer) 8 offset, 16 epoch, 1 duplicate, 4 members
    MESSAGE       2 mount, 1 flags, 8 offset, 8 time (IEEE 754), 16 epoch, and the tail

    flags: 1 text, 2 echo, 4 the publication has a key

An empty publisher or content type means none. Everything else is a sheet: 4 bytes of length, JSON of that length, and then messages, each
with 4 bytes of length and the format of MESSAGE.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from ..brokers import Limits
from ..brokers.contract import Change, Message, Position, Presence, Published
from ..brokers.links.contract import Publication, Roster
from .protocol import ANSWER, HEADER, ROOMS_KINDS, Malformed

(
    OPEN, PUBLISH, MESSAGE, JOIN, LEAVE, UNFOLLOW, FOLLOW_PATTERN, UNFOLLOW_PATTERN, HOLD, HELD, ROSTER_CHANGED, HISTORY, PRESENCE, ROSTER,
    ROOMS, STANDINGS, CHANGED, PROBE, DECLARE, CLOSE,
) = range(ROOMS_KINDS, ROOMS_KINDS + 20)  # fmt: skip

TEXT, ECHO, HAS_KEY = 1, 2, 4

EPOCH_CHARACTERS = 16

PUBLISH_HEAD = struct.Struct("<HBQHHHHH")
TAIL_AT = 15
"""Where the tail begins in PUBLISH: its lengths are the last in PUBLISH_HEAD."""
MESSAGE_HEAD = struct.Struct(f"<HBQd{EPOCH_CHARACTERS}s")
_MESSAGE = struct.Struct(f"<HBQd{EPOCH_CHARACTERS}sHHH")
PUBLISHED = struct.Struct(f"<Q{EPOCH_CHARACTERS}sBI")
MESSAGE_FRAME = struct.Struct(f"<IBIHBQd{EPOCH_CHARACTERS}s")
"""A whole frame of MESSAGE up to its tail, with the header."""
PUBLISHED_FRAME = struct.Struct(f"<IBIQ{EPOCH_CHARACTERS}sBI")
"""A whole frame of the answer to PUBLISH, with the header."""
_LENGTH = struct.Struct("<I")


def publish(mount: int, publication: Publication) -> bytes:
    """The body of PUBLISH."""
    key, owner = publication.key, publication.owner.encode()
    flags = publication.text | publication.echo << 1
    key_bytes = b""
    if key is not None:
        flags |= HAS_KEY
        key_bytes = key.encode("utf-8", "surrogatepass")
    room = publication.room.encode("utf-8", "surrogatepass")
    publisher = (publication.publisher or "").encode()
    content_type = (publication.content_type or "").encode()
    return b"".join(
        (
            PUBLISH_HEAD.pack(
                mount, flags, publication.number, len(key_bytes), len(owner), len(room), len(publisher), len(content_type)
            ),
            room, publisher, content_type, publication.payload, key_bytes, owner,
        )
    )  # fmt: skip


def answer_frame(request: int, body: bytes) -> bytes:
    """The whole frame of an answer whose body was kept."""
    return HEADER.pack(len(body), ANSWER, request) + body


def read_published(body: bytes) -> Published:
    offset, epoch, duplicate, members = PUBLISHED.unpack(body)
    return Published(epoch.decode(), offset, bool(duplicate), members)


def read_message(body: bytes) -> Message:
    _, flags, offset, time, epoch, room, publisher, content_type = _MESSAGE.unpack_from(body)
    at = _MESSAGE.size
    end = at + room
    name = body[at:end].decode()
    by = kind = None
    if publisher:
        at, end = end, end + publisher
        by = body[at:end].decode()
    if content_type:
        at, end = end, end + content_type
        kind = body[at:end].decode()
    return Message(name, epoch.decode(), offset, body[end:], bool(flags & TEXT), time, by, kind, None, bool(flags & ECHO))


def message_body(message: Message) -> bytes:
    """The body of MESSAGE, of a message that a history kept."""
    room, publisher, content_type = message.room.encode(), (message.publisher or "").encode(), (message.content_type or "").encode()
    return b"".join(
        (
            _MESSAGE.pack(
                0, message.text | message.echo << 1, message.offset, message.time, message.epoch.encode(),
                len(room), len(publisher), len(content_type),
            ),
            room, publisher, content_type, message.payload,
        )
    )  # fmt: skip


def sheet(value: Any, messages: Sequence[Message] = ()) -> bytes:
    """JSON, and the messages that it speaks of."""
    text = json.dumps(value, separators=(",", ":")).encode()
    parts = [_LENGTH.pack(len(text)), text]
    for message in messages:
        body = message_body(message)
        parts += (_LENGTH.pack(len(body)), body)
    return b"".join(parts)


def read_sheet(body: bytes) -> tuple[Any, tuple[Message, ...]]:
    try:
        stop = _LENGTH.size + _LENGTH.unpack_from(body)[0]
        value = json.loads(body[_LENGTH.size : stop])
        messages = []
        while stop < len(body):
            start = stop + _LENGTH.size
            stop = start + _LENGTH.unpack_from(body, stop)[0]
            messages.append(read_message(body[start:stop]))
    except (struct.error, ValueError) as error:
        raise Malformed(str(error)) from error
    return value, tuple(messages)


def frame_of(kind: int, body: bytes) -> bytes:
    return HEADER.pack(len(body), kind, 0) + body


# -- values as JSON


def limits_value(limits: Limits) -> dict[str, Any]:
    return {
        field.name: limits.name_pattern.pattern if field.name == "name_pattern" else getattr(limits, field.name) for field in fields(Limits)
    }


def read_limits(value: Mapping[str, Any]) -> Limits:
    return Limits(**{**value, "name_pattern": re.compile(value["name_pattern"])})


def read_position(value: Sequence[Any] | None) -> Position | None:
    return None if value is None else Position(value[0], value[1])


def presence_value(presence: Presence) -> list[Any]:
    return [presence.id, dict(presence.identity)]


def presence_values(members: Iterable[Presence]) -> list[list[Any]]:
    return [presence_value(each) for each in members]


def read_presences(values: Iterable[Sequence[Any]]) -> tuple[Presence, ...]:
    return tuple([Presence(id, identity) for id, identity in values])


def changes_value(changes: Iterable[Change]) -> list[list[Any]]:
    return [[change.kind, change.who.id, dict(change.who.identity)] for change in changes]


def read_changes(values: Iterable[Sequence[Any]]) -> tuple[Change, ...]:
    return tuple([Change(kind, Presence(id, identity)) for kind, id, identity in values])


def roster_value(roster: Roster | None) -> list[Any] | None:
    return None if roster is None else [*roster.position, presence_values(roster.members)]


def read_roster(value: Sequence[Any] | None) -> Roster | None:
    return None if value is None else Roster(Position(value[0], value[1]), read_presences(value[2]))
