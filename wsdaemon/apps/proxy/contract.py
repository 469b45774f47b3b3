"""The seam between the proxy and the outer side of its connections, which the daemon gives it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ...core.handshake import Headers
from ...core.wire_halves import ReadingSide, Writer
from ...settings.proxy import ProxyTarget


class Upstream(Protocol):
    """A connection to a target, as the proxy's end of it."""

    @property
    def writer(self) -> Writer: ...

    @property
    def reading(self) -> ReadingSide: ...

    def close(self, code: int | None, reason: str) -> None:
        """Begin the closing handshake; None: without a code."""

    def abort(self) -> None:
        """Drop the connection."""


class UpstreamSession(Protocol):
    """The owner of a connection to a target."""

    def opened(self, upstream: Upstream) -> None:
        """The connection is open. Called before the first message, and before `open` of Answered returns."""

    def received_payload(self, payload: bytes, text: bool) -> Awaitable[object] | None:
        """A message. If the result is an awaitable, no more is read until it is done."""

    def closed(self, code: int, reason: str) -> None:
        """The connection is over; called once, and last. 1005: without a code, 1006: without a Close frame."""


class TargetRefused(Exception):
    """The target answered with another status than 101."""

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.body = body


class TargetFailed(Exception):
    """The target could not be reached, or its answer is none. `late`: it has not answered in time. The text is for the log."""

    def __init__(self, text: str, late: bool = False) -> None:
        super().__init__(text)
        self.late = late


@dataclass(frozen=True, slots=True)
class Answered:
    """A target's 101. Messages that follow it wait until `open` is called."""

    subprotocol: str | None
    headers: Headers
    open: Callable[[UpstreamSession], Upstream] = field(repr=False)
    """Begins the connection. RuntimeError if the target has ended it meanwhile."""
    abandon: Callable[[], None] = field(repr=False)


class Connect(Protocol):
    """Opens connections to targets."""

    async def __call__(
        self, target: ProxyTarget, resource: str, headers: Sequence[tuple[str, str]], subprotocols: Sequence[str], /
    ) -> Answered:
        """The target's 101. TargetRefused, TargetFailed."""
