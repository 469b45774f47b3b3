"""Bytes made worse: small mutations of our own, and radamsa's where pyradamsa is installed. The same `Random` gives the same bytes."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

LONGEST = 64 * 1024
"""Bytes that a mutated input has at most."""

RADAMSA_SHARE = 0.15
"""Of all mutations. One of radamsa's takes a hundred times as long as one of ours."""

LONGEST_FOR_RADAMSA = 8 * 1024

BYTES = (0, 1, 9, 10, 13, 32, 34, 58, 0x7E, 0x7F, 0x80, 0x81, 0x85, 0xC0, 0xED, 0xF4, 0xFE, 0xFF)

PIECES = (
    b"\r\n", b"\r\n\r\n", b"\n", b"\0", b" ", b"\t", b",", b";", b":", b"=", b'"', b"\\", b"[", b"]", b"%", b"%00", b"%ff", b"\xc3\x28",
    b"\xed\xa0\x80", b"\xf4\x90\x80\x80", "\u2028".encode(), "\ufeff".encode(), "\N{GRINNING FACE}".encode(), b"\x85", b"\x0b", b"\xff\xff",
    b"\x00\x00\xff\xff", b"\x88\x02\x03\xe8", b"{}", b"[[[[", b"null", b"-0", b"1e999", b"NaN", b"A" * 300, b"\x80" * 130,
)  # fmt: skip
"""Values that have broken parsers."""

NUMBERS = (
    b"0", b"-1", b"00", b"1.5", b"125", b"126", b"127", b"255", b"256", b"32768", b"65535", b"65536", b"2147483648", b"4294967296",
    b"9007199254740993", b"18446744073709551616", b"9" * 40,
)  # fmt: skip

_NUMBER = re.compile(rb"[0-9]+")


def _load_radamsa() -> Any:
    try:
        return importlib.import_module("pyradamsa").Radamsa()
    except (ImportError, OSError):  # OSError: there is no library in it for this machine
        return None


_radamsa = _load_radamsa()
HAS_RADAMSA = _radamsa is not None


def _span(random: Random, data: bytes) -> tuple[int, int]:
    """A part of the data, mostly a short one."""
    start = random.randint(0, len(data))
    return start, min(len(data), start + random.choice((1, 1, 2, 4, 8, 64, 1024)))


def flip(random: Random, data: bytes, other: bytes) -> bytes:
    """Single bits."""
    made = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8)) if made else 0):
        made[random.randrange(len(made))] ^= 1 << random.randrange(8)
    return bytes(made)


def replace(random: Random, data: bytes, other: bytes) -> bytes:
    """A byte by one that means something somewhere."""
    at = random.randint(0, len(data))
    return data[:at] + bytes([random.choice(BYTES)]) + data[at + 1 :]


def insert(random: Random, data: bytes, other: bytes) -> bytes:
    at = random.randint(0, len(data))
    return data[:at] + random.choice(PIECES) + data[at:]


def insert_noise(random: Random, data: bytes, other: bytes) -> bytes:
    at = random.randint(0, len(data))
    return data[:at] + random.randbytes(random.choice((1, 2, 16, 300))) + data[at:]


def delete(random: Random, data: bytes, other: bytes) -> bytes:
    start, end = _span(random, data)
    return data[:start] + data[end:]


def duplicate(random: Random, data: bytes, other: bytes) -> bytes:
    start, end = _span(random, data)
    return data[:end] + data[start:end] * random.choice((1, 1, 2, 20)) + data[end:]


def move(random: Random, data: bytes, other: bytes) -> bytes:
    start, end = _span(random, data)
    rest = data[:start] + data[end:]
    at = random.randint(0, len(rest))
    return rest[:at] + data[start:end] + rest[at:]


def truncate(random: Random, data: bytes, other: bytes) -> bytes:
    return data[: random.randint(0, len(data))]


def splice(random: Random, data: bytes, other: bytes) -> bytes:
    """The beginning of one and the end of another."""
    return data[: random.randint(0, len(data))] + other[random.randint(0, len(other)) :]


def number(random: Random, data: bytes, other: bytes) -> bytes:
    """A number in text by one at an edge."""
    found = list(_NUMBER.finditer(data))
    if not found:
        return flip(random, data, other)
    match = random.choice(found)
    return data[: match.start()] + random.choice(NUMBERS) + data[match.end() :]


OWN: Sequence[Callable[[Random, bytes, bytes], bytes]] = (
    flip, flip, replace, insert, insert, insert_noise, delete, duplicate, move, truncate, splice, number,
)  # fmt: skip


def mutate(random: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """`data` with one change or several; `others` are valid inputs of the same kind."""
    seed = random.getrandbits(31)
    if random.random() < RADAMSA_SHARE and _radamsa is not None and data:
        made: bytes = _radamsa.fuzz(data[:LONGEST_FOR_RADAMSA], seed=seed)
        return made
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        data = random.choice(OWN)(random, data, random.choice(others) if others else data)
    return data[:LONGEST]


def cut(random: Random, data: bytes) -> list[bytes]:
    """The data in reads: most often one or few, now and then many of one size."""
    if random.random() < 0.4 or len(data) < 2:
        return [data] if data else []
    if random.random() < 0.3:
        size = random.choice((1, 2, 3, 7, 1000)) if len(data) < 2000 else random.choice((500, 1400, 16384))
        return [data[at : at + size] for at in range(0, len(data), size)]
    places = sorted({random.randrange(1, len(data)) for _ in range(random.randint(1, 6))})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]
