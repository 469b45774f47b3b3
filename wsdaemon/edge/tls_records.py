"""TLS records from outside: where one ends, and how many that carry no data a client may send.

A record is five bytes of header (type, version, length) and that many bytes of ciphertext (RFC 8446 5.1, RFC 5246 6.2). The header is
never encrypted, so records are told apart without OpenSSL.
"""

from __future__ import annotations

HEADER = 5
"""Bytes of a record's header."""

HANDSHAKE = 22
"""The type of a record with handshake messages that are not encrypted."""

APPLICATION_DATA = 23
"""The type of a record with data, and in TLS 1.3 of all that are encrypted."""

CHANGE_CIPHER_SPEC = 20
"""The type of a record that moves no handshake on by itself."""

MAX_RECORD = HEADER + 16_384 + 2_048
"""Bytes of the longest record: TLS 1.2 allows 2,048 more than the data, TLS 1.3 256."""

TINY = 1
"""Bytes of data up to which a record counts as carrying next to none."""

TINY_COST = 1
"""The cost of a tiny record."""

EMPTY_COST = 32
"""The cost of a record without data after the handshake: a KeyUpdate makes OpenSSL derive keys and often answer."""

BURST = 1_024
"""Cost that a connection may run up at once: a request whose bytes come in a record each, or 32 KeyUpdates."""

PER_SECOND = 512
"""Cost that is forgiven in a second: 16 KeyUpdates. Real clients send one in millions of records."""


def record_size(data: bytes, position: int) -> int:
    """Bytes of the record that begins at `position`, header included; 0: no TLS record begins so. HEADER bytes must be there."""
    if not 20 <= data[position] <= 24 or data[position + 1] != 3:
        return 0
    size = HEADER + (data[position + 3] << 8 | data[position + 4])
    return size if size <= MAX_RECORD else 0


class RecordAllowance:
    """Counts records without data, so that a client cannot make TLS work for nothing.

    Data earns nothing: a client that mixes data with such records has the same allowance.
    """

    __slots__ = ("_at", "_spent")

    def __init__(self, now: float) -> None:
        self._at = now
        self._spent = 0.0

    def spend(self, cost: int, now: float) -> bool:
        """Take `cost` at the time `now` (seconds of any clock that only goes forward). False: the allowance is used up."""
        self._spent = max(0.0, self._spent - (now - self._at) * PER_SECOND) + cost
        self._at = now
        return self._spent <= BURST
