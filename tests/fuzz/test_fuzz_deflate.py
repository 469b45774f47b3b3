"""Compressed messages: the message, or one of two errors, in bounded memory; whole or in pieces makes no difference."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Sequence
from random import Random

from tests.support.fuzzing import again, run
from tests.support.mutators import cut, mutate
from wsdaemon.wire.deflate.compressor import DeflateBudget
from wsdaemon.wire.deflate.negotiation import DeflateParameters
from wsdaemon.wire.deflate.streams import FINAL_BLOCK, CorruptMessage, Deflate, MessageTooBig

Session = tuple[int, bool, int, list[list[bytes]]]
"""Window bits, whether the client forgets its window after each message, the limit (0: none), and messages in pieces."""

FOUND: list[Session] = [(15, True, 1000, [[FINAL_BLOCK * 1001 + b"\0"]]), (9, True, 0, [[FINAL_BLOCK * 1001, b"\0"]])]

LIMITS = (0, 1, 100, 1000, 65536)
LARGEST = 1 << 20
"""Bytes of message without a limit, times three: no payload made here is longer than a few KiB, and DEFLATE gives up to 1032 for one."""

ROOM = 256 * 1024
"""Bytes of memory besides those of the message: zlib's objects for both ways, and windows."""


def _texts(random: Random) -> bytes:
    match random.randrange(5):
        case 0:
            return b""
        case 1:
            return b"hello " * random.choice((1, 20, 2000))
        case 2:
            return random.randbytes(random.choice((1, 100, 1500)))
        case 3:
            return bytes(random.choice((100, 1000, 1001, 65536, 65537, 900_000)))
        case _:
            return ("grün \N{SNOWMAN}" * random.randint(1, 100)).encode()


def _compress(random: Random, texts: Sequence[bytes], bits: int, forgets: bool) -> list[bytes]:
    """As clients do it: with one window or a new one each time, ended with a flush or with BFINAL, at any level."""
    made = []
    compressor = None
    for text in texts:
        if compressor is None:
            strategy = random.choice((zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY))
            compressor = zlib.compressobj(random.choice((0, 1, 6, 9)), zlib.DEFLATED, -bits, 8, strategy)
        data = compressor.compress(text)
        if random.random() < 0.2:
            made.append(data + compressor.flush(zlib.Z_FINISH) + random.choice((b"\0", b"")))
            compressor = None
            continue
        if random.random() < 0.2:
            data += compressor.flush(zlib.Z_FULL_FLUSH)
        made.append((data + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4])
        if forgets:
            compressor = None
    return made


def make(random: Random) -> Session:
    bits, forgets = random.choice((9, 11, 15)), random.random() < 0.3
    payloads = _compress(random, [_texts(random) for _ in range(random.randint(1, 4))], bits, forgets)
    spoilt = random.randrange(len(payloads) + 1)
    messages = []
    for index, payload in enumerate(payloads):
        messages.append(cut(random, _spoil(random, payload, payloads) if index == spoilt else payload))
    return bits, forgets, random.choice(LIMITS), messages


def _spoil(random: Random, payload: bytes, others: Sequence[bytes]) -> bytes:
    if random.random() < 0.05:
        return FINAL_BLOCK * random.randint(900, 1200)
    return mutate(random, payload, others)[:2048]


def whole(deflate: Deflate, pieces: list[bytes], limit: int) -> bytes | str:
    try:
        return deflate.inflate(b"".join(pieces), limit)
    except (CorruptMessage, MessageTooBig) as error:
        return type(error).__name__


def in_pieces(deflate: Deflate, pieces: list[bytes], limit: int) -> bytes | str:
    """As Autobahn's parser does it."""
    received = b""
    try:
        deflate.start_decompress_message()
        for piece in pieces:
            received += deflate.decompress_message_data(piece, limit - len(received) if limit else None)
        deflate.end_decompress_message()
    except (CorruptMessage, MessageTooBig) as error:
        return type(error).__name__
    return received


def receive(session: Session) -> None:
    bits, forgets, limit, messages = session
    parameters = DeflateParameters(6, bits, bits, 4, False, forgets, 0)
    one, other = Deflate(parameters, DeflateBudget()), Deflate(parameters, DeflateBudget())
    for pieces in messages:
        message = whole(one, pieces, limit)
        same = in_pieces(other, pieces, limit) if any(pieces) else message
        if isinstance(message, str) or isinstance(same, str):
            too_far_back = bits < 15 and same == "CorruptMessage"  # zlib sees that only where what it refers to has left the window
            assert isinstance(same, str) and (isinstance(message, str) or too_far_back), f"whole: {message!r:.80}, in pieces: {same!r:.80}"
            break
        assert message == same, "pieces make another message"
        assert len(message) <= (limit or LARGEST * 3), "a message over the limit"
        assert len(one._window) <= 1 << bits
        if len(message) < 5000:
            _echo(one, message, bits)
    for deflate in (one, other):
        deflate.release()


def _echo(deflate: Deflate, message: bytes, bits: int) -> None:
    """Compressed messages of the daemon can be read."""
    deflate.forget_what_was_sent()
    payload = deflate.deflate(message)
    assert zlib.decompressobj(-bits).decompress(payload + b"\x00\x00\xff\xff") == message, "what we sent cannot be read"


def check(sessions: Sequence[Session]) -> None:
    for session in sessions:
        receive(session)
    measured = max(sessions, key=lambda session: sum(len(piece) for pieces in session[3] for piece in pieces) if session[2] else 0)
    tracemalloc.start()
    try:
        receive(measured)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    longest = max((sum(map(len, pieces)) for pieces in measured[3]), default=0)
    assert peak < ROOM + 6 * (measured[2] or 3 * LARGEST) + 3 * longest, f"{peak} bytes of memory for messages of up to {measured[2]} bytes"


def test_deflate() -> None:
    run("deflate", make, check)


def test_found() -> None:
    for session in FOUND:
        again(session, check)
