"""The PROXY protocol header, versions 1 and 2, that a load balancer puts before everything else, TLS included. Bytes in, values out.

The format is HAProxy's (proxy-protocol.txt, 2.1 for version 1, 2.2 for version 2). The caller decides which peers may send it, and how
long it may take. The reader gives the number of bytes that it surely needs, so that a caller can take exactly the header from a socket
and leave the rest to TLS.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from dataclasses import dataclass

from ..core.handshake import UNIX, Peer

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
"""Of version 2. No HTTP request and no TLS handshake begins so."""

MAX_V1 = 107
"""Bytes of a version 1 line with its CRLF."""
MIN_V1 = 15
"""Bytes of the shortest version 1 line, `PROXY UNKNOWN` with its CRLF."""
MAX_V2 = 4096
"""Bytes of a version 2 header's addresses and TLVs. The format allows 65,535; real ones are below 600."""

SSL_TLV = 0x20
"""The type of the TLV that tells of TLS between the client and the proxy (2.2.6)."""

CLIENT_OVER_SSL = 0x01
"""The bit of its first byte that says that the client connected over TLS."""

_V1 = re.compile(rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})")
_V1_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [ -~]*)?")


class ProxyHeaderError(Exception):
    """The bytes are no PROXY header, or a broken one. The connection is of no use."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """The load balancer's word about its client.

    Both addresses are None for a connection of its own (LOCAL: a health check) and for kinds of addresses that it or we do not know: the
    client is then the load balancer itself.
    """

    version: int
    source: Peer | None = None
    """The client."""
    destination: Peer | None = None
    """Where the client connected to."""
    secure: bool | None = None
    """Whether the client came over TLS, which the proxy ended (the TLV PP2_TYPE_SSL, 2.2.6). None: the header does not say."""


class ProxyHeaderReader:
    """Reads one header, however it was cut on its way.

    `feed` gives the header when it is complete and `rest` has then what came after it; it raises ProxyHeaderError as soon as the bytes so
    far can be no header. `needed` is how many bytes more the header has at least; never more than it has, so reading that many cannot go
    past its end.
    """

    __slots__ = ("_held", "needed", "rest")

    def __init__(self) -> None:
        self._held = b""
        self.needed = MIN_V1
        self.rest = b""

    def feed(self, data: bytes) -> ProxyHeader | None:
        held = self._held + data
        found = _read_v2(held) if held[:1] == b"\r" else _read_v1(held)
        if isinstance(found, int):
            self._held, self.needed = held, found
            return None
        header, end = found
        self._held, self.needed, self.rest = b"", 0, held[end:]
        return header


def _read_v1(held: bytes) -> tuple[ProxyHeader, int] | int:
    """The header and where it ends, or how many bytes more it has at least."""
    if held[:6] != b"PROXY "[: len(held)]:
        raise ProxyHeaderError("the connection does not begin with a PROXY protocol header")
    end = held.find(b"\r\n", 0, MAX_V1)
    if end < 0:
        if len(held) >= MAX_V1:
            raise ProxyHeaderError(f"the PROXY line is longer than {MAX_V1} bytes")
        if b"\n" in held or b"\r" in held[:-1]:
            raise ProxyHeaderError("the PROXY line does not end in CRLF")
        # A space and a character for each field that has not begun yet, and the CRLF.
        fields = 0 if held.startswith(b"PROXY U") else 5 - held.count(b" ")
        return max(MIN_V1 - len(held), 1 if held[-1:] == b"\r" else 2 + 2 * max(fields, 0))
    return _parse_v1(held[:end]), end + 2


def _parse_v1(line: bytes) -> ProxyHeader:
    if _V1_UNKNOWN.fullmatch(line):
        return ProxyHeader(1)
    match = _V1.fullmatch(line)
    if match is None:
        raise ProxyHeaderError("the PROXY line is not PROXY TCP4|TCP6 SOURCE DESTINATION PORT PORT")
    family = ipaddress.IPv4Address if match[1] == b"TCP4" else ipaddress.IPv6Address
    try:
        source, destination = str(family(match[2].decode())), str(family(match[3].decode()))
    except ValueError:
        raise ProxyHeaderError("the PROXY line has an address that is none of its family") from None
    source_port, destination_port = int(match[4]), int(match[5])
    if max(source_port, destination_port) > 65535:
        raise ProxyHeaderError("the PROXY line has a port over 65535")
    return ProxyHeader(1, Peer.from_sockname((source, source_port)), Peer.from_sockname((destination, destination_port)))


def _read_v2(held: bytes) -> tuple[ProxyHeader, int] | int:
    """The header and where it ends, or how many bytes more it has at least."""
    if held[:12] != SIGNATURE[: len(held)]:
        raise ProxyHeaderError("the connection does not begin with a PROXY protocol header")
    if len(held) > 12 and held[12] not in (0x20, 0x21):
        raise ProxyHeaderError("the PROXY header is of a version or command that is not known")
    if len(held) < 16:
        return 16 - len(held)
    family, length = held[13], int.from_bytes(held[14:16], "big")
    if length > MAX_V2:
        raise ProxyHeaderError(f"the PROXY header announces {length} bytes, more than {MAX_V2}")
    if len(held) < 16 + length:
        return 16 + length - len(held)
    if held[12] == 0x20:
        return ProxyHeader(2), 16 + length
    return _parse_v2(family, held[16 : 16 + length]), 16 + length


def _parse_v2(family: int, block: bytes) -> ProxyHeader:
    """Addresses of a PROXY command, and the TLV about TLS behind them. The other TLVs, the checksum among them, are skipped."""
    if family >> 4 > 3 or family & 15 > 2:
        raise ProxyHeaderError("the PROXY header has a family or protocol that is not known")
    size = {0x11: 12, 0x21: 36, 0x31: 216}.get(family)
    if size is None:
        return ProxyHeader(2)  # there is no telling where its TLVs begin
    if len(block) < size:
        raise ProxyHeaderError("the PROXY header is too short for its addresses")
    if family == 0x31:
        return ProxyHeader(2, UNIX, UNIX, _over_tls(block, size))
    half = 4 if family == 0x11 else 16
    source_port, destination_port = struct.unpack_from(">HH", block, 2 * half)
    source = str(ipaddress.ip_address(block[:half]))
    destination = str(ipaddress.ip_address(block[half : 2 * half]))
    peers = Peer.from_sockname((source, source_port)), Peer.from_sockname((destination, destination_port))
    return ProxyHeader(2, *peers, _over_tls(block, size))


def _over_tls(block: bytes, start: int) -> bool | None:
    """The answer of the first TLV of the type PP2_TYPE_SSL from `start` on. None: there is none, or the TLVs before it are malformed."""
    while start + 3 <= len(block):
        kind, length = block[start], int.from_bytes(block[start + 1 : start + 3], "big")
        value = block[start + 3 : start + 3 + length]
        if kind == SSL_TLV and len(value) == length and length >= 5:
            return bool(value[0] & CLIENT_OVER_SSL)
        start += 3 + length
    return None
