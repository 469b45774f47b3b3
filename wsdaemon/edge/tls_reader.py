"""The reading half of a TLS connection: bytes of the network to records, records to data. It knows no states and no transport.

OpenSSL is given a few whole records at a time. Because the reader knows how many, it reads that often and no more: a read without a result
costs an exception, and shows that records without data were among them.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from . import tls_failure
from .tls_records import APPLICATION_DATA, EMPTY_COST, HEADER, MAX_RECORD, TINY, TINY_COST, record_size

RECORDS = 4
"""Records that OpenSSL is given at once: the most without data that it works on between two looks at the clock."""

BATCHES = 16
"""How often it is given some, and all have data, between two looks at the clock."""

GIVEN = 20_480
"""Bytes that OpenSSL is given at once. One record may have a few small ones with it: OpenSSL keeps a buffer of a third more."""

LARGE = GIVEN - 8_192
"""Bytes of a record above which OpenSSL is given that one alone."""

GATHER = 65_536
"""Bytes of data up to which that of several records is delivered together."""


class TlsReader:
    """Bytes on their way through OpenSSL.

    `cost` is that of the records which carried next to no data (see tls_records); the owner takes it after each call. `ended`: OpenSSL
    reads no further, because of close_notify or of `fault`, a word of tls_failure and its detail.
    """

    __slots__ = ("_at", "_decrypt", "_feed", "_given", "_missing", "_ready", "_rest", "_tls", "cost", "ended", "fault")

    def __init__(self, tls: ssl.SSLObject, incoming: ssl.MemoryBIO) -> None:
        engine: Any = getattr(tls, "_sslobj", tls)  # without the calls of the wrapper in Python
        self._tls: ssl.SSLObject | None = tls
        self._decrypt: Callable[..., Any] = engine.read
        self._feed: Callable[[Any], int] = incoming.write
        self._rest = b""
        """From the network, and not given to OpenSSL; from `_at` on."""
        self._at = 0
        self._missing = 0
        """Bytes of the last record in OpenSSL that have not come yet."""
        self._ready = 0
        """Whole records that OpenSSL was given and that were not read to their end."""
        self._given = 0
        """Their bytes, at most."""
        self.cost = 0
        self.ended = False
        self.fault: tuple[str, str] | None = None

    @property
    def waits(self) -> bool:
        """Whether data, or the end, may be here and was not read."""
        return self._ready > 0 or self._rest != b"" or self.ended

    def keep(self, data: bytes) -> None:
        """Bytes came from the network."""
        self._rest = self._rest[self._at :] + data if self._rest else data
        self._at = 0

    def compact(self) -> None:
        """Bytes that were taken must not stay in memory beside those that wait."""
        if self._at > len(self._rest) // 2:
            self._rest, self._at = self._rest[self._at :], 0

    def next_record(self) -> bytes:
        """Take one whole record past OpenSSL; empty: there is none."""
        data, at = self._rest, self._at
        available = len(data) - at
        if available < HEADER:
            return b""
        size = record_size(data, at) or available
        if size > available:
            return b""
        self._taken(size)
        return data[at : at + size]

    def read_short(self, data: bytes, size: int) -> bytes | None:
        """The data of `size` bytes, at most GIVEN, while nothing waits. None: they are not a few whole records, and were not taken."""
        if self._missing or self._ready or self._rest:
            return None
        at = HEADER + (data[3] << 8 | data[4])
        if at == size:  # one whole record: most messages come so
            self._feed(data)
            try:
                plain: bytes = self._decrypt(size)
            except ssl.SSLError as error:
                return self._nothing(error, 1)
            if len(plain) > TINY:
                return plain
            if plain:
                self.cost += TINY_COST
            else:
                self.ended = True
            return plain
        if at + HEADER <= size == at + HEADER + (data[at + 3] << 8 | data[at + 4]):  # two: a message of 16 KiB with its frame's header
            self._feed(data)
            return self._read_two(size, size - at)
        if not record_size(data, 0):
            return None
        count = 1
        while at + HEADER <= size and count < RECORDS and (more := record_size(data, at)):
            at += more
            count += 1
        if at != size:
            return None
        self._feed(data)
        self._ready, self._given = count, size
        return self._read_ready()

    def _read_two(self, size: int, second_size: int) -> bytes:
        """As _read_ready(), for two records of `size` bytes together."""
        first = second = b""
        ready = 2
        try:
            first = self._decrypt(size)
            if first:
                ready = 1
                second = self._decrypt(second_size)
                if second:
                    ready = 0
        except ssl.SSLError as error:
            self._nothing(error, ready)
        else:
            self.ended = ready > 0
        if 0 < len(first) <= TINY:
            self.cost += TINY_COST
        if 0 < len(second) <= TINY:
            self.cost += TINY_COST
        return first + second if second else first

    def read(self) -> tuple[bytes, bool]:
        """The data of the next records together, and whether there may be more."""
        pieces: list[bytes] = []
        gathered = 0
        for _ in range(BATCHES):
            if not self._ready and not self._give():
                return _joined(pieces), False
            data = self._read_ready()
            if data:
                pieces.append(data)
                gathered += len(data)
            if self.ended or self.cost or gathered >= GATHER:
                break
        return _joined(pieces), self.waits and not self.ended

    def read_into(self, room: memoryview) -> tuple[int, bool]:
        """The same into a buffer: bytes in it, and whether there may be more."""
        decrypt, size, filled, ready = self._decrypt, len(room), 0, self._ready
        batches = BATCHES
        while batches and filled < size:
            if not ready:
                ready = self._give()
                if not ready:
                    self._ready = 0
                    return filled, False
                batches -= 1
            try:
                count = decrypt(size - filled, room[filled:])
            except ssl.SSLError as error:
                self._nothing(error, ready)
                return filled, self.waits and not self.ended
            if not count:
                self.ended = True
                break
            filled += count
            if filled < size or not self._pending():
                ready -= 1
                if count <= TINY:
                    self.cost += TINY_COST
        self._ready, self._given = ready, MAX_RECORD
        return filled, self.waits and not self.ended

    def let_go(self) -> None:
        """Read no more: what OpenSSL holds goes now."""
        self._rest, self._at, self._missing, self._ready = b"", 0, 0, 0
        self._tls = None
        self._decrypt = self._feed = nothing

    def _pending(self) -> int:
        return 0 if self._tls is None else self._tls.pending()

    def _taken(self, size: int) -> None:
        self._at += size
        if self._at == len(self._rest):
            self._rest, self._at = b"", 0

    def _give(self) -> int:
        """Give OpenSSL the next records: how many are whole then."""
        data, start, count = self._rest, self._at, 0
        end, at, given = len(data), start, 0
        if end - start > LARGE and not self._missing and data[start] == APPLICATION_DATA and data[start + 1] == 3:
            size = HEADER + (data[start + 3] << 8 | data[start + 4])
            if LARGE < size <= MAX_RECORD and start + size <= end:  # the next one would not go with it
                self._feed(memoryview(data)[start : start + size])
                self._taken(size)
                self._ready, self._given = 1, size
                return 1
        if self._missing:
            given = MAX_RECORD
            at = start + self._missing
            if at > end:
                self._give_beginning(data, start, at)
                return 0
            self._missing, count = 0, 1
        while count < RECORDS and end - at >= HEADER:
            size = record_size(data, at) or min(end - at, MAX_RECORD)
            if at + size > end and not count:
                self._give_beginning(data, start, at + size)
                return 0
            if at + size > end or (count and at + size - start > GIVEN):
                break
            at += size
            count += 1
        if count:
            self._feed(memoryview(data)[start:at])
            self._taken(at - start)
            self._ready, self._given = count, given or at - start
        return count

    def _give_beginning(self, data: bytes, start: int, needed: int) -> None:
        """A record whose end is still to come: what is there of it is kept by OpenSSL, and not copied together with the rest."""
        self._feed(memoryview(data)[start:])
        self._missing = needed - len(data)
        self._rest, self._at = b"", 0

    def _read_ready(self) -> bytes:
        """The data of the records that OpenSSL was given."""
        decrypt, given, ready = self._decrypt, self._given, self._ready
        pieces: list[bytes] = []
        try:
            while ready:
                piece = decrypt(given)
                if not piece:
                    self.ended = True
                    break
                ready -= 1
                pieces.append(piece)
                if len(piece) <= TINY:
                    self.cost += TINY_COST
        except ssl.SSLError as error:
            self._nothing(error, ready)
            ready = 0
        self._ready = ready
        return _joined(pieces)

    def _nothing(self, error: ssl.SSLError, ready: int) -> bytes:
        """OpenSSL has no data, though it was given `ready` whole records."""
        self._ready = 0
        if isinstance(error, ssl.SSLWantReadError):
            self.cost += EMPTY_COST * ready
        else:
            self.ended = True
            if not isinstance(error, ssl.SSLZeroReturnError):
                self.fault = tls_failure.later_failure(error), tls_failure.detail(error)
        return b""


def _joined(pieces: list[bytes]) -> bytes:
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def nothing(*_: object) -> Any:
    """Stands in for OpenSSL's functions after the end."""
    return b""
