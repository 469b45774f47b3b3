"""The messages between a hub and its successor. Their formats stand here and nowhere else.

During an upgrade, the hub of the old generation gives its state to the hub of the new one over a socketpair, so that rooms in memory live
on. Frames, `text` and sheets are those of `protocol` and `room_messages`. Bytes in JSON are text, one character for each byte (Latin-1).
Times are those of CLOCK_MONOTONIC, which all processes of a machine share, in seconds; the time of a publication is since 1970.

    kind       from         body
    HELLO      successor    2 version of this protocol, 2 version of the links' protocol
    WELCOME    predecessor  the same, and 8 instance of the hub, which the successor keeps because the order lives on
    UNWELCOME  predecessor  as HELLO: one of the versions differs, and the succession ends
    MOUNT      predecessor  sheet: path, limits. Mounts count from 0
    ROOM       predecessor  the request is the mount. Sheet: room, epoch, owner, offset, time of last use, time of last publication, state
                            of the rate or null, LATEST_*, keys (name, offset, time, owner), times of the messages if they age;
                            messages, with their owners
    GONE       predecessor  sheet: mount, room
    ROSTER     predecessor  sheet: mount, room, members: id, identity, instance of the worker, owner; or the id alone of one that has left
    NUMBERS    predecessor  4 mount, 8 instance of the worker; for each: 8 number, 1 length, the answer
    PLACES     predecessor  sheet: instance of the worker, places: number, names; without names it was left
    RATES      predecessor  sheet: scope, per second, burst, keys: key, time at which it has all tokens
    TICKETS    predecessor  sheet: tickets: section, place, time of its end, content; or section and place of one that was used
    CAUGHT_UP  predecessor  empty: everything was sent once. Changes follow
      READY    successor    empty: it has read everything
    SWITCH     predecessor  sheet: workers: number, generation, instance, mounts. Publications pause, and this is the last of the state
      READY    successor    empty: it can order from now on
    OWN        predecessor  empty: the order is the successor's

Exactly one hub orders at every moment: the predecessor until it has sent OWN, and never again after that; the successor once it has read
OWN. If the socketpair ends before, the predecessor goes on, and the successor has nothing.

A room comes in parts: each continues the history of the part before, up to its `offset`. If its first message does not follow that of the
part before, the history begins anew with it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from . import protocol
from .protocol import INSTANCE_BYTES, Malformed, frame

VERSION = 1

(
    HELLO, WELCOME, UNWELCOME, MOUNT, ROOM, GONE, ROSTER, NUMBERS, PLACES, RATES, TICKETS, CAUGHT_UP, READY, SWITCH, OWN,
) = range(1, 16)  # fmt: skip

LATEST_NONE, LATEST_IS_NEWEST, LATEST_EXTRA, LATEST_KEPT = range(4)
"""The latest message of a room: there is none; it is the last of these; it stands after them; it is the one that was sent before."""

PART_BYTES = 64 * 1024
"""Payload of the messages in one frame. One message may have more."""

PART_ENTRIES = 500
"""Messages, keys, members, places or tickets in one frame."""

_VERSIONS = struct.Struct("<HH")
_NUMBERS = struct.Struct(f"<I{INSTANCE_BYTES}s")
_ANSWER = struct.Struct("<QB")


def hello() -> bytes:
    """The body of HELLO and UNWELCOME."""
    return _VERSIONS.pack(VERSION, protocol.VERSION)


def welcome(instance: bytes) -> bytes:
    return hello() + instance


def read_instance(body: bytes) -> bytes:
    """The instance of the hub, from WELCOME."""
    return body[_VERSIONS.size :]


def difference(body: bytes) -> str:
    """The reason why a hub with the versions of this HELLO or UNWELCOME is refused; empty if they are ours."""
    try:
        theirs = _VERSIONS.unpack_from(body)
    except struct.error as error:
        raise Malformed(str(error)) from error
    ours = VERSION, protocol.VERSION
    if theirs == ours:
        return ""
    line = "the other hub speaks version {} of the succession and {} of the links, and this one {} and {}"
    return line.format(*theirs, *ours)


def parts(entries: Iterable[Any]) -> Iterator[list[Any]]:
    """Entries in lists of PART_ENTRIES."""
    rest = iter(entries)
    while part := list(islice(rest, PART_ENTRIES)):
        yield part


def numbers_frames(mount: int, instance: bytes, answers: Iterable[tuple[int, bytes]]) -> Iterator[bytes]:
    """NUMBERS, in as many frames as it needs."""
    head = _NUMBERS.pack(mount, instance)
    for part in parts(answers):
        yield frame(NUMBERS, 0, b"".join([head, *(_ANSWER.pack(number, len(answer)) + answer for number, answer in part)]))


def read_numbers(body: bytes) -> tuple[int, bytes, list[tuple[int, bytes]]]:
    """The mount, the instance of the worker, and the answers by number."""
    answers = []
    try:
        mount, instance = _NUMBERS.unpack_from(body)
        at = _NUMBERS.size
        while at < len(body):
            number, length = _ANSWER.unpack_from(body, at)
            at += _ANSWER.size + length
            answers.append((number, body[at - length : at]))
    except struct.error as error:
        raise Malformed(str(error)) from error
    return mount, instance, answers


def from_bytes(value: bytes) -> str:
    """Bytes as they stand in JSON here."""
    return value.decode("latin-1")


def to_bytes(value: str) -> bytes:
    return value.encode("latin-1")
