"""The messages about places. Frames and `text` are those of `protocol`; `name` is 2 bytes of length and the bytes of the name.

    kind         from    body
    PLACE        worker  a question: 8 number of the place, 1 limits, 1 rates;
                         for each limit: 4 most, name; for each rate: 8 per second and 8 burst (doubles), name scope, name key
      ANSWER     hub     2 (signed): -1, the place is taken; else the index of the limit or rate that refuses, rates after limits
    PLACE_LEFT   worker  8 number of a place that is given back, or whose question is cancelled
    PLACES_HELD  worker  all places that this worker holds, after each WELCOME: 4 names, the names;
                         for each place: 8 number, 1 names, 4 for each: its index among the names
    PLACE_MOVED  worker  a place that another worker had: as PLACES_HELD, with the places that this worker holds besides those before
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from .places import KeyRate, NameLimit
from .protocol import SHARED_KINDS, Malformed

PLACE, PLACE_LEFT, PLACES_HELD = range(SHARED_KINDS, SHARED_KINDS + 3)

PLACE_MOVED = SHARED_KINDS + 15

_QUESTION = struct.Struct("<QBB")
_MOST = struct.Struct("<IH")
_RATE = struct.Struct("<ddH")
_LENGTH = struct.Struct("<H")
_VERDICT = struct.Struct("<h")
_NUMBER = struct.Struct("<Q")
_NAMES = struct.Struct("<I")
_HELD = struct.Struct("<QB")


def pack_place(number: int, limits: Sequence[NameLimit], rates: Sequence[KeyRate]) -> bytes:
    """The body of PLACE."""
    parts = [_QUESTION.pack(number, len(limits), len(rates))]
    for name, most in limits:
        parts += (_MOST.pack(most, len(name)), name)
    for scope, key, per_second, burst in rates:
        parts += (_RATE.pack(per_second, burst, len(scope)), scope, _LENGTH.pack(len(key)), key)
    return b"".join(parts)


def read_place(body: bytes) -> tuple[int, list[NameLimit], list[KeyRate]]:
    """The number of the place, and what limits it. Malformed."""
    try:
        number, limits_count, rates_count = _QUESTION.unpack_from(body)
        at = _QUESTION.size
        limits, rates = [], []
        for _ in range(limits_count):
            most, length = _MOST.unpack_from(body, at)
            name, at = _bytes(body, at + _MOST.size, length)
            limits.append(NameLimit(name, most))
        for _ in range(rates_count):
            per_second, burst, length = _RATE.unpack_from(body, at)
            scope, at = _bytes(body, at + _RATE.size, length)
            key, at = _bytes(body, at + _LENGTH.size, _LENGTH.unpack_from(body, at)[0])
            if not (per_second > 0 and burst >= 1):
                raise Malformed("a rate that is none")
            rates.append(KeyRate(scope, key, per_second, burst))
    except struct.error as error:
        raise Malformed(str(error)) from error
    _end(body, at)
    return number, limits, rates


def pack_verdict(verdict: int) -> bytes:
    return _VERDICT.pack(verdict)


def read_verdict(body: bytes) -> int:
    """The answer to PLACE. Malformed."""
    if len(body) != _VERDICT.size:
        raise Malformed("a verdict has two bytes")
    verdict: int = _VERDICT.unpack(body)[0]
    return verdict


def pack_left(number: int) -> bytes:
    """The body of PLACE_LEFT."""
    return _NUMBER.pack(number)


def read_left(body: bytes) -> int:
    """Malformed."""
    if len(body) != _NUMBER.size:
        raise Malformed("the number of a place has eight bytes")
    number: int = _NUMBER.unpack(body)[0]
    return number


def pack_held(places: Iterable[tuple[int, Sequence[bytes]]]) -> bytes:
    """The body of PLACES_HELD."""
    indices: dict[bytes, int] = {}
    parts: list[bytes] = []
    for number, names in places:
        found = [indices.setdefault(name, len(indices)) for name in names]
        parts.append(_HELD.pack(number, len(found)) + struct.pack(f"<{len(found)}I", *found))
    return b"".join([_NAMES.pack(len(indices)), *[_LENGTH.pack(len(name)) + name for name in indices], *parts])


def read_held(body: bytes) -> list[tuple[int, tuple[bytes, ...]]]:
    """Malformed."""
    try:
        at, names = _NAMES.size, []
        for _ in range(_NAMES.unpack_from(body)[0]):
            name, at = _bytes(body, at + _LENGTH.size, _LENGTH.unpack_from(body, at)[0])
            names.append(name)
        places = []
        while at < len(body):
            number, count = _HELD.unpack_from(body, at)
            found = struct.unpack_from(f"<{count}I", body, at + _HELD.size)
            at += _HELD.size + 4 * count
            places.append((number, tuple([names[index] for index in found])))
    except (struct.error, IndexError) as error:
        raise Malformed(str(error)) from error
    return places


def _bytes(body: bytes, at: int, length: int) -> tuple[bytes, int]:
    if at + length > len(body):
        raise Malformed("a name is longer than its body")
    return body[at : at + length], at + length


def _end(body: bytes, at: int) -> None:
    if at != len(body):
        raise Malformed("a body is longer than its parts")
