"""Close codes and reasons (RFC 6455 section 7.4), and the exception for an ended connection."""

from __future__ import annotations

NORMAL = 1000
GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
UNSUPPORTED_DATA = 1003
NO_STATUS = 1005
"""The peer's Close frame had no code. Never sent."""
ABNORMAL = 1006
"""The connection ended without a Close frame. Never sent."""
INVALID_PAYLOAD = 1007
POLICY_VIOLATION = 1008
MESSAGE_TOO_BIG = 1009
INTERNAL_ERROR = 1011
SERVICE_RESTART = 1012
TRY_AGAIN_LATER = 1013

LONGEST_REASON = 123
"""Bytes: a control frame carries 125, two of which are the code (RFC 6455 section 5.5.1)."""


class ConnectionClosed(Exception):
    """The connection is over: raised by send() and receive().

    `code` is the close code (1005: a Close frame without one, 1006: no Close frame at all), `reason` its text, often empty.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"connection closed with {self.code}" + (f" ({self.reason})" if self.reason else "")


def may_be_sent(code: int) -> bool:
    """Whether a server may put `code` in a Close frame (RFC 6455 section 7.4.2 and the IANA registry)."""
    return code in SENDABLE or 3000 <= code <= 4999


SENDABLE = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})


def checked_code(code: int) -> int:
    """`code` if it may be sent, else ValueError with the codes that may."""
    if isinstance(code, bool) or not isinstance(code, int) or not may_be_sent(code):
        raise ValueError(f"close code {code!r}: expected 1000 to 1003, 1007 to 1014 or 3000 to 4999")
    return code


def reason_bytes(reason: str) -> bytes:
    """UTF-8 of `reason`, cut at a character's end to the 123 bytes that fit in a Close frame."""
    encoded = reason.encode("utf-8", "replace")
    if len(encoded) <= LONGEST_REASON:
        return encoded
    return encoded[:LONGEST_REASON].decode("utf-8", "ignore").encode()
