"""The messages between the hub and its workers. Their formats stand here and nowhere else.

A link is a socketpair. Each side sends frames:

    4 bytes  length of the body, at most MAX_BODY
    1 byte   kind, one of those below
    4 bytes  request: the number of a question, chosen by its sender; 0 if the frame is no question and no answer
    n bytes  body

Integers are unsigned and little-endian. `text` is 2 bytes of length and UTF-8. JSON is UTF-8 without white space.

A link begins with the worker's HELLO. The hub answers with WELCOME, or with UNWELCOME and the end of the link if the versions differ.
A later HELLO on the same link begins it anew: the hub frees everything that it held for this worker, and the worker declares it again.
The hub asks for that with RESYNC after it dropped frames, because the worker was behind by MAX_BACKLOG_BYTES or MAX_BEHIND_SECONDS.
Frames between a RESYNC and the next WELCOME belong to the time before: the worker ignores them, except WELCOME.

    kind      from    body
    HELLO     worker  2 version, 4 number of the worker, 4 generation, 8 instance: random bytes of this process
    WELCOME   hub     2 version, 8 instance of the hub
    UNWELCOME hub     2 version of the hub
    RESYNC    hub     empty
    ANSWER    both    the answer to the question with this number
    REFUSAL   both    text code, text explanation; a JSON object of details, if there are any

Kinds from ROOMS_KINDS on are those of rooms. The bodies of PUBLISH, PUBLISHED and MESSAGE, and sheets, which are JSON with messages, are
described in `room_messages`. The values of a sheet, which begin with the mount's number except in OPEN:

    kind              from    sheet, and (>) the sheet of the answer
    OPEN              worker  path of the mount, limits > number of the mount
    PUBLISH           worker  no sheet > PUBLISHED
    MESSAGE           hub     no sheet
    JOIN              worker  mount, room, member, identity, position or null, watch, owner
                              > epoch, offset, gap, has latest, roster or null; messages, the latest last
    MOVE              worker  mount, room, member, identity, position, watch, owner, position in the roster or null
                              > as JOIN, and the changes of the roster after that position, or null
    LEAVE             worker  mount, room, member
    UNFOLLOW          worker  mount, room
    FOLLOW_PATTERN    worker  mount, pattern > the hub's time
    UNFOLLOW_PATTERN  worker  mount, pattern
    HOLD              worker  mount, room, held
    HELD              hub     mount, room, held
    ROSTER_CHANGED    hub     mount, room, epoch, number of changes so far, changes
    HISTORY           worker  mount, room, position or null, limit, reverse
                              > epoch, offset, first, gap, has latest; messages, the latest last
    PRESENCE          worker  mount, room, limit > count, members
    ROSTER            worker  mount, room > roster or null
    ROOMS             worker  mount, after, limit, pattern or null > rooms, after
    STANDINGS         worker  mount, rooms > standings by room
    CHANGED           worker  mount, pattern, since, after, limit > rooms with their standings, after
    PROBE             worker  mount > null
    DECLARE           worker  mount, rooms with their members, patterns, is the last > held rooms, with the last
    CLOSE             worker  mount: this worker has it no more
    ROOM_COUNT        worker  mount > number of rooms
    LIMITS            worker  mount, limits that hold from now on

Kinds from SHARED_KINDS on are those of limits, tickets and totals.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

VERSION = 1

HEADER = struct.Struct("<IBI")
"""Length of the body, kind, request."""

MAX_BODY = 128 << 20
"""Bytes. A longer frame ends the link, because only a fault can make one."""

MAX_BACKLOG_BYTES = 16 << 20
"""A side that has not read so many bytes is behind."""

MAX_BEHIND_SECONDS = 5.0
"""A side that has not read a byte that was sent so long ago is behind."""

MAX_QUESTIONS = 65_536
"""Questions of one worker that may wait for their answers at once."""

HELLO, WELCOME, UNWELCOME, RESYNC, ANSWER, REFUSAL = range(1, 7)
ROOMS_KINDS = 16
SHARED_KINDS = 64

INSTANCE_BYTES = 8

_HELLO = struct.Struct(f"<HII{INSTANCE_BYTES}s")
_WELCOME = struct.Struct(f"<H{INSTANCE_BYTES}s")
_VERSION = struct.Struct("<H")
_LENGTH = struct.Struct("<H")

_pack = HEADER.pack


class Malformed(Exception):
    """A body that does not have the format of its kind."""


def frame(kind: int, request: int, body: bytes) -> bytes:
    return _pack(len(body), kind, request) + body


class Hello(NamedTuple):
    """The first message of a worker. `instance` names the life of its process, so that a number can be told from its predecessor's."""

    version: int
    worker: int
    generation: int
    instance: bytes

    def body(self) -> bytes:
        return _HELLO.pack(*self)


def read_hello(body: bytes) -> Hello:
    """The version stands first in every version of this protocol. If it is another than VERSION, the rest is not read."""
    version = _unpack(_VERSION, body[: _VERSION.size])[0]
    return Hello(*_unpack(_HELLO, body)) if version == VERSION else Hello(version, 0, 0, b"")


def welcome(instance: bytes) -> bytes:
    return _WELCOME.pack(VERSION, instance)


def read_welcome(body: bytes) -> bytes:
    """The instance of the hub."""
    instance: bytes = _unpack(_WELCOME, body)[1]
    return instance


def unwelcome() -> bytes:
    return _VERSION.pack(VERSION)


def read_unwelcome(body: bytes) -> int:
    """The version of the hub."""
    version: int = _unpack(_VERSION, body)[0]
    return version


class RefusedQuestion(NamedTuple):
    """A question was refused. `code` is stable; `explanation` is for people; `details` is JSON, or empty."""

    code: str
    explanation: str
    details: bytes = b""

    def body(self) -> bytes:
        return text(self.code) + text(self.explanation) + self.details


def read_refusal(body: bytes) -> RefusedQuestion:
    code, at = read_text(body, 0)
    explanation, at = read_text(body, at)
    return RefusedQuestion(code, explanation, body[at:])


def text(value: str) -> bytes:
    """The `text` of a format. ValueError above 65,535 bytes."""
    encoded = value.encode()
    if len(encoded) > 0xFFFF:
        raise ValueError(f"a text has up to 65535 bytes, not {len(encoded)}")
    return _LENGTH.pack(len(encoded)) + encoded


def read_text(body: bytes, at: int) -> tuple[str, int]:
    """The `text` at this index, and the index after it."""
    start = at + 2
    stop = start + _unpack(_LENGTH, body[at:start])[0]
    if stop > len(body):
        raise Malformed("a text is longer than its body")
    try:
        return body[start:stop].decode(), stop
    except UnicodeDecodeError as error:
        raise Malformed(str(error)) from error


def _unpack(shape: struct.Struct, body: bytes) -> tuple[Any, ...]:
    try:
        return shape.unpack(body)
    except struct.error as error:
        raise Malformed(str(error)) from error
