"""core/proxy_header.py: the header that our own listeners read, too."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from wsdaemon.core.handshake import UNIX, Handshake, Peer
from wsdaemon.core.proxy_header import proxy_header


def handshake(peer: Peer, local: Any) -> Handshake:
    return Handshake(target="/", path="/", raw_path=b"/", peer=peer, local=local)


V4 = handshake(Peer("192.0.2.7", 50123), Peer("192.0.2.1", 8080))
V6 = handshake(Peer("2001:db8::7", 50123), Peer("192.0.2.1", 8080))


def test_version_1() -> None:
    assert proxy_header(1, V4) == b"PROXY TCP4 192.0.2.7 192.0.2.1 50123 8080\r\n"
    mapped = str(ipaddress.IPv6Address("::ffff:192.0.2.1")).encode()  # ::ffff:c000:201 before Python 3.13; both forms are valid
    assert proxy_header(1, V6) == b"PROXY TCP6 2001:db8::7 " + mapped + b" 50123 8080\r\n"


def test_version_2() -> None:
    assert proxy_header(2, V4) == b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([192, 0, 2, 7, 192, 0, 2, 1]) + b"\xc3\xcb\x1f\x90"
    assert len(proxy_header(2, V6)) == 16 + 36
    assert proxy_header(2, V6)[13] == 0x21


@pytest.mark.parametrize(("peer", "local"), [(UNIX, "/run/ws.sock"), (Peer("192.0.2.7", 1), "/run/ws.sock"), (UNIX, UNIX)])
def test_a_client_without_an_address(peer: Peer, local: Any) -> None:
    assert proxy_header(1, handshake(peer, local)) == b"PROXY UNKNOWN\r\n"
    assert proxy_header(2, handshake(peer, local)) == b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
