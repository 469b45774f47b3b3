"""permessage-deflate (RFC 7692): what is agreed in the opening handshake."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

EXTENSION_NAME = "permessage-deflate"

LARGEST_WINDOW_BITS = 15
SMALLEST_WINDOW_BITS = 9
"""zlib cannot compress raw DEFLATE with a window of 8 bits. It can inflate it."""

CACHED_HEADER = 256
"""Longest header value, in characters, whose negotiation is remembered: the clients of a mount send a handful of different ones."""


@dataclass(frozen=True, slots=True)
class DeflateOptions:
    """Compression of one mount. ValueError for a value out of range."""

    level: int = 6
    """0 (stored) to 9 (smallest)."""
    window_bits: int = 11
    """9 to 15: the window of either side is at most 2 to this power, in bytes."""
    memory_level: int = 4
    """1 to 9: compressing takes 2 ** (memory_level + 9) bytes besides the window."""
    threshold: int = 256
    """Smaller messages, in bytes, are sent uncompressed."""
    server_context_takeover: bool = True
    """Keep our window from one message to the next."""
    client_context_takeover: bool = True
    """Let the client keep its window."""

    def __post_init__(self) -> None:
        ranges = (("level", 0, 9), ("window_bits", SMALLEST_WINDOW_BITS, LARGEST_WINDOW_BITS), ("memory_level", 1, 9))
        for name, least, most in ranges:
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}, expected {least} to {most}")
        if self.threshold < 0:
            raise ValueError(f"threshold is {self.threshold}, expected 0 or more bytes")


@dataclass(frozen=True, slots=True)
class DeflateParameters:
    """The parameters that a connection has negotiated; connections with equal parameters share one object.

    Where `server_no_context_takeover` is set, a message compressed for one of them (`deflate_message`) is right for each of them.
    """

    level: int
    server_window_bits: int
    client_window_bits: int
    memory_level: int
    server_no_context_takeover: bool
    client_no_context_takeover: bool
    threshold: int


@dataclass(frozen=True, slots=True)
class Offer:
    """One extension that a client offers: its name and its parameters in order, in lower case; None where a parameter has no value."""

    extension: str
    parameters: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A valid permessage-deflate offer. None: the parameter is not there."""

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int | None = None
    client_max_window_bits: int | None = None


_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def parse_offers(header_value: str) -> list[Offer]:
    """The extensions of a Sec-WebSocket-Extensions header, all its lines joined by commas, in order of preference.

    ValueError when it does not have the form of RFC 6455 9.1; by that section the handshake may then fail (400).
    """
    offers = []
    for element in header_value.split(","):  # a quoted value must be a token inside, so it holds neither comma nor semicolon
        name, *parameters = element.split(";")
        if parameters and name.strip(" \t") and not parameters[-1].strip(" \t"):
            parameters.pop()  # a final `;`, which some clients leave
        if parameters or name.strip(" \t"):  # lists in HTTP may have empty elements (RFC 9110 5.6.1.2)
            offers.append(Offer(_token(name).lower(), tuple(_parameter(parameter) for parameter in parameters)))
    return offers


def _parameter(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    value = value.strip(" \t")
    if len(value) > 2 and value[0] == value[-1] == '"':
        value = value[1:-1]
        if value != value.strip(" \t"):
            raise ValueError(f"{value!r} is not a token")
    return _token(name).lower(), _token(value) if equals else None


def _token(text: str) -> str:
    text = text.strip(" \t")
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is not a token")
    return text


_WINDOW_BITS = {str(bits): bits for bits in range(8, LARGEST_WINDOW_BITS + 1)}  # no leading zeros: RFC 7692 7.1.2


def _understood(offer: Offer) -> _Wanted | None:
    """The parameters of an offer; None if it must be declined: unknown, repeated or invalid parameters (RFC 7692 5.1, 7)."""
    found: dict[str, Any] = {}
    for name, value in offer.parameters:
        if name in found:
            return None
        if name in ("server_no_context_takeover", "client_no_context_takeover") and value is None:
            found[name] = True
        elif name == "client_max_window_bits" and value is None:
            found[name] = LARGEST_WINDOW_BITS
        elif name in ("server_max_window_bits", "client_max_window_bits") and value in _WINDOW_BITS:
            found[name] = _WINDOW_BITS[value]
        else:
            return None
    wanted = _Wanted(**found)
    if wanted.server_max_window_bits is not None and wanted.server_max_window_bits < SMALLEST_WINDOW_BITS:
        return None  # RFC 7692 7.1.2.1: decline what we cannot keep to
    return wanted


def _agree(wanted: _Wanted, options: DeflateOptions) -> DeflateParameters:
    """Every valid offer can be met."""
    server_bits = min(options.window_bits, wanted.server_max_window_bits or LARGEST_WINDOW_BITS)
    if wanted.client_max_window_bits is None:
        client_bits = LARGEST_WINDOW_BITS
        window_too_large = options.window_bits < LARGEST_WINDOW_BITS  # and we may not ask for a smaller one, but that it is not kept
    else:
        client_bits = min(options.window_bits, wanted.client_max_window_bits)
        window_too_large = False
    return shared_parameters(
        options.level,
        server_bits,
        client_bits,
        options.memory_level,
        wanted.server_no_context_takeover or not options.server_context_takeover,
        wanted.client_no_context_takeover or not options.client_context_takeover or window_too_large,
        options.threshold,
    )


@lru_cache(maxsize=1024)
def shared_parameters(*fields: int) -> DeflateParameters:
    """The one object for these parameters: a connection holds a reference, not a copy."""
    return DeflateParameters(*fields)  # type: ignore[arg-type]


def _response(parameters: DeflateParameters, wanted: _Wanted) -> str:
    """Our part of the Sec-WebSocket-Extensions answer. Windows of 15 bits are the rule of RFC 7692, and go unsaid where the client has
    not asked for one of ours: to accept `server_max_window_bits` is to answer with it (7.1.2.1)."""
    answer = [EXTENSION_NAME]
    if parameters.server_no_context_takeover:
        answer.append("server_no_context_takeover")
    if parameters.client_no_context_takeover:
        answer.append("client_no_context_takeover")
    if parameters.server_window_bits < LARGEST_WINDOW_BITS or wanted.server_max_window_bits is not None:
        answer.append(f"server_max_window_bits={parameters.server_window_bits}")
    if parameters.client_window_bits < LARGEST_WINDOW_BITS:  # only ever after the client offered it
        answer.append(f"client_max_window_bits={parameters.client_window_bits}")
    return "; ".join(answer)


def negotiate(header_value: str, options: DeflateOptions) -> tuple[DeflateParameters, str] | None:
    """The first acceptable offer: what is agreed and the answer's Sec-WebSocket-Extensions. None: no compression. Never fails."""
    return (_remembered if len(header_value) <= CACHED_HEADER else _negotiate)(header_value, options)


def _negotiate(header_value: str, options: DeflateOptions) -> tuple[DeflateParameters, str] | None:
    try:
        offers = parse_offers(header_value)
    except ValueError:
        return None
    for offer in offers:
        wanted = _understood(offer) if offer.extension == EXTENSION_NAME else None
        if wanted is not None:
            parameters = _agree(wanted, options)
            return parameters, _response(parameters, wanted)
    return None


_remembered = lru_cache(maxsize=256)(_negotiate)
