"""The PROXY header that tells a server the client's address (the PROXY protocol of HAProxy, versions 1 and 2)."""

from __future__ import annotations

import ipaddress
import struct

from .handshake import Handshake, Peer

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

TCP4, TCP6 = 0x11, 0x21
"""Address family and transport, in version 2."""


def proxy_header(version: int, handshake: Handshake) -> bytes:
    """The header for a client. Without IP addresses, as on a unix socket, it says that the client is not known."""
    addresses = _addresses(handshake)
    if version == 1:
        if addresses is None:
            return b"PROXY UNKNOWN\r\n"
        source, target, ports = addresses
        return f"PROXY TCP{source.version} {source} {target} {ports[0]} {ports[1]}\r\n".encode()
    if addresses is None:
        return SIGNATURE + b"\x20\0\0\0"  # LOCAL
    source, target, ports = addresses
    body = source.packed + target.packed + struct.pack("!HH", *ports)
    return SIGNATURE + struct.pack("!BBH", 0x21, TCP4 if source.version == 4 else TCP6, len(body)) + body


def _addresses(
    handshake: Handshake,
) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ipaddress.IPv4Address | ipaddress.IPv6Address, tuple[int, int]] | None:
    """The client's and the daemon's address, of one family, and their ports."""
    local = handshake.local
    try:
        source = ipaddress.ip_address(handshake.peer.host)
        target = ipaddress.ip_address(local.host if isinstance(local, Peer) else "")
    except ValueError:
        return None
    assert isinstance(local, Peer)
    if source.version != target.version:
        source, target = (_as_ipv6(each) for each in (source, target))
    return source, target, (handshake.peer.port, local.port)


def _as_ipv6(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv6Address:
    return address if isinstance(address, ipaddress.IPv6Address) else ipaddress.IPv6Address(f"::ffff:{address}")
