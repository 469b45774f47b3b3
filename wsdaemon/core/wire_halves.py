"""The two halves of a wire, as connections and apps of the house see them, and what they count."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, NamedTuple, Protocol


class Prepared(Protocol):
    """A message for many connections: framed once, and compressed once per set of compression parameters."""

    size: int
    """Bytes of payload."""


class Writer(Protocol):
    """The sending half of a wire. An app sends through its Connection; apps of the house also send here, past it."""

    live: bool
    """False as soon as a Close frame went out or came in, or the transport is gone."""
    queued: bool
    """Whether bytes wait that the kernel has not taken yet."""

    def send_payload(self, payload: bytes, text: bool) -> Awaitable[None] | None:
        """Send one message; `payload` is UTF-8 when `text`. If the client is slow, the result is an awaitable, else None.

        Raises ConnectionClosed when the connection is over.
        """

    def send_at_once(self, payload: bytes, text: bool) -> Awaitable[None] | None:
        """As send_payload(), but the message does not wait for others to leave with it."""

    def prepare(self, payload: bytes, text: bool, key: object = None) -> Prepared:
        """A message that can be sent to any number of connections of this mount.

        `key` says what it is about: where only the latest is kept for a slow client, it takes the place of one with the same key.
        """

    def send_prepared(self, prepared: Any) -> None:
        """Send a message that prepare() made. Nothing happens once the connection closes."""

    def unsent(self) -> int:
        """Bytes that the kernel has not taken yet."""

    @property
    def congested(self) -> bool:
        """Whether the client reads more slowly than messages are sent to it."""


class ReadingSide(Protocol):
    """The receiving half of a wire, as apps see it that pass messages on."""

    many: bool
    """Whether the message that is received now is one of several of one read: then those that it leads to may leave together."""


class Counts(NamedTuple):
    """The traffic of a connection. Bytes are those of the transport, compressed and framed."""

    messages_in: int
    messages_out: int
    bytes_in: int
    bytes_out: int
    dropped: int = 0
    """Messages that were dropped because the client is slow."""
