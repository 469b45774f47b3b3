"""Brokers carry messages between connections: `contract` has their interface, `memory` the broker of this process.

This module has the limits of a broker.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

ROOM_NAME = re.compile(r"[^\x00-\x20\x7f*>]+")
"""Any name without white space and control characters of ASCII, and without wildcards."""

HISTORY_COUNT = 10_000
"""The most messages of a history, if only an age is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a broker. Ages are in seconds, sizes in bytes; None is no limit, except for `history`."""

    max_rooms: int = 10_000
    max_members: int = 10_000
    """Of one room."""
    max_subscriptions: int = 1000
    """Rooms of one member."""
    max_patterns: int = 100
    """Of one member."""
    max_name: int = 256
    """Of a room, in bytes of UTF-8."""
    name_pattern: re.Pattern[str] = ROOM_NAME
    """A room's whole name must match this. A name with `*` or `>` is always refused."""
    history: int | None = None
    """Messages kept per room. None with an age keeps HISTORY_COUNT of them; None without an age keeps none."""
    history_age: float | None = None
    history_bytes: int = 1 << 20
    """Payload kept per room."""
    latest: bool = False
    """Keep each room's last message for newcomers, with or without a history, and whatever its age."""
    rate: float | None = None
    """Publications per second in one room."""
    burst: int = 1
    """Publications that one room may have at once after a pause, if there is a rate."""
    max_keys: int = 1000
    """Idempotency keys remembered per room."""
    max_all_keys: int = 100_000
    """Idempotency keys of all rooms together."""
    max_all_patterns: int = 100_000
    """Patterns of all members together."""
    memory: int = 256 << 20
    """Bytes that all rooms together may hold; see `budget`."""
    key_age: float = 120.0
    max_pending: int = 64
    """Publications of one room that may wait for delivery. A room with as many is busy."""
    inline: int = 100
    """A publication to more members than this is delivered in slices."""
    room_idle: float = 60.0
    """How long an empty room is kept at least, so that a client that comes back finds its position."""

    @property
    def history_count(self) -> int:
        """Messages that a room's history holds at most; 0 if it keeps none."""
        if self.history is not None:
            return self.history
        return 0 if self.history_age is None else HISTORY_COUNT

    @property
    def keep(self) -> float:
        """How long a room is kept after its last member left or its last message came; infinite if its history has no age."""
        if self.history_count and self.history_age is None:
            return math.inf
        return max(self.room_idle, self.key_age, self.history_age or 0.0)
