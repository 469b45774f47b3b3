"""The places of all connections over all workers: how many each limit has, and how fast each address may take new ones.

A place is held under several names at once, such as `all`, a mount, and an address on a listener. It carries its owner, the link to a
worker, and a number that the worker chose. So a link's end frees its places, and a worker may give back a place whose client is gone.

No limit is known here: each question says how many connections each name may have. The questions of one owner come in their order, so a
leave that follows its question always finds the place, and a leave of a place that was refused or freed does nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

from ..core.limits import Rate

GRANTED = -1
"""The answer to a question if a place was taken. Else the answer is the index of the limit that refuses: first limits, then rates."""

MAX_SCOPES = 4096
"""Scopes with rates: one for each listener and mount of each generation of settings. Above this, the oldest scope begins anew."""


class NameLimit(NamedTuple):
    """A name may have at most `most` places."""

    name: bytes
    most: int


class KeyRate(NamedTuple):
    """In a scope, such as a listener, each key may take `per_second` places, and `burst` at once after a pause."""

    scope: bytes
    key: bytes
    per_second: float
    burst: float


RateKey = tuple[bytes, float, float]
"""The scope of a rate, per second, and burst."""


class HeldPlaces:
    """All places that workers hold. `now` gives seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._counts: dict[bytes, int] = {}
        self._held: dict[Hashable, dict[int, tuple[bytes, ...]]] = {}
        self._rates: dict[RateKey, Rate] = {}
        self.changed: dict[tuple[Hashable, int], None] | None = None
        """While a new hub is given the places: the owner and number of each that was taken or left since it was told of it."""
        self.changed_rates: dict[tuple[RateKey, bytes], None] | None = None
        """And the rates, with their keys, that gave a token."""

    def __len__(self) -> int:
        """HeldPlaces that are held."""
        return sum(map(len, self._held.values()))

    @property
    def names(self) -> int:
        """Names that have any."""
        return len(self._counts)

    def count(self, name: bytes) -> int:
        return self._counts.get(name, 0)

    def ask(self, owner: Hashable, number: int, limits: Sequence[NameLimit], rates: Sequence[KeyRate] = ()) -> int:
        """Take a place under all names of `limits`, and a token of each rate, or nothing: GRANTED, or the index of what refuses.

        A place with this number that the owner still holds is left first: no worker uses a number twice.
        """
        self.leave(owner, number)
        counts = self._counts
        for index, (name, most) in enumerate(limits):
            if counts.get(name, 0) >= most:
                return index
        buckets = [(self._rate(each), each.key) for each in rates]
        for index, (bucket, key) in enumerate(buckets, len(limits)):
            if bucket.left(key) < 1:
                return index
        for bucket, key in buckets:
            bucket.take(key)
        if self.changed_rates is not None:
            self.changed_rates |= {((each.scope, each.per_second, each.burst), each.key): None for each in rates}
        self._enter(owner, number, [name for name, _ in limits])
        return GRANTED

    def leave(self, owner: Hashable, number: int) -> None:
        """Give a place back. Nothing happens if the owner holds none with this number."""
        names = self._held.get(owner, {}).pop(number, None)
        if names is not None and self.changed is not None:
            self.changed[owner, number] = None
        for name in names or ():
            left = self._counts[name] - 1
            if left:
                self._counts[name] = left
            else:
                del self._counts[name]

    def declare(self, owner: Hashable, places: Iterable[tuple[int, Sequence[bytes]]]) -> None:
        """These places, by number and names, are all that the owner holds.

        They count even above a limit, because their clients are there.
        """
        self.gone(owner)
        for number, names in places:
            self._enter(owner, number, names)

    def move_in(self, owner: Hashable, places: Iterable[tuple[int, Sequence[bytes]]]) -> None:
        """The owner holds these places besides: their connections were another's, which gives its own places back."""
        for number, names in places:
            self.leave(owner, number)
            self._enter(owner, number, names)

    def gone(self, owner: Hashable) -> None:
        """The owner has ended: its places are free."""
        for number in list(self._held.get(owner, ())):
            self.leave(owner, number)
        self._held.pop(owner, None)

    def _enter(self, owner: Hashable, number: int, names: Sequence[bytes]) -> None:
        self._held.setdefault(owner, {})[number] = tuple(names)
        if self.changed is not None:
            self.changed[owner, number] = None
        for name in names:
            self._counts[name] = self._counts.get(name, 0) + 1

    # -- a succession

    def owners(self) -> list[Hashable]:
        """The owners of places."""
        return list(self._held)

    def held_by(self, owner: Hashable) -> dict[int, tuple[bytes, ...]]:
        """The places of an owner: names by number."""
        return self._held.get(owner, {})

    def restore(self, owner: Hashable, number: int, names: Sequence[bytes]) -> None:
        """Count a place that another hub gave, even above a limit. Without names it was left."""
        self.leave(owner, number)
        if names:
            self._enter(owner, number, names)

    def rename(self, owner: Hashable, successor: Hashable) -> None:
        """The places of an owner are those of another, which has none."""
        if owner in self._held:
            self._held[successor] = self._held.pop(owner)

    def spent(self) -> dict[tuple[RateKey, bytes], None]:
        """The keys of each rate that have not all of their tokens."""
        return dict.fromkeys((each, key) for each, rate in self._rates.items() for key in rate.spent() if isinstance(key, bytes))

    def full_at(self, rate: RateKey, key: bytes) -> float:
        return self._rates[rate].full_at(key) if rate in self._rates else 0.0

    def restore_rate(self, rate: RateKey, key: bytes, full_at: float) -> None:
        self._rate(KeyRate(rate[0], key, *rate[1:])).restore(key, full_at)

    def _rate(self, wanted: KeyRate) -> Rate:
        key = wanted.scope, wanted.per_second, wanted.burst
        rate = self._rates.get(key)
        if rate is None:
            if len(self._rates) >= MAX_SCOPES:
                del self._rates[next(iter(self._rates))]
            rate = self._rates[key] = Rate(wanted.per_second, wanted.burst, now=self._now)
        return rate
