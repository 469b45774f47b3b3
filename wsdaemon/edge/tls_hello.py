"""The server name in a ClientHello, read before OpenSSL reads it.

Python decodes the name as ASCII before it calls `sni_callback`; if that fails, Python prints a traceback past every log. So a name that is
not ASCII must not reach OpenSSL (RFC 6066 3: a HostName is ASCII, other scripts come as A-labels).
"""

from __future__ import annotations

import struct

from .tls_records import HANDSHAKE, HEADER

CLIENT_HELLO = 1
"""The type of the handshake message."""

SERVER_NAME = 0
"""The type of the extension."""

MAX_HELLO = 131_396
"""Bytes of the longest ClientHello that OpenSSL takes."""

UNRECOGNIZED_NAME = b"\x15\x03\x03\x00\x02\x02\x70"
"""A record with the fatal alert 112 (RFC 6066 3), which nothing encrypts yet."""


_EXTENSION = struct.Struct(">HH").unpack_from
"""The type of an extension and its size."""


class HelloReader:
    """Collects ClientHello messages from the records of a handshake, however they are cut into records.

    A second one follows a HelloRetryRequest. The first other handshake message, encrypted or not, ends the search: no ClientHello that
    OpenSSL would read comes after that.
    """

    __slots__ = ("_message", "_over")

    def __init__(self) -> None:
        self._message = b""
        self._over = False

    def acceptable(self, record: bytes) -> bool:
        """Take a whole record. False: it ends a ClientHello whose server name is not ASCII."""
        if self._over or record[0] != HANDSHAKE:
            return True
        message = self._message + record[HEADER:]
        if message[:1] != bytes([CLIENT_HELLO]):
            self._over = True
            return True
        if len(message) < 4 or len(message) < min(4 + int.from_bytes(message[1:4], "big"), MAX_HELLO):
            self._message = message
            return True
        self._message = b""
        return server_name(message).isascii()


def server_name(hello: bytes) -> bytes:
    """The content of a ClientHello's server_name extension without the header of its list; empty if there is none.

    OpenSSL judges whether the message is well-formed: of one that is not this is empty, too.
    """
    try:
        at = 38  # type, length, version, random
        at += 1 + hello[at]  # session
        at += 2 + int.from_bytes(hello[at : at + 2], "big")  # cipher suites
        at += 1 + hello[at]  # compression methods
        at += 2  # length of all extensions
        while at + 4 <= len(hello):
            kind, size = _EXTENSION(hello, at)
            at += 4
            if kind == SERVER_NAME:
                return hello[at : at + size][5:]
            at += size
    except IndexError:
        pass
    return b""
