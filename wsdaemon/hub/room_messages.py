"""The messages of rooms on the link between the hub and a worker; `protocol` has the table.

Publications have a binary format, because there are many of them. The part that stays the same from one publication of a member to its next
stands together, so that both sides can look it up instead of reading it:

    source        2 mount, 1 flags, 2 length of room, 2 length of publisher, 2 length of content type; these three and the owner, in UTF-8
    PUBLISH       2 length of source, 2 length of key (NO_KEY: there is none), 8 number; the source, the payload, and the key in UTF-8
    PUBLISHED     (the answer) 8 offset, 16 epoch, 1 duplicate, 4 members
    MESSAGE       2 length of source, 8 offset, 8 time (IEEE 754), 16 epoch; the source and the payload

    flags: 1 text, 2 echo

An empty publisher or content type means none. Everything else is a sheet: 4 bytes of length, JSON of that length, and then messages, each
with 4 bytes of length and the format of MESSAGE.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from ..brokers import Limits
from ..brokers.account import Account
from ..brokers.contract import Change, Message, Position, Presence, Published
from ..brokers.links.contract import Publication, Roster
from .protocol import ROOMS_KINDS, Malformed

(
    OPEN, PUBLISH, MESSAGE, JOIN, LEAVE, UNFOLLOW, FOLLOW_PATTERN, UNFOLLOW_PATTERN, HOLD, HELD, ROSTER_CHANGED, HISTORY, PRESENCE, ROSTER,
    ROOMS, STANDINGS, CHANGED, PROBE, DECLARE, CLOSE, ROOM_COUNT, MOVE, LIMITS,
) = range(ROOMS_KINDS, ROOMS_KINDS + 23)  # fmt: skip

TEXT, ECHO = 1, 2

NO_KEY = 0xFFFF

EPOCH_CHARACTERS = 16

SOURCES_KEPT = 10_000
"""Sources that a process keeps to look them up."""

PUBLISH_HEAD = struct.Struct("<HHQ")
MESSAGE_HEAD = struct.Struct(f"<HQd{EPOCH_CHARACTERS}s")
MESSAGE_FRAME = struct.Struct(f"<IBIHQd{EPOCH_CHARACTERS}s")
"""A whole frame of MESSAGE up to its source, with the header."""
PUBLISHED = struct.Struct(f"<Q{EPOCH_CHARACTERS}sBI")
PUBLISHED_FRAME = struct.Struct(f"<IBIQ{EPOCH_CHARACTERS}sBI")
"""A whole frame of the answer to PUBLISH, with the header."""
_SOURCE = struct.Struct("<HBHHH")
_LENGTH = struct.Struct("<I")


class Source:
    """The part of a publication that stays the same. `owner` is as in `Link.join`."""

    __slots__ = ("content_type", "echo", "mount", "owner", "publisher", "room", "text")

    def __init__(self, source: bytes) -> None:
        """UnicodeDecodeError if a text is no UTF-8."""
        self.mount, flags, room, publisher, content_type = _SOURCE.unpack_from(source)
        self.text, self.echo = bool(flags & TEXT), bool(flags & ECHO)
        texts = source[_SOURCE.size :]
        self.room = texts[:room].decode()
        self.publisher = texts[room : room + publisher].decode() or None
        self.content_type = texts[room + publisher : room + publisher + content_type].decode() or None
        self.owner = texts[room + publisher + content_type :].decode()


def _source(mount: int, message: Publication | Message, owner: str) -> bytes:
    room, publisher = message.room.encode("utf-8", "surrogatepass"), (message.publisher or "").encode()
    content_type = (message.content_type or "").encode()
    head = _SOURCE.pack(mount, message.text | message.echo << 1, len(room), len(publisher), len(content_type))
    return b"".join((head, room, publisher, content_type, owner.encode()))


def publish(mount: int, publication: Publication, numbers_from: int = 0) -> bytes:
    """The body of PUBLISH. `numbers_from` is added to the publication's number."""
    number = publication.number + numbers_from
    source = _source(mount, publication, publication.owner)
    if publication.key is None:
        return b"".join((PUBLISH_HEAD.pack(len(source), NO_KEY, number), source, publication.payload))
    key = publication.key.encode("utf-8", "surrogatepass")
    return b"".join((PUBLISH_HEAD.pack(len(source), len(key), number), source, publication.payload, key))


def read_published(body: bytes) -> Published:
    offset, epoch, duplicate, members = PUBLISHED.unpack(body)
    return Published(epoch.decode(), offset, bool(duplicate), members)


def read_message(body: bytes, sources: dict[bytes, Source]) -> tuple[Message, Source]:
    """The message and its source. `sources` keeps those that were read before."""
    length, offset, time, epoch = MESSAGE_HEAD.unpack_from(body)
    end = MESSAGE_HEAD.size + length
    key = body[MESSAGE_HEAD.size : end]
    source = sources.get(key)
    if source is None:
        if len(sources) >= SOURCES_KEPT:
            sources.clear()
        source = sources[key] = Source(key)
    return Message(
        source.room, epoch.decode(), offset, body[end:], source.text, time, source.publisher, source.content_type, None, source.echo
    ), source  # fmt: skip


def message_body(message: Message, owner: str = "") -> bytes:
    """The body of MESSAGE, of a message that a history kept."""
    source = _source(0, message, owner)
    head = MESSAGE_HEAD.pack(len(source), message.offset, message.time, message.epoch.encode())
    return b"".join((head, source, message.payload))


def sheet(value: Any, messages: Sequence[Message] = (), owned: bool = False) -> bytes:
    """JSON, and the messages that it speaks of; with their owners if `owned`."""
    text = json.dumps(value, separators=(",", ":")).encode()
    parts = [_LENGTH.pack(len(text)), text]
    for message in messages:
        body = message_body(message, message.account.owner if owned and message.account is not None else "")
        parts += (_LENGTH.pack(len(body)), body)
    return b"".join(parts)


def read_sheet(body: bytes, account: Callable[[str], Account] | None = None) -> tuple[Any, tuple[Message, ...]]:
    """The JSON and the messages of a sheet. If it has owners, `account` returns the account of each."""
    try:
        stop = _LENGTH.size + _LENGTH.unpack_from(body)[0]
        value = json.loads(body[_LENGTH.size : stop])
        messages, sources = [], dict[bytes, Source]()
        while stop < len(body):
            start = stop + _LENGTH.size
            stop = start + _LENGTH.unpack_from(body, stop)[0]
            message, source = read_message(body[start:stop], sources)
            if account is not None:
                message.account = account(source.owner)
            messages.append(message)
    except (struct.error, ValueError) as error:
        raise Malformed(str(error)) from error
    return value, tuple(messages)


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
