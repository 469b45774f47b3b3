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

The layer has a reader, a writer and, for a while, a handshake; it decides when they work, and who is told of the result. Bytes that wait
stay in the reader as they came, but for the few records that OpenSSL was given.

    delivery   in order; never while reading is paused; never inside resume_reading(); all that came, without another byte from the network
    fairness   a connection decrypts for SLICE_SECONDS, then it waits for its turn with all others (wire.turns.Turns)
    memory     one read of the plain transport and OpenSSL's own state; after the end, none of OpenSSL's
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from typing import Any

from ..core.slices import SLICE_SECONDS
from . import tls_failure
from .tls_handshake import HandshakeStep, TlsHandshake
from .tls_reader import GIVEN, TlsReader
from .tls_records import HEADER, RecordAllowance
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
from .tls_writer import TlsWriter

LONG = 4_096
"""Bytes of a read that has to wait while others have used up this turn of the loop."""

FULL = 256_000
"""Bytes of a read that filled the loop's buffer: the loop would read again at once, up to 32 times, before others have their turn."""

BRIEF_SECONDS = SLICE_SECONDS / 10
"""Seconds that such a read may take."""


class TlsLayer(asyncio.Protocol):
    """The server's side of one TLS connection.

    The protocol above gets connection_made() after the handshake; if that fails, connection_lost() alone. Its write buffer has a
    high-water mark of 0, whatever it asks for.
    """

    __slots__ = (
        "_allowance", "_deferred", "_end", "_eof", "_handshake", "_into_buffer", "_paused", "_plain", "_reader", "_refused", "_tls",
        "_turns", "_upper", "_writer", "state", "write",
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
        self._reader = TlsReader(tls, incoming)
        self._writer = TlsWriter(tls, outgoing, descriptor, send)
        self.write = self._writer.write  # its method is this transport's, without a call in between
        self._upper: Any = upper
        self._into_buffer = False
        self._turns = turns
        self._refused = refused
        self._plain: PlainTransport | None = None
        self._paused = self._deferred = self._eof = False
        self._handshake: TlsHandshake | None = TlsHandshake(tls, incoming)
        self._allowance: RecordAllowance | None = None
        self._end: Exception | None = None
        self.state = HANDSHAKE

    # -- the plain transport's protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        plain: Any = transport
        self._plain = self._writer.plain = plain
        if self.state is HANDSHAKE:
            plain.set_write_buffer_limits(high=0)
        else:  # aborted while the transport was made
            plain.abort()

    def data_received(self, data: bytes) -> None:
        size = len(data)
        if (
            self.state is OPEN and HEADER < size <= GIVEN and not self._into_buffer and not self._paused and not self._deferred
            and (size < LONG or not self._turns.used_up)
        ):  # fmt: skip
            # A few whole records with nothing before them: most messages come so.
            reader = self._reader
            plain = reader.read_short(data, size)
            if plain is not None:
                if reader.cost and not self._charge_records():
                    return
                if plain:
                    self._upper.data_received(plain)
                if reader.ended:
                    self._no_more()
                return
        if self.state not in READING:
            return
        self._reader.keep(data)
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
        self.state, self._plain, self._writer.plain, self._upper, self._end = GONE, None, None, None, None
        if upper is not None:
            upper.connection_lost(end)

    def pause_writing(self) -> None:
        self._writer.queued = True
        if self.state is not HANDSHAKE and self._upper is not None:
            self._upper.pause_writing()

    def resume_writing(self) -> None:
        self._writer.queued = False
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

    def _work(self) -> None:
        """Take records until there are no more, or reading is paused, or others have their turn."""
        now = self._turns.now
        moment = now()
        until = moment + SLICE_SECONDS
        while self.state in READING and not self._paused and not self._deferred:
            if not (self._greet(moment) if self.state is HANDSHAKE else self._take(moment)):
                break
            moment = now()
            if moment > until and self.state in READING:
                self._defer()
        self._reader.compact()

    # -- the handshake

    def _greet(self, began: float) -> bool:
        """Take one whole record of the handshake. False: there is none."""
        record = self._reader.next_record()
        if record:
            self._shake_hands(record, began)
        return record != b""

    def _shake_hands(self, record: bytes, began: float) -> None:
        turns, handshake = self._turns, self._handshake
        assert handshake is not None
        step = handshake.take(record)
        turns.spend(turns.now() - began)
        self._writer.flush()
        if step is HandshakeStep.DONE:
            self._handshake = None
            self.state, self._writer.open = OPEN, True
            self._upper.connection_made(self)
        elif step is HandshakeStep.TOO_LONG:
            self._too_many_records()
        elif step is HandshakeStep.LEFT:
            self.close()
        elif step is HandshakeStep.FAILED:
            if handshake.alert:
                self._writer.send(handshake.alert)
            self._fail(handshake.word, handshake.detail)

    # -- reading

    def _take(self, began: float) -> bool:
        """Deliver the data of the next records together. False: the next record is not complete."""
        reader, upper, into_buffer = self._reader, self._upper, self._into_buffer
        if reader.ended:  # it was seen while reading was paused
            self._no_more()
            return False
        data: bytes | int
        if into_buffer:
            room = memoryview(upper.get_buffer(-1))
            if not room:
                raise RuntimeError("get_buffer() returned an empty buffer")
            data, more = reader.read_into(room)
        else:
            data, more = reader.read()
        self._turns.spend(self._turns.now() - began)
        if reader.cost and not self._charge_records():
            return False
        if data:
            if into_buffer:
                upper.buffer_updated(data)
            else:
                upper.data_received(data)
        if reader.ended:
            self._no_more()
        return more

    def _no_more(self) -> None:
        """OpenSSL reads no further: after close_notify, or a fault."""
        fault = self._reader.fault
        if self.state not in READING:  # the protocol above has ended it itself
            return
        if fault is not None:
            self._writer.flush()
            self._fail(*fault)
        elif self._paused:  # the reader still knows it when this is over
            return
        elif self.state is SERVER_ENDED:
            self.close()
        else:
            self.state = CLIENT_ENDED
            self._reader.let_go()
            if self._plain is not None:
                self._plain.pause_reading()  # whatever follows is not looked at
            if not self._upper.eof_received():
                self.close()

    def _charge_records(self) -> bool:
        """Charge for records of little use that were read, and send OpenSSL's answers. False: that ended the connection."""
        cost, self._reader.cost = self._reader.cost, 0
        self._writer.flush()
        return self._affords(cost)

    def _affords(self, cost: int) -> bool:
        """Whether the client may send records of little use at this cost; else the connection is ended."""
        now = self._turns.now()
        if self._allowance is None:
            self._allowance = RecordAllowance(now)
        if self._allowance.spend(cost, now):
            return True
        self._too_many_records()
        return False

    def _too_many_records(self) -> None:
        self._refused(tls_failure.RECORDS, "too many records without data")
        self._end = TlsError(tls_failure.RECORDS)
        self.abort()

    # -- the transport of the protocol above

    def writelines(self, list_of_data: Iterable[bytes]) -> None:
        """Send these one after the other, in as few records as can be."""
        self._writer.writelines(list_of_data)

    def write_eof(self) -> None:
        """Say close_notify and end our side of the TCP connection; the client may go on."""
        if self.state is CLIENT_ENDED:
            self.close()
        elif self.state is OPEN and self._plain is not None:
            self._writer.say_close_notify()
            self.state, self._writer.silent = SERVER_ENDED, True
            self._plain.write_eof()

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        """Bytes that wait, encrypted."""
        return 0 if self._plain is None else self._plain.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The limit is 0 for ever: only so it is known when the socket may be written to directly."""

    def pause_reading(self) -> None:
        self._paused = True
        if self._plain is not None and self.state in READING:
            self._plain.pause_reading()

    def resume_reading(self) -> None:
        """Deliver again, in a later turn of the loop."""
        self._paused = False
        if self.state not in READING or self._deferred or self._plain is None:
            return
        if self._reader.waits or self._eof:
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
            self._writer.say_close_notify()
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
        if self._writer.queued:  # a client that reads nothing must not keep the socket
            self._plain.abort()
        else:
            self._plain.close()

    def _let_go(self) -> None:
        """The layer reads and writes no more: OpenSSL's buffers go now, even if another object still holds the layer."""
        self.state = CLOSING
        self._reader.let_go()
        self._writer.let_go()
        self._tls = self._handshake = self._allowance = None
