"""The contract of limits over all workers: the question for a place, asked once the client's true address and user are known.

Without workers nothing here is used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from .limits import PER_SECOND, too_many
from .request import BadRequest, unavailable

FULL = "max_connections"
"""The reason of a refusal because the daemon, a listener or a mount is full."""


class SharedLimit(NamedTuple):
    """All workers together may have `most` connections under this name."""

    name: bytes
    most: int
    reason: str
    """The reason of the refusal, as the listener's own limit has it."""


class SharedRate(NamedTuple):
    """All workers together may admit so many new connections of this key, in this scope."""

    scope: bytes
    key: bytes
    per_second: float
    burst: float
    reason: str = PER_SECOND


class SharedRequest(Protocol):
    """A place over all workers that was asked for."""

    answer: asyncio.Future[BadRequest | None]
    """None: the place is taken. Else the refusal. It may be cancelled, if `leave` is called too."""

    def leave(self) -> None:
        """Give the place back, or cancel the question. Called once, or after a refusal too."""


class SharedPlaces(Protocol):
    """The counts over all workers."""

    def ask(self, limits: Sequence[SharedLimit], rates: Sequence[SharedRate], retry_after: float) -> SharedRequest:
        """Ask for a place under all of these at once. `retry_after`: seconds that a refused client is told to wait."""

    def move(self, limits: Sequence[SharedLimit]) -> SharedRequest:
        """A place of a connection that another worker hands over: it is counted at once, even above a limit, because its client is there.

        The other worker gives its own place back afterwards.
        """


def full(retry_after: float) -> BadRequest:
    """The answer to a client while the daemon, the listener or the mount is full. `retry_after` in seconds."""
    return unavailable(FULL, "the server has as many connections as it may", retry_after)


def refusal(limit: SharedLimit | SharedRate, retry_after: float) -> BadRequest:
    """The answer to a client that this limit refuses: the same as one of the listener's own."""
    if limit.reason == FULL:
        return full(retry_after)
    return too_many(limit.reason, retry_after)
