"""A frame that passed between a client and the daemon, as its watchers see it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

NAMES = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
"""The kinds of frames by opcode (RFC 6455 section 5.2)."""


MOVED = "an upgrade moves the connection to another process"
"""The reason for a watcher of a connection that goes on elsewhere."""


class Inflated(NamedTuple):
    """The beginning of a compressed frame's payload, inflated."""

    beginning: bytes
    cut: bool
    """Whether more follows."""


class SeenFrame(NamedTuple):
    """A frame, with the beginning of its payload, unmasked."""

    opcode: int
    size: int
    """Bytes of payload."""
    beginning: bytes
    compressed: bool = False
    """Whether its message is compressed (RFC 7692)."""
    final: bool = True
    inflated: Inflated | None = None
    """If it is compressed: its payload, if that is known."""

    @property
    def kind(self) -> str:
        """The name of its opcode."""
        return NAMES.get(self.opcode, f"opcode {self.opcode}")


class FrameWatcher(Protocol):
    """Watches one connection. Its methods raise nothing."""

    @property
    def keep(self) -> int:
        """The beginning of each payload that it wants to see, in bytes. It does not change."""

    def seen(self, incoming: bool, frame: SeenFrame, /) -> None:
        """A whole frame has passed. `incoming`: from the client. Its beginning may be longer than `keep`."""

    def over(self, reason: str, /) -> None:
        """No more frames follow, because the connection is over or leaves this process."""
