"""Accounts: the share of one address or user in the rooms of a mount, so that none can fill all of them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

OWNERS_SHARE = 8
"""One address or user may have at most an eighth of each: rooms, idempotency keys, patterns, memory."""


def share(total: int) -> int:
    """How much of `total` one address or user may have: an eighth, and at least one."""
    return max(1, -(-total // OWNERS_SHARE))


class Account:
    """The share of one address or user, `owner`, in the rooms of a mount; "" is the program. `most`: the bytes that it may hold."""

    __slots__ = ("__weakref__", "bytes", "idle", "keys", "most", "owner", "patterns", "rooms")

    def __init__(self, most: int, owner: str = "") -> None:
        self.owner = owner
        self.most = most
        self.bytes = 0
        self.rooms = 0
        """The number of rooms that it created."""
        self.patterns = 0
        self.idle: OrderedDict[str, Any] = OrderedDict()
        """Its rooms without members, least recently used first."""
        self.keys: OrderedDict[Any, None] = OrderedDict()
        """Its idempotency keys, oldest first."""
