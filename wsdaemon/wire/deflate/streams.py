"""permessage-deflate (RFC 7692): the two directions of one connection. negotiation.py has the handshake.

Three things differ from Autobahn's own class, besides the memory it takes: a message of more than the limit is never cut short, a stream
that ends in the middle of a block is an error, and DEFLATE blocks with BFINAL=1 (RFC 7692 7.2.3.4) may end a stream anywhere.

All three follow from one choice. The decoder lives for one message only; what lasts from message to message is the window, kept as plain
bytes, and the next decoder gets it as its dictionary. So at the end of a message the decoder may be driven into a final block, and whether
it gets there says exactly if the message was whole; a stream that was ended by BFINAL goes on with the window in a fresh decoder; and the
inflating half of an idle connection is its window (at most 2 KiB at 11 bits), nothing else. After the first message of a context the window
is kept as the message's compressed payload, if that is shorter.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from autobahn.exception import PayloadCorruptError, PayloadExceededError

from .compressor import Compressor, DeflateBudget
from .negotiation import EXTENSION_NAME, LARGEST_WINDOW_BITS, DeflateParameters

if TYPE_CHECKING:
    from zlib import _Decompress

TAIL = b"\x00\x00\xff\xff"
"""The bytes that the sender removed (RFC 7692 7.2.1): the lengths of an empty stored block whose 3 header bits end the payload."""

FINAL_BLOCK = b"\x01\x00\x00\xff\xff"
"""An empty stored block with BFINAL=1, from a byte boundary."""

END = TAIL + FINAL_BLOCK

MAX_FINAL_BLOCKS = 1000
"""BFINAL blocks in one message: each costs a new decoder, and a message of 1 MiB could hold half a million."""

BFINAL_STEP_BYTES = 4096
"""Bytes given to a decoder after a BFINAL block: zlib copies what it leaves over, the square of a message full of such blocks."""


class MessageTooBig(PayloadExceededError):
    """A message inflates to more than the limit: close with 1009."""


class CorruptMessage(PayloadCorruptError):
    """A message is not valid DEFLATE data, or ends in the middle of a block: close with 1007."""


SMALL_WINDOW_BITS = 12
"""Up to this window, in bits, what was sent is kept as bytes, for a compressor that each message makes: at 11 bits 2 KiB instead of 16."""


def deflate_message(payload: bytes, parameters: DeflateParameters, budget: DeflateBudget, taken: float = 0.0) -> tuple[bytes, float]:
    """One message compressed without context, and the processor time that it took; `taken`: the time that other windows took, in seconds.

    It is right for every connection with these parameters and `server_no_context_takeover`.
    """
    compressor = Compressor(parameters, budget)
    return compressor.message(payload, taken), compressor.took


def _last(pieces: list[bytes], size: int) -> bytes:
    """The last `size` bytes of all the pieces together."""
    taken: list[bytes] = []
    missing = size
    for piece in reversed(pieces):
        taken.append(piece)
        missing -= len(piece)
        if missing <= 0:
            break
    taken.reverse()
    return b"".join(taken)[-size:]


def _ended_well(decoder: _Decompress) -> bool:
    """Whether what `decoder` was given is a whole number of blocks once the tail is added. The decoder is then used up.

    The tail must not yield a byte, and the final block after it must be read as one, to its last byte (or be left over whole, when the
    empty block of the tail had BFINAL=1 itself). A message cut short fails. Within a stored block, the tail comes out as data. Within a
    Huffman block, either it decodes to data, or it starts with the end-of-block code; that code ends in the first 8 of the tail's 16 zero
    bits (n trailing zeros mean 2 ** n symbols with codes as long, of 286), and the zeros after it read as a stored block, whose lengths
    are then FF00 and 01FF, or FFFF and 0001: not each other's complement. Within the code lengths of a dynamic block, these nine bytes
    would have to make up a complete code by accident.
    """
    return not decoder.decompress(END, 1) and decoder.eof and decoder.unused_data in (b"", FINAL_BLOCK)


PACKED_PIECE_BYTES = 448
"""The length of the pieces of a packed window. CPython's own allocator takes objects of up to 512 bytes; larger ones come from the C
library's heap, where zlib's buffers come and go between them and leave holes: 1 KB for each connection."""

Window = bytes | tuple[bytes, ...]
"""The last bytes of a direction. A tuple has them packed: the compressed payload that filled the window, in pieces.

That is the first message of a context, if its payload is no longer than the window. Many clients send and get one message, and are quiet
then; inflating it once more, for the second message, takes a few microseconds.
"""


def _window_after(payload: bytes, message: bytes, size: int) -> Window:
    """The window after the first message of a context, in the shorter form."""
    if len(payload) < len(message) <= size:
        return tuple([payload[start : start + PACKED_PIECE_BYTES] for start in range(0, len(payload), PACKED_PIECE_BYTES)])
    return message[-size:]


def _unpacked(window: Window) -> bytes:
    """The window as plain bytes."""
    if isinstance(window, tuple):
        return zlib.decompressobj(-LARGEST_WINDOW_BITS).decompress(b"".join(window) + TAIL)
    return window


MAX_PIECES = 64
"""Pieces of a message under way that are kept for its window, beyond which only the window is: a client chooses how many there are."""


class _Incoming:
    """A message that comes in pieces, or in several DEFLATE streams.

    `pieces`: the window before it, then what came out of it so far, or the end of that.
    """

    __slots__ = ("bits", "decoder", "pieces", "streams")

    def __init__(self, bits: int, pieces: list[bytes], decoder: _Decompress | None = None) -> None:
        self.bits = bits
        self.pieces = pieces
        self.decoder = decoder
        self.streams = 0 if decoder is None else 1

    def feed(self, data: bytes, room: int | None) -> bytes:
        """Inflate to at most `room` bytes, None for no limit. MessageTooBig, CorruptMessage."""
        view, position, step = memoryview(data), 0, len(data)
        made = []
        while position < len(data):
            decoder = self.decoder
            if decoder is None or decoder.eof:
                decoder = self._next_decoder()
            part = view[position : position + step]
            piece = decoder.decompress(part, 0 if room is None else room + 1)
            if room is not None:
                room -= len(piece)
                if room < 0:
                    raise MessageTooBig("message inflates to more than the limit")
            if piece:
                made.append(piece)
                self.pieces.append(piece)
                if len(self.pieces) > MAX_PIECES:
                    self.pieces = [_last(self.pieces, 1 << self.bits)]
            position += len(part) - len(decoder.unused_data)
            step = BFINAL_STEP_BYTES
        return made[0] if len(made) == 1 else b"".join(made)

    def _next_decoder(self) -> _Decompress:
        """The window survives a BFINAL block, because it belongs to the messages (RFC 7692 7.2.2). A sender that starts anew ignores it."""
        if self.streams > MAX_FINAL_BLOCKS:
            raise CorruptMessage(f"more than {MAX_FINAL_BLOCKS} blocks with BFINAL=1 in one message")
        self.streams += 1
        window = _last(self.pieces, 1 << self.bits)
        self.pieces = [window]
        self.decoder = zlib.decompressobj(-self.bits, window)
        return self.decoder

    def end(self) -> None:
        """CorruptMessage when the message is not whole.

        Right after a BFINAL block it is, even without the empty block that RFC 7692 7.2.1 puts behind it: some senders leave that out.
        """
        if self.decoder is not None and not self.decoder.eof and not _ended_well(self.decoder):
            raise CorruptMessage("DEFLATE stream ends in the middle of a block")


class Deflate:
    """Compression on one connection, on either side. Takes the place of Autobahn's `PerMessageDeflate`, whose methods it has.

    Messages may come whole (`inflate`, `deflate`) or in pieces (Autobahn's methods), in any order, and share one window per direction.
    zlib's objects are made when they are needed and freed at the end of a message. Between messages the windows are kept as bytes; only
    with a large window of ours the compressor itself stays, because filling it anew for each message would cost more than the message.
    """

    __slots__ = ("_budget", "_compressor", "_incoming", "_sent", "_window", "parameters", "used", "watched")

    EXTENSION_NAME = EXTENSION_NAME

    def __init__(self, parameters: DeflateParameters, budget: DeflateBudget) -> None:
        self.parameters = parameters
        self._budget = budget
        self._compressor: Compressor | None = None
        self.used = False
        """Whether a message was compressed since `Resting` last looked."""
        self.watched = False
        """Whether `Resting` watches this connection, to free the compressor once it is not used."""
        self._sent: Window = b""
        self._incoming: _Incoming | None = None
        self._window: Window = b""

    @classmethod
    def server(cls, parameters: DeflateParameters, budget: DeflateBudget) -> Deflate:
        return cls(parameters, budget)

    @classmethod
    def client(cls, parameters: DeflateParameters, budget: DeflateBudget) -> Deflate:
        """The other side's: in `parameters`, as offering.agreed() makes them, `server_...` is this client's half."""
        return cls(parameters, budget)

    @property
    def threshold(self) -> int:
        """Smaller messages, in bytes, are to be sent uncompressed."""
        return self.parameters.threshold

    def forget_what_was_sent(self) -> None:
        """Begin a new context for our messages, unless one is under way: a sender may refer to its window, but does not have to.

        This is needed after the client was sent a message that another compressor made, and welcome where memory is short.
        """
        if not self.deflating:
            self._compressor = None
            self._sent = b""

    @property
    def window(self) -> bytes:
        """The last bytes that came compressed: the peer's next message may refer to them."""
        return _unpacked(self._window)

    @window.setter
    def window(self, window: bytes) -> None:
        self._window = window

    @property
    def inflating(self) -> bool:
        """Whether a message of the peer is under way in pieces."""
        return self._incoming is not None

    @property
    def deflating(self) -> bool:
        """Whether a message of ours is under way in pieces."""
        return self._compressor is not None and self._compressor.begun

    def release(self) -> None:
        """Free everything: the connection is closed."""
        self._compressor = self._incoming = None
        self._window = self._sent = b""

    # -- whole messages

    def inflate(self, payload: bytes, maximum: int = 0) -> bytes:
        """The message of a compressed payload, of at most `maximum` bytes, 0 for no limit. MessageTooBig, CorruptMessage.

        An empty payload is an empty message: zlib gives nothing for a second flush in a row, and not every sender minds that.
        """
        if not payload:
            return b""
        parameters, window = self.parameters, _unpacked(self._window)
        bits = parameters.client_window_bits
        try:
            decoder = zlib.decompressobj(-bits, window)
            message = decoder.decompress(payload, maximum + 1 if maximum else 0)
            if maximum and len(message) > maximum:
                raise MessageTooBig(f"message inflates to more than {maximum} bytes")
            several = decoder.eof
            if several:
                incoming = _Incoming(bits, [window, message], decoder)
                message += incoming.feed(decoder.unused_data, maximum - len(message) if maximum else None)
                incoming.end()
            elif not _ended_well(decoder):
                raise CorruptMessage("DEFLATE stream ends in the middle of a block")
        except zlib.error as error:
            raise CorruptMessage(str(error)) from error
        if not parameters.client_no_context_takeover:
            size = 1 << bits
            if window or several:
                self._window = message[-size:] if len(message) >= size else (window + message)[-size:]
            else:
                self._window = _window_after(payload, message, size)
        return message

    def deflate(self, payload: bytes) -> bytes:
        """One message as a compressed payload, without its last four bytes (RFC 7692 7.2.1)."""
        parameters = self.parameters
        compressor = self._compressor
        first = compressor is None and not self._sent
        if compressor is None:
            compressor = Compressor(parameters, self._budget, _unpacked(self._sent))
        data = compressor.message(payload)
        if not parameters.server_no_context_takeover:
            self.used = True
            if self._keep(compressor):
                self._remember(payload, data if first else b"")
        return data

    def _remember(self, payload: bytes, data: bytes = b"") -> None:
        """`payload` was sent; as `data`, if that is a whole message and the first of a context."""
        size = 1 << self.parameters.server_window_bits
        if data:
            self._sent = _window_after(data, payload, size)
        else:
            self._sent = payload[-size:] if len(payload) >= size else (_unpacked(self._sent) + payload)[-size:]

    def _keep(self, compressor: Compressor) -> bool:
        """A message has ended. Keep the compressor, which has the window inside, and return False; or let it go, and return True: then the
        next one needs the window as bytes."""
        if compressor.cut or self.parameters.server_window_bits <= SMALL_WINDOW_BITS:
            self._compressor = None
            return True
        self._compressor, self._sent = compressor, b""
        return False

    # -- messages in pieces, as Autobahn calls it

    def start_decompress_message(self) -> None:
        self._incoming = _Incoming(self.parameters.client_window_bits, [_unpacked(self._window)])

    def decompress_message_data(self, data: bytes, max_output_len: int | None = None) -> bytes:
        """Inflate to at most `max_output_len` bytes, None for no limit. MessageTooBig, CorruptMessage, and again for all that follows."""
        incoming, self._incoming = self._incoming, None
        if incoming is None:
            raise CorruptMessage("the message has failed already")
        try:
            output = incoming.feed(data, None if max_output_len is None else max(max_output_len, 0))
        except zlib.error as error:
            raise CorruptMessage(str(error)) from error
        self._incoming = incoming
        return output

    def end_decompress_message(self) -> None:
        """CorruptMessage when the message is not whole."""
        incoming, self._incoming = self._incoming, None
        if incoming is None:
            raise CorruptMessage("the message has failed already")
        try:
            incoming.end()
        except zlib.error as error:
            raise CorruptMessage(str(error)) from error
        if not self.parameters.client_no_context_takeover:
            self._window = _last(incoming.pieces, 1 << incoming.bits)

    def start_compress_message(self) -> None:
        if self._compressor is None:
            self._compressor = Compressor(self.parameters, self._budget, _unpacked(self._sent))
        self._compressor.begin()

    def compress_message_data(self, data: bytes) -> bytes:
        assert self._compressor is not None
        self._remember(data)
        return self._compressor.add(data)

    def end_compress_message(self) -> bytes:
        compressor = self._compressor
        assert compressor is not None
        data = compressor.end()
        if self.parameters.server_no_context_takeover:
            self.forget_what_was_sent()
        else:
            self._keep(compressor)
        return data
