"""The limits of a listener and its mounts over all workers: one question for each client, once its address and user are known.

The listener's own counts are checked first, and the client has its place in them while the question is under way. So a worker never asks
for more places than it could give by itself.
"""

from __future__ import annotations

from ..core.identity import Identity
from ..core.limits import Key, Rate, Tally
from ..core.registry import Count, Place
from .candidate import Candidate, Entrance
from .limits import CONNECTIONS, USER_CONNECTIONS
from .shared import FULL, SharedLimit, SharedPlaces, SharedRate, SharedRequest

ALL = b"all"
"""The name of all connections of the daemon."""


class SharedPlace(Place):
    """A place in the counts of this process, and one over all workers; given back together, exactly once."""

    __slots__ = ("_place", "_request")

    def __init__(self, place: Place, request: SharedRequest) -> None:
        super().__init__(())
        self._place: Place | None = place
        self._request = request

    def leave(self) -> None:
        place, self._place = self._place, None
        if place is not None:
            place.leave()
            self._request.leave()


class SharedLimits:
    """The limits of one listener and its mounts, as questions to `places`."""

    __slots__ = ("_addresses", "_count", "_in_all", "_listener", "_places", "_rate", "_retry_after", "_users")

    def __init__(
        self, places: SharedPlaces, listener: str, *, count: Count, in_all: Count, addresses: Tally | None = None,
        users: Tally | None = None, rate: Rate | None = None, retry_after: float = 5.0,
    ) -> None:  # fmt: skip
        """The limits are those of the listener's own counts: of `count` (the listener's), `in_all` (the daemon's) and the others."""
        self._places = places
        self._listener = listener.encode()
        self._count = count
        self._in_all = in_all
        self._addresses = addresses
        self._users = users
        self._rate = rate
        self._retry_after = retry_after

    def ask(self, candidate: Candidate, entrance: Entrance, identity: Identity | None) -> SharedRequest:
        """Ask for the place of a candidate that is admitted in every other way."""
        limits, rates = self._limits(candidate.address, entrance, identity)
        return self._places.ask(limits, rates, self._retry_after)

    def move(self, address: Key | None, entrance: Entrance, identity: Identity | None) -> SharedRequest:
        """The place of a connection that another worker had."""
        return self._places.move(self._limits(address, entrance, identity)[0])

    def _limits(
        self, address: Key | None, entrance: Entrance, identity: Identity | None
    ) -> tuple[list[SharedLimit], list[SharedRate]]:  # fmt: skip
        mount, listener = entrance.mount.encode(), self._listener
        limits = [
            SharedLimit(name, count.most, FULL)
            for name, count in ((ALL, self._in_all), (b"listener:" + listener, self._count), (b"mount:" + mount, entrance.count))
            if count.most
        ]
        rates: list[SharedRate] = []
        if address is not None:
            key = _bytes(address)
            _add(limits, b"address on listener:" + listener, key, self._addresses, CONNECTIONS)
            _add(limits, b"address on mount:" + mount, key, entrance.addresses, CONNECTIONS)
            for scope, rate in ((b"listener:" + listener, self._rate), (b"mount:" + mount, entrance.rate)):
                if rate is not None:
                    rates.append(SharedRate(scope, key, rate.per_second, rate.burst))
        if identity is not None and identity.name:
            user = identity.name.encode("utf-8", "surrogatepass")
            _add(limits, b"user on listener:" + listener, user, self._users, USER_CONNECTIONS)
            _add(limits, b"user on mount:" + mount, user, entrance.users, USER_CONNECTIONS)
        return limits, rates


def _add(limits: list[SharedLimit], scope: bytes, key: bytes, tally: Tally | None, reason: str) -> None:
    if tally is not None and tally.most:
        limits.append(SharedLimit(b"%s\0%s" % (scope, key), tally.most, reason))


def _bytes(key: Key) -> bytes:
    """The key of an address. No text can be one of bytes, which begin with a byte of their own."""
    return b"\xff" + key if isinstance(key, bytes) else key.encode("utf-8", "surrogatepass")
