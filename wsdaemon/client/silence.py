"""The read timeout of a connection: the server has sent nothing at all for too long."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..wire.client import ClientWire

LOOKS = 4
"""Looks within one read timeout, so that a connection is dropped at most a quarter too late."""


class Silence:
    """Looks at one connection from time to time, on the wheel of its loop."""

    __slots__ = ("_bytes", "_quiet", "_seconds", "_wire", "due_bucket")

    def __init__(self, wire: ClientWire, seconds: float) -> None:
        self._wire = wire
        self._seconds = seconds
        self._bytes = wire.reader.bytes_in
        self._quiet = 0
        self.due_bucket = 0
        self._look_later()

    def _look_later(self) -> None:
        self._wire.policy.wheel.set(self, self._seconds / LOOKS)

    def due(self) -> None:
        """The wheel: it is time to look. While the client itself does not read, the server's silence says nothing."""
        reader = self._wire.reader
        reading = reader.waiting is None and not reader.stops
        self._quiet = self._quiet + 1 if reading and reader.bytes_in == self._bytes else 0
        self._bytes = reader.bytes_in
        if self._quiet >= LOOKS:
            self._wire.protocol.wasNotCleanReason = "nothing came within read_timeout"
            self._wire.abort()
        else:
            self._look_later()

    def stop(self) -> None:
        """The connection is over."""
        self._wire.policy.wheel.clear(self)
