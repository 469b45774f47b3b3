"""The bytes of clients: opening handshakes and frames, good ones and bad ones, cut into reads, with other events in between."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from random import Random

from tests.support.fakes import KEY, MASK, binary, close, frame, request, text
from tests.support.mutators import cut, mutate

Step = bytes | str | int
"""Bytes: a read. A number: so many milliseconds pass. A word: one of EVENTS."""

STUCK, DRAIN, GONE = "stuck", "drain", "gone"
EVENTS = (STUCK, DRAIN, GONE)
"""The client reads no more; it reads everything; it is gone."""

Story = tuple[bool, list[Step]]
"""Whether the connection came by way of TLS, and what the client does."""

PATHS = ("/", "/echo", "/slow", "/text", "/rated", "/asked", "/mounted", "/raising", "/latest")
NOWHERE = ("/nowhere", "/%e2%98%83/x?y=1&y=%zz", "*", "/echo/", "/asked?token=x")

OFFERS = (
    "", "", "permessage-deflate", "permessage-deflate; client_max_window_bits", "permessage-deflate; server_max_window_bits=9",
    "permessage-deflate; client_no_context_takeover; server_no_context_takeover", "permessage-deflate; server_max_window_bits=99",
    "x-webkit-deflate-frame, permessage-deflate;client_max_window_bits=10", "permessage-deflate; =",
)  # fmt: skip

STRANGERS = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)),
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1024 80\r\n" + request("/echo"),
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12),
    b"SSH-2.0-OpenSSH_9.9\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"\r\n" + request("/echo"),
    b"GET /echo HTTP/1.0\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\nHost: x\n\n",
    b"GET http://example.org/echo HTTP/1.1\r\nHost: example.org\r\n\r\n",
    b"GET /?redirect=x HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 17000,
    b"<policy-file-request/>\x00",
)

SIZES = (0, 1, 10, 124, 125, 126, 300, 1000, 1001, 4096, 65535, 65536, 70_000, 140_000)
REASONS = ("", "bye", "\N{SNOWMAN}" * 41)
WORDS = ("", "a", "hello", "grün", "\N{SNOWMAN}" * 40, "boom", "x" * 125, "y" * 126, "z" * 127, "0" * 999, "1" * 1000, "2" * 1001)


def opening(random: Random) -> bytes:
    """A good opening handshake, and after it often more headers."""
    headers = {}
    if offer := random.choice(OFFERS):
        headers["sec_websocket_extensions"] = offer
    if random.random() < 0.3:
        headers["sec_websocket_protocol"] = random.choice(("b", "c, b", "x", "token.abc, b"))
    if random.random() < 0.2:
        headers["x_forwarded_for"] = random.choice(("198.51.100.1", "10.0.0.1, [2001:db8::1]:80", "unknown"))
        headers["forwarded"] = random.choice(("", 'for="[2001:db8::7]:1";proto=https', "for=_x"))
    if random.random() < 0.03:
        headers["sec_websocket_key"] = random.choice(("", KEY[:-1], "A" * 24))
    return request(random.choice(NOWHERE if random.random() < 0.05 else PATHS), **headers)


# -- frames


def _payload(random: Random) -> bytes:
    if random.random() < 0.6:
        return random.choice(WORDS).encode()
    size = random.choice(SIZES) if random.random() < 0.4 else random.randint(0, 64)
    return (random.randbytes(64) * (size // 64 + 1))[:size] if size > 64 else random.randbytes(size)


def _deflated(random: Random, payload: bytes) -> bytes:
    """A payload compressed as a client does; in one of several ways that are right, or spoilt."""
    compressor = zlib.compressobj(random.choice((0, 1, 6)), zlib.DEFLATED, -random.choice((9, 10, 15)))
    data = compressor.compress(payload)
    if random.random() < 0.2:
        data += compressor.flush(zlib.Z_FINISH) + b"\x00"
    else:
        data = (data + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
    return mutate(random, data) if random.random() < 0.15 else data


def good(random: Random) -> bytes:
    return random.choice((text(random.choice(WORDS)), binary(_payload(random)), binary(_payload(random))))


def control(random: Random) -> bytes:
    return frame(random.choice((9, 9, 10)), random.choice((b"", b"ping", b"x" * 125)))


def compressed(random: Random) -> bytes:
    return frame(random.choice((1, 2)), _deflated(random, _payload(random)), rsv=4)


def fragmented(random: Random) -> bytes:
    """One message in several frames, with control frames in between; now and then far too many."""
    rsv = 4 if random.random() < 0.2 else 0
    payload = random.choice(WORDS).encode() if random.random() < 0.5 else _payload(random)
    data = _deflated(random, payload) if rsv else payload
    size = max(1, len(data) // random.choice((1, 2, 3, 10, 60)))
    parts = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
    made = []
    for index, part in enumerate(parts):
        made.append(frame(0 if index else 1, part, fin=index == len(parts) - 1, rsv=0 if index else rsv))
        if random.random() < 0.1:
            made.append(control(random))
    return b"".join(made)


def closing(random: Random) -> bytes:
    code = random.choice((None, 1000, 1000, 1001, 1005, 1006, 1011, 1015, 999, 2999, 3000, 4999, 5000, 65535))
    return close(code, random.choice(REASONS)) if code is not None else close(None)


def odd(random: Random) -> bytes:
    """A frame that breaks one rule, or lies."""
    payload = _payload(random)[:200]
    match random.randrange(9):
        case 0:
            return frame(random.randrange(16), payload, fin=random.random() < 0.5, rsv=random.randrange(8))
        case 1:
            return frame(random.choice((1, 2, 9)), payload, mask=None)
        case 2:  # a length that is not as short as it can be, or another than that of the payload
            length = random.choice((0, 1, len(payload), 125, 65535, 65536, 2**31, 2**63 - 1, 2**63, 2**64 - 1))
            return struct.pack("!BBQ", 0x82, 0xFF, length) + MASK + payload
        case 3:
            return struct.pack("!BBH", 0x81, 0xFE, random.choice((0, 125, len(payload), 65535))) + MASK + payload
        case 4:
            return frame(1, mutate(random, random.choice(WORDS).encode()))
        case 5:
            return frame(random.choice((8, 9, 10)), b"c" * random.choice((126, 200)))
        case 6:
            return frame(random.choice((8, 9, 10)), b"", fin=False)
        case 7:
            return frame(8, random.choice((b"\x03", b"\x03\xe8\xff", b"\x03\xe8\xe2\x98")))
        case _:
            return frame(0, payload)


KINDS: tuple[Callable[[Random], bytes], ...] = (good, good, good, control, compressed, fragmented, fragmented, closing, odd)


def frames(random: Random) -> bytes:
    kinds = KINDS if random.random() < 0.6 else (good, control)
    return b"".join([random.choice(kinds)(random) for _ in range(random.choice((0, 1, 2, 4, 8, 20)))])


# -- whole connections


def story(random: Random) -> Story:
    """One client from its first byte on."""
    head = opening(random)
    kind = random.random()
    if kind < 0.10:
        head = mutate(random, random.choice((head, random.choice(STRANGERS))), STRANGERS)
    stream = frames(random)
    if kind > 0.65:
        stream = mutate(random, stream, (head, b"\x81\x80abcd"))
    steps: list[Step] = []
    for read in [*cut(random, head), *cut(random, stream)] if random.random() < 0.6 else cut(random, head + stream):
        steps.append(read)
        if random.random() < 0.08:
            steps.append(random.choice((*EVENTS, STUCK, 1, 60, 1000, 26_000)))
    if random.random() < 0.3:
        steps.append(close())
    return random.random() < 0.3, steps
