"""The names of keys and channels in Redis.

A room's keys are `PREFIX:{PATH:ROOM}:WORD`. The part in braces is the hash tag: a cluster keeps all keys with the same tag in one slot, so
that one script may use them all. The path is written without braces and colons, because a mount's path may hold parameters such as
`{name}`, which would be the tag of every room. A room's name may hold braces: its keys have one tag nevertheless, because the tag ends at
the first `}`, in all of them at the same place, and is never empty.
"""

from __future__ import annotations

from urllib.parse import quote

ROOM_KEYS = ("meta", "log", "sizes", "last", "keys", "keyorder", "members", "nodes")
"""The keys of a room, in the order in which the scripts take them; see `redis_scripts`."""

INDEX_KEYS = ("names", "used", "owner", "owned")
"""The keys of a mount's index of rooms."""


class Names:
    """The names of one mount. `prefix` has no braces."""

    def __init__(self, prefix: str, path: str) -> None:
        self._tag = f"{prefix}:{{{quote(path, safe='/')}"
        self.index = tuple([f"{self._tag}}}:{word}" for word in INDEX_KEYS])
        """Keys of the index."""
        self.everything = f"{self._tag}}}:everything"
        """The channel for all messages of the mount, used in a cluster, where patterns of channels see no sharded messages."""

    def room(self, room: str) -> tuple[str, ...]:
        """The keys of a room, as in ROOM_KEYS."""
        tag = f"{self._tag}:{room}}}:"
        return tuple([tag + word for word in ROOM_KEYS])

    def own(self, room: str, node: str) -> str:
        """The key that remembers the numbers of one process's publications in a room."""
        return f"{self._tag}:{room}}}:own:{node}"

    def channel(self, room: str) -> str:
        """The channel of a room's messages and changes."""
        return f"{self._tag}:{room}}}:live"

    def room_of(self, channel: str) -> str:
        """The room of a channel that `channel` named."""
        return channel[len(self._tag) + 1 : -len("}:live")]

    def channels(self, prefix: str) -> str:
        """The pattern of the channels of all rooms whose names begin with `prefix`, for PSUBSCRIBE."""
        escaped = "".join(f"\\{letter}" if letter in "*?[]\\^" else letter for letter in f"{self._tag}:{prefix}")
        return f"{escaped}*:live"
