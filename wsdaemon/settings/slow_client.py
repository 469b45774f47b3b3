"""The policies of a mount for a client that reads more slowly than it is sent."""

from __future__ import annotations

import enum


class SlowClient(enum.StrEnum):
    """The values of the mount key `slow_client`."""

    CLOSE = "close"
    """The client is closed when its backlog is full."""
    DROP_OLDEST = "drop_oldest"
    """The messages that have waited longest are dropped."""
    LATEST = "latest"
    """Of each key (of each room) only the newest message is kept."""
    WAIT = "wait"
    """The sender waits for the client, which is closed when its backlog is too old."""

    @property
    def drops(self) -> bool:
        """Whether messages are dropped rather than the client closed."""
        return self is SlowClient.DROP_OLDEST or self is SlowClient.LATEST

    @property
    def waits(self) -> bool:
        """Whether senders wait for the client."""
        return self is SlowClient.WAIT

    @property
    def keeps_latest(self) -> bool:
        """Whether a new message takes the place of an older one with the same key."""
        return self is SlowClient.LATEST
