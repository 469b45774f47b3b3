"""TLS over the loop's plain transport, with the standard library's ssl.MemoryBIO. To the protocol above it is a transport.

                 close_notify from the client    +--------------+
              +--------------------------------> | CLIENT_ENDED | --+
              |                                  +--------------+   |  close()
    +-----------+         +------+                                  v
    | HANDSHAKE | ------> | OPEN | ------------------------> +---------+        +------+
    +-----------+  done   +------+         close(), a fault  | CLOSING | -----> | GONE |
          |                   |                              +---------+        +------+
          |                   |   write_eof()    +--------------+   ^   the plain transport is lost
          |                   +----------------> | SERVER_ENDED | --+
          |  fails, abort()                      +--------------+   |
          +---------------------------------------------------------+

Bytes from the network are given to OpenSSL one record at a time, so that the layer knows, without asking, when OpenSSL has something for
it, how many records carry no data, and that OpenSSL holds at most one record. Bytes that wait stay here, as they came.

    delivery   in order; never while reading is paused; never inside resume_reading(); all that came, without another byte from the network
    fairness   a connection decrypts for SLICE_SECONDS, then it waits for its turn with all others (wire.turns.Turns)
    memory     one read of the plain transport and OpenSSL's own state; after the end, none of OpenSSL's
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterable
from typing import Any

from ..core.slices import SLICE_SECONDS
from . import tls_failure
from .tls_handshake import Step, TlsHandshake
from .tls_output import MAX_GATHERED, MAX_WRITE, chunks
from .tls_records import EMPTY_COST, HEADER, MAX_RECORD, TINY, TINY_COST, RecordAllowance, record_size
from .tls_state import (
    CLIENT_ENDED,
    CLOSING,
    GONE,
    HANDSHAKE,
    OPEN,
    READING,
    SERVER_ENDED,
    WRITING,
    PlainTransport,
    TlsError,
    TruncatedError,
    TurnsOfReading,
)  # fmt: skip

LONG = 4_096
"""Bytes of a read from which it is worth a look at the clock."""

FULL = 256_000
"""Bytes of a read that filled the loop's buffer: the loop would read again at once, up to 32 times, before others have their turn."""

BRIEF_SECONDS = SLICE_SECONDS / 10
"""Seconds that such a read may take."""

RECORDS = 16
"""Records taken between two looks at the clock."""

GATHER = 65_536
"""Bytes of data up to which that of several records is delivered together."""


class TlsLayer(asyncio.Protocol):
    """The server's side of one TLS connection.

    The protocol above gets connection_made() after the handshake; if that fails, connection_lost() alone. Its write buffer has a
    high-water mark of 0, whatever it asks for.
    """

    __slots__ = (
        "_allowance", "_at", "_decrypt", "_deferred", "_descriptor", "_encrypt", "_encrypted", "_end", "_eof", "_fault", "_feed",
        "_handshake", "_into_buffer", "_left", "_missing", "_paused", "_plain", "_queued", "_refused", "_rest", "_send", "_size", "_tls",
        "_turns", "_upper", "state",
    )  # fmt: skip

    def __init__(
        self, upper: asyncio.BaseProtocol, context: ssl.SSLContext, turns: TurnsOfReading, *, descriptor: int = -1,
        send: Callable[[int, bytes], int], refused: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        """`send` writes to the plain socket's `descriptor` (see wire.frames); without one (-1) all goes through the plain transport.

        `refused` is called with a word of tls_failure and a detail when the client is at fault. It must not raise.
        """
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        self._tls: ssl.SSLObject | None = tls
        engine: Any = getattr(tls, "_sslobj", tls)  # without the calls of the wrapper in Python
        self._decrypt: Callable[..., Any] = engine.read
        self._encrypt: Callable[[Any], int] = engine.write
        self._feed: Callable[[Any], int] = incoming.write
        self._encrypted: Callable[[], bytes] = outgoing.read
        self._upper: Any = upper
        self._into_buffer = False
        self._turns = turns
        self._descriptor = descriptor
        self._send = send
        self._refused = refused
        self._plain: PlainTransport | None = None
        self._queued = False
        self._rest = b""
        """From the network, and not given to OpenSSL; from `_at` on."""
        self._at = 0
        self._size = 0
        """Bytes of the record that OpenSSL is given."""
        self._missing = 0
        """Bytes of it that have not come yet."""
        self._left = False
        """OpenSSL holds data for a BufferedProtocol that had no room."""
        self._paused = self._deferred = self._eof = False
        self._handshake: TlsHandshake | None = TlsHandshake(tls, incoming)
        self._allowance: RecordAllowance | None = None
        self._fault: tuple[str, str] | None = None
        """Why OpenSSL reads no further, as `refused` is told; None: close_notify came."""
        self._end: Exception | None = None
        self.state = HANDSHAKE

    # -- the plain transport's protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        plain: Any = transport
        self._plain = plain
        if self.state is HANDSHAKE:
            plain.set_write_buffer_limits(high=0)
        else:  # aborted while the transport was made
            plain.abort()

    def data_received(self, data: bytes) -> None:
        size = len(data)
        if (
            self.state is OPEN and HEADER < size < LONG and not self._missing and not self._rest and data[3] << 8 | data[4] == size - HEADER
            and not self._into_buffer and not self._paused and not self._deferred
        ):  # fmt: skip
            # One whole record with nothing before it: most messages come so.
            self._feed(data)
            plain = self._read(size)
            if plain:
                if len(plain) > TINY or self._affords(TINY_COST):
                    self._upper.data_received(plain)
            elif plain is not None:
                self._no_more()
            return
        if self.state not in READING:
            return
        self._rest = self._rest[self._at :] + data if self._rest else data
        self._at = 0
        if self._paused or self._deferred:
            return
        if self._turns.used_up:
            self._defer()
            return
        began = self._turns.now() if size >= FULL else 0.0
        self._work()
        if began and self._turns.now() - began > BRIEF_SECONDS and self.state in READING:
            self._defer()

    def eof_received(self) -> bool:
        """The client's end of the TCP connection. True keeps ours open."""
        self._eof = True
        if (self._paused or self._deferred) and self.state in READING:  # earlier data may wait for its delivery
            return True
        return self._ended()

    def _ended(self) -> bool:
        if self.state is CLIENT_ENDED:
            return True
        if self.state in READING:
            self._end = TruncatedError("the connection ended without close_notify")
            self._let_go()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        upper, end = self._upper, self._end or exc
        self._let_go()
        self.state, self._plain, self._upper, self._end = GONE, None, None, None
        if upper is not None:
            upper.connection_lost(end)

    def pause_writing(self) -> None:
        self._queued = True
        if self.state is not HANDSHAKE and self._upper is not None:
            self._upper.pause_writing()

    def resume_writing(self) -> None:
        self._queued = False
        if self.state is not HANDSHAKE and self._upper is not None:
            self._upper.resume_writing()

    # -- turns

    def read_on(self) -> None:
        """It is this connection's turn."""
        self._deferred = False
        if self.state in READING and not self._paused:
            try:
                self._work()
            except BaseException:  # the loop's transport would do so; nothing would ever read this one again
                self.abort()
                raise
        if self.state not in READING or self._paused or self._deferred or self._plain is None:
            return
        if not self._eof:
            self._plain.resume_reading()
        elif not self._ended():
            self._plain.close()

    def _defer(self) -> None:
        """Read on in a later turn of the loop."""
        if not self._deferred and self._plain is not None:
            self._deferred = True
            self._plain.pause_reading()
            self._turns.add(self)

    # -- the handshake

    def _greet(self) -> bool:
        """Take one whole record of the handshake. False: there is none."""
        data, at = self._rest, self._at
        available = len(data) - at
        if available < HEADER:
            return False
        size = record_size(data, at) or available
        if size > available:
            return False
        self._taken(size)
        if self._affords(TINY_COST):
            self._shake_hands(data[at : at + size])
        return True

    def _shake_hands(self, record: bytes) -> None:
        turns, handshake = self._turns, self._handshake
        assert handshake is not None
        began = turns.now()
        step = handshake.take(record)
        turns.spend(turns.now() - began)
        self._flush()
        if step is Step.DONE:
            self._handshake = self._allowance = None
            self.state = OPEN
            self._upper.connection_made(self)
        elif step is Step.LEFT:
            self.close()
        elif step is Step.FAILED:
            if handshake.alert:
                self._send_out(handshake.alert)
            self._fail(handshake.word, handshake.detail)

    # -- reading

    def _work(self) -> None:
        """Take records until there are no more, or reading is paused, or others have their turn."""
        now = self._turns.now
        moment = now()
        until = moment + SLICE_SECONDS
        while self.state in READING and not self._paused and not self._deferred:
            if self.state is HANDSHAKE:
                more = self._greet()
            elif self._into_buffer:
                more = self._take_into_buffer(until)
            elif self._left:
                more = self._take_left()
            else:
                more = self._take(moment)
            if not more:
                break
            moment = now()
            if moment > until and self.state in READING:
                self._defer()
        if self._at > len(self._rest) // 2:  # bytes that were taken must not stay in memory beside those that wait
            self._rest, self._at = self._rest[self._at :], 0

    def _taken(self, size: int) -> None:
        self._at += size
        if self._at == len(self._rest):
            self._rest, self._at = b"", 0

    def _next_record(self) -> int:
        """Let OpenSSL have a record, or the rest of one. Bytes to read then; 0: it is not complete."""
        if self._left:
            self._left = False
            return MAX_RECORD
        data, at, wanted = self._rest, self._at, self._missing
        available = len(data) - at
        if not wanted:
            if available < HEADER:
                return 0
            self._size = wanted = record_size(data, at) or available
        take = min(wanted, available)
        self._feed(data[at : at + take] if take < LONG else memoryview(data)[at : at + take])
        self._missing = wanted - take
        self._taken(take)
        return 0 if self._missing else self._size

    def _read(self, size: int, *buffer: memoryview) -> Any:
        """The data of a record (in `buffer`: its length); None if the record has none; empty if OpenSSL reads no further (see `_fault`)."""
        try:
            return self._decrypt(size, *buffer)
        except ssl.SSLWantReadError:
            self._flush()
            self._affords(EMPTY_COST)
            return None
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLError as error:
            self._fault = tls_failure.later_failure(error), tls_failure.detail(error)
            return b""

    def _take(self, began: float) -> bool:
        """Deliver the data of the next records together. False: the next record is not complete."""
        data, at, missing = self._rest, self._at, self._missing
        end, gathered, more, ended = len(data), 0, True, False
        pieces: list[bytes] = []
        for _ in range(RECORDS):
            available = end - at
            if not missing:
                if available < HEADER:
                    more = False
                    break
                missing = self._size = record_size(data, at) or available
            take = min(missing, available)
            self._feed(data[at : at + take] if take < LONG else memoryview(data)[at : at + take])
            at += take
            missing -= take
            if missing:
                more = False
                break
            plain = self._read(self._size)
            if plain:
                if len(plain) <= TINY and not self._affords(TINY_COST):
                    return False
                pieces.append(plain)
                gathered += len(plain)
                if gathered >= GATHER:
                    break
            elif plain is not None:
                ended = True
                break
            elif self.state not in READING:
                return False
        self._missing = missing
        self._rest, self._at = (data, at) if at < end else (b"", 0)
        self._turns.spend(self._turns.now() - began)
        if pieces:
            self._upper.data_received(b"".join(pieces) if len(pieces) > 1 else pieces[0])
        if ended:
            self._no_more()
        return more

    def _take_left(self) -> bool:
        """Deliver the data that OpenSSL holds because a BufferedProtocol had no room for it."""
        self._left = False
        plain = self._read(MAX_RECORD)
        if plain:
            self._upper.data_received(plain)
        elif plain is not None:
            self._no_more()
        return True

    def _take_into_buffer(self, until: float) -> bool:
        """The same with a BufferedProtocol: its buffer is filled by as many records as it has room for."""
        turns, filled, more, ended = self._turns, 0, True, False
        began = turns.now()
        size = self._next_record()
        if not size:
            return False
        upper = self._upper
        room = memoryview(upper.get_buffer(-1))
        if not room:
            raise RuntimeError("get_buffer() returned an empty buffer")
        while size:
            count = self._read(size, room[filled:])
            if count:
                filled += count
                if filled == len(room):
                    self._left = self._tls is not None and self._tls.pending() > 0
                    break
                if count <= TINY and not self._affords(TINY_COST):
                    return False
            elif count is not None:
                ended = True
                break
            elif self.state not in READING:
                return False
            if turns.now() > until:
                break
            size = self._next_record()
            more = size > 0
        turns.spend(turns.now() - began)
        if filled:
            upper.buffer_updated(filled)
        if ended:
            self._no_more()
        return more

    def _no_more(self) -> None:
        """OpenSSL reads no further: after close_notify, or a fault."""
        if self.state not in READING:  # the protocol above has ended it itself
            return
        if self._fault is not None:
            self._flush()
            self._fail(*self._fault)
        elif self._paused:
            self._left = True  # OpenSSL will say so again
        elif self.state is SERVER_ENDED:
            self.close()
        else:
            self.state, self._rest, self._at = CLIENT_ENDED, b"", 0
            if self._plain is not None:
                self._plain.pause_reading()  # whatever follows is not looked at
            if not self._upper.eof_received():
                self.close()

    def _affords(self, cost: int) -> bool:
        """Whether the client may send one more record of little use; else the connection is ended."""
        now = self._turns.now()
        if self._allowance is None:
            self._allowance = RecordAllowance(now)
        if self._allowance.spend(cost, now):
            return True
        self._refused(tls_failure.RECORDS, "too many records without data")
        self._end = TlsError(tls_failure.RECORDS)
        self.abort()
        return False

    # -- writing

    def _flush(self) -> None:
        """Send the records that OpenSSL has made."""
        data = self._encrypted()
        if data:
            self._send_out(data)

    def _send_out(self, data: bytes) -> None:
        plain = self._plain
        if plain is None or self.state is SERVER_ENDED:
            return
        if not self._queued and self._descriptor >= 0:
            sent = self._send(self._descriptor, data)
            if sent == len(data):
                return
            if sent > 0:
                data = data[sent:]
        plain.write(data)

    def write(self, data: bytes) -> None:
        """Send data. After the end of the connection, or of our side of it, it is dropped."""
        if self.state is not OPEN and self.state is not CLIENT_ENDED:
            return
        if 0 < len(data) <= MAX_WRITE:
            self._encrypt(data)
            self._send_out(self._encrypted())
        elif data:
            self.writelines([data])

    def writelines(self, list_of_data: Iterable[bytes]) -> None:
        """Send these one after the other, in as few records as can be."""
        pieces, gathered = [], 0
        for chunk in chunks(list_of_data):
            if self.state not in WRITING or self._plain is None:
                return
            self._encrypt(chunk)
            pieces.append(self._encrypted())
            gathered += len(pieces[-1])
            if gathered >= MAX_GATHERED:
                self._plain.writelines(pieces)
                pieces, gathered = [], 0
        if len(pieces) == 1:
            self._send_out(pieces[0])
        elif pieces and self._plain is not None:
            self._plain.writelines(pieces)

    def write_eof(self) -> None:
        """Say close_notify and end our side of the TCP connection; the client may go on."""
        if self.state is CLIENT_ENDED:
            self.close()
        elif self.state is OPEN and self._plain is not None:
            self._say_close_notify()
            self.state = SERVER_ENDED
            self._plain.write_eof()

    def can_write_eof(self) -> bool:
        return True

    def _say_close_notify(self) -> None:
        assert self._tls is not None
        with contextlib.suppress(ssl.SSLError):  # it would wait for the client's; a WebSocket's end has been agreed on by Close frames
            self._tls.unwrap()
        self._flush()

    def get_write_buffer_size(self) -> int:
        """Bytes that wait, encrypted."""
        return 0 if self._plain is None else self._plain.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The limit is 0 for ever: only so it is known when the socket may be written to directly."""

    # -- the transport of the protocol above

    def pause_reading(self) -> None:
        self._paused = True
        if self._plain is not None and self.state in READING:
            self._plain.pause_reading()

    def resume_reading(self) -> None:
        """Deliver again, in a later turn of the loop."""
        self._paused = False
        if self.state not in READING or self._deferred or self._plain is None:
            return
        if self._rest or self._left or self._eof:
            self._deferred = True
            self._turns.add(self)
        else:
            self._plain.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._upper = protocol
        self._into_buffer = isinstance(protocol, asyncio.BufferedProtocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._upper
        return protocol

    def get_extra_info(self, name: str, default: object = None) -> object:
        """ssl_object, sslcontext, peercert and cipher, as asyncio's TLS transports have them; the rest of the plain transport."""
        tls = self._tls
        if tls is not None:
            if name == "ssl_object":
                return tls
            if name == "sslcontext":
                return tls.context
            if name == "peercert":
                return tls.getpeercert()
            if name == "cipher":
                return tls.cipher()
            if name == "compression":
                return tls.compression()
        return default if self._plain is None else self._plain.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self.state is CLOSING or self.state is GONE

    def close(self) -> None:
        """Send the written data and close_notify, then end the connection."""
        if self.state in WRITING:
            self._say_close_notify()
        if not self.is_closing():
            self._let_go()
            if self._plain is not None:
                self._plain.close()

    def abort(self) -> None:
        """End the connection at once. Unsent data is dropped."""
        if self.state is not GONE:
            self._let_go()
            if self._plain is not None:
                self._plain.abort()

    def _fail(self, word: str, detail: str) -> None:
        self._refused(word, detail)
        self._end = TlsError(word)
        self._let_go()
        if self._plain is None:
            return
        if self._queued:  # a client that reads nothing must not keep the socket
            self._plain.abort()
        else:
            self._plain.close()

    def _let_go(self) -> None:
        """The layer reads and writes no more: OpenSSL's buffers go now, even if another object still holds the layer."""
        self.state, self._descriptor = CLOSING, -1
        self._rest, self._at, self._left, self._missing = b"", 0, False, 0
        self._tls = self._handshake = self._allowance = None
        self._decrypt = self._encrypt = self._feed = self._encrypted = _nothing


def _nothing(*_: object) -> Any:
    """Stands in for OpenSSL's functions after the end."""
    return b""
