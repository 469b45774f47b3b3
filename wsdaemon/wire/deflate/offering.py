"""permessage-deflate (RFC 7692), the client's side of the opening handshake: the offer, and what the server's answer means."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from .negotiation import (
    EXTENSION_NAME,
    LARGEST_WINDOW_BITS,
    SMALLEST_WINDOW_BITS,
    DeflateOptions,
    DeflateParameters,
    parse_offers,
    shared_parameters,
)

LEAST_WINDOW_BITS = 8
"""The smallest window of RFC 7692. zlib cannot compress for it, so that messages are then sent uncompressed."""

NO_THRESHOLD = sys.maxsize
"""A threshold that no message reaches."""


class BadAnswer(ValueError):
    """The server's Sec-WebSocket-Extensions answers no offer of ours: the handshake fails (RFC 7692 5.1, RFC 6455 9.1)."""


@dataclass(slots=True)
class _Answer:
    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = LARGEST_WINDOW_BITS
    client_max_window_bits: int = LARGEST_WINDOW_BITS


def offer(options: DeflateOptions) -> str:
    """The value of our Sec-WebSocket-Extensions: the wanted windows, then an offer without them, which every server can accept."""
    extras = "; client_max_window_bits"
    if not options.server_context_takeover:
        extras += "; server_no_context_takeover"
    if not options.client_context_takeover:
        extras += "; client_no_context_takeover"
    if options.window_bits < LARGEST_WINDOW_BITS:
        return f"{EXTENSION_NAME}; server_max_window_bits={options.window_bits}{extras}, {EXTENSION_NAME}{extras}"
    return EXTENSION_NAME + extras


def agreed(answer: str, options: DeflateOptions) -> DeflateParameters | None:
    """The parameters that the server's Sec-WebSocket-Extensions agrees on, seen from the client: `server_...` is our own half, as Deflate
    has it. None for an empty answer, which means no compression. BadAnswer."""
    try:
        extensions = parse_offers(answer)
    except ValueError as error:
        raise BadAnswer(f"Sec-WebSocket-Extensions: {error}") from None
    if not extensions:
        return None
    if len(extensions) > 1 or extensions[0].extension != EXTENSION_NAME:
        raise BadAnswer("the server answers with an extension that was not offered")
    found, names = _Answer(), set[str]()
    for name, value in extensions[0].parameters:
        if name in names:
            raise BadAnswer(f"the server answers with {name} twice")
        names.add(name)
        if name in ("server_no_context_takeover", "client_no_context_takeover") and value is None:
            setattr(found, name, True)
        elif name in ("server_max_window_bits", "client_max_window_bits") and (bits := _bits(value)):
            setattr(found, name, bits)
        else:
            raise BadAnswer(f"the server answers with {name}={value}")
    ours = min(found.client_max_window_bits, options.window_bits)
    return shared_parameters(
        options.level,
        max(ours, SMALLEST_WINDOW_BITS),
        max(found.server_max_window_bits, SMALLEST_WINDOW_BITS),
        options.memory_level,
        found.client_no_context_takeover or not options.client_context_takeover,  # our side is the server's in the parameters
        found.server_no_context_takeover,
        options.threshold if ours >= SMALLEST_WINDOW_BITS else NO_THRESHOLD,
    )


def _bits(value: str | None) -> int:
    """The window of a parameter in bits; 0 if it is none."""
    if value is None or not value.isascii() or not value.isdigit() or value.startswith("0") or len(value) > 2:
        return 0
    return bits if LEAST_WINDOW_BITS <= (bits := int(value)) <= LARGEST_WINDOW_BITS else 0
