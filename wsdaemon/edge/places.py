"""Places for connections: how many a listener, a mount, an address and a user may have, taken together and given back together."""

from __future__ import annotations

from collections.abc import Callable

from ..core.identity import Identity
from ..core.limits import Key, Tally
from ..core.registry import Count, Place
from .auth.expiry import Expiry
from .candidate import Candidate, Entrance
from .limits import CONNECTIONS, USER_CONNECTIONS, too_many
from .shared import full
from .shared_limits import SharedLimits, SharedPlace


class Places:
    """The places of one listener, and with them those of its mounts."""

    __slots__ = ("_addresses", "_counts", "_counts_of_mounts", "_retry_after", "shared", "users")

    def __init__(
        self, counts: tuple[Count, ...], addresses: Tally | None = None, users: Tally | None = None, retry_after: float = 5.0,
        shared: SharedLimits | None = None,
    ) -> None:  # fmt: skip
        """`counts`: the listener's and the daemon's. `addresses` and `users` count the connections of each on this listener.

        `retry_after`: seconds that a refused client is told to wait. `shared`: the limits over all workers; None without workers.
        """
        self._counts = counts
        self._counts_of_mounts: dict[Count, tuple[Count, ...]] = {}
        self._addresses = addresses
        self.users = users
        self._retry_after = retry_after
        self.shared = shared

    def check(self, entrance: Entrance) -> None:
        """BadRequest, 503, where the mount, the listener or the daemon is full."""
        for count in self._counts_with(entrance.count):
            if 0 < count.most <= count.now:  # as count.full, without a call
                raise full(self._retry_after)

    def _counts_with(self, mount: Count) -> tuple[Count, ...]:
        """A mount's count and the others: one object for all connections of the mount."""
        counts = self._counts_of_mounts.get(mount)
        if counts is None:
            counts = self._counts_of_mounts[mount] = (mount, *self._counts)
        return counts

    def take(self, candidate: Candidate, entrance: Entrance, identity: Identity | None) -> Place:
        """A place in all counts at once. BadRequest, 503 or 429, where one of them is full: then no place is taken.

        With limits over all workers the place is asked for there too, and `candidate.request` is the question.
        """
        self.check(entrance)
        place = self._place(candidate.address, entrance, identity)
        if self.shared is not None:
            candidate.request = self.shared.ask(candidate, entrance, identity)
            place = SharedPlace(place, candidate.request)
        return place if identity is None or identity.expires is None else Stay(place)

    def _place(self, address: Key | None, entrance: Entrance, identity: Identity | None) -> Place:
        user = identity.name if identity is not None else None
        tallies = self._tallies(address, CONNECTIONS, self._addresses, entrance.addresses)
        if user:
            tallies += self._tallies(user, USER_CONNECTIONS, self.users, entrance.users)
        counts = self._counts_with(entrance.count)
        return KeyedPlace(counts, tallies) if tallies else Place(counts)

    def take_over(self, address: Key | None, entrance: Entrance, identity: Identity | None) -> Place:
        """As `take`, for a connection of another process, which has its place over all workers already.

        BadRequest, 503 or 429, where a limit of this process is reached.
        """
        self.check(entrance)
        place = self._place(address, entrance, identity)
        place.moved_here()
        if self.shared is not None:
            place = SharedPlace(place, self.shared.move(address, entrance, identity))
        return place if identity is None or identity.expires is None else Stay(place)

    def _tallies(self, key: Key | None, reason: str, *limits: Tally | None) -> tuple[tuple[Tally, Key], ...]:
        found: tuple[tuple[Tally, Key], ...] = ()
        if key is not None:
            for tally in limits:
                if tally is not None and tally.most:
                    if tally.full(key):
                        raise too_many(reason, self._retry_after)
                    found += ((tally, key),)
        return found


class KeyedPlace(Place):
    """A place in several counts, and under a key in several tallies; given back together, exactly once."""

    __slots__ = ("_tallies",)

    def __init__(self, counts: tuple[Count, ...], tallies: tuple[tuple[Tally, Key], ...]) -> None:
        super().__init__(counts)
        self._tallies = tallies
        for tally, key in tallies:
            tally.enter(key)

    def leave(self) -> None:
        super().leave()
        tallies, self._tallies = self._tallies, ()
        for tally, key in tallies:
            tally.leave(key)


class Stay(Place):
    """The place of a client whose token ends, and the wait for that end."""

    __slots__ = ("_expiry", "_place")

    def __init__(self, place: Place) -> None:
        super().__init__(())
        self._place: Place | None = place
        self._expiry: Expiry | None = None

    def until(self, make_expiry: Callable[[], Expiry]) -> None:
        """Begin to wait, unless the connection is over already."""
        if self._place is not None:
            self._expiry = make_expiry()

    @property
    def warned(self) -> bool:  # type: ignore[override]
        return self._expiry is not None and self._expiry.warned

    def wait_no_longer(self) -> None:
        expiry, self._expiry = self._expiry, None
        if expiry is not None:
            expiry.cancel()

    def leave(self) -> None:
        expiry, place = self._expiry, self._place
        self._expiry = self._place = None
        if expiry is not None:
            expiry.cancel()
        if place is not None:
            place.leave()
