"""Places, rates and tickets on their way from a hub to its successor: the part of `succession` that concerns limits over all workers."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any, cast

from .places import HeldPlaces, RateKey
from .protocol import frame
from .room_messages import sheet
from .server import WorkerLink
from .succession import PLACES, RATES, TICKETS, from_bytes, parts, to_bytes
from .tickets import HeldTickets


class GivenCounts:
    """The places and the tickets that are given. `frames` has everything at first, and later the changes since the last time."""

    def __init__(self, places: HeldPlaces, tickets: HeldTickets) -> None:
        self._places = places
        self._tickets = tickets

    def close(self) -> None:
        """Take no notes of changes any more."""
        self._places.changed = self._places.changed_rates = self._tickets.changed = None

    def frames(self) -> Iterator[bytes]:
        places = self._places
        if places.changed is None:
            places.changed = dict.fromkeys((owner, number) for owner in places.owners() for number in places.held_by(owner))
            places.changed_rates = places.spent()
            self._tickets.changed = dict.fromkeys(self._tickets.places())
        held, places.changed = places.changed or {}, {}
        rates, places.changed_rates = places.changed_rates or {}, {}
        tickets, self._tickets.changed = self._tickets.changed or {}, {}
        yield from self._place_frames(held)
        yield from self._rate_frames(rates)
        for part in parts(tickets):
            yield frame(TICKETS, 0, sheet([self._ticket(*each) for each in part]))

    def _place_frames(self, changed: dict[tuple[Hashable, int], None]) -> Iterator[bytes]:
        by_owner: dict[Hashable, list[int]] = {}
        for owner, number in changed:
            by_owner.setdefault(owner, []).append(number)
        for owner, numbers in by_owner.items():
            instance = cast("WorkerLink", owner).instance.hex()
            for part in parts(numbers):
                held = self._places.held_by(owner)
                yield frame(PLACES, 0, sheet([instance, [[each, [from_bytes(name) for name in held.get(each, ())]] for each in part]]))

    def _rate_frames(self, changed: dict[tuple[RateKey, bytes], None]) -> Iterator[bytes]:
        by_rate: dict[RateKey, list[bytes]] = {}
        for rate, key in changed:
            by_rate.setdefault(rate, []).append(key)
        for rate, keys in by_rate.items():
            scope, per_second, burst = rate
            for part in parts(keys):
                values = [[from_bytes(key), self._places.full_at(rate, key)] for key in part]
                yield frame(RATES, 0, sheet([from_bytes(scope), per_second, burst, values]))

    def _ticket(self, section: str, place: str) -> list[Any]:
        found = self._tickets.find(section, place)
        return [section, place] if found is None else [section, place, found[0], from_bytes(found[1])]


class TakenCounts:
    """The places and the tickets of the successor. `former` returns the link that stands for a worker until it has linked itself here."""

    def __init__(self, places: HeldPlaces, tickets: HeldTickets, former: Callable[[bytes], WorkerLink]) -> None:
        self._places = places
        self._tickets = tickets
        self._former = former

    def places(self, value: Any) -> None:
        """As PLACES."""
        instance, places = value
        owner = self._former(bytes.fromhex(instance))
        for number, names in places:
            self._places.restore(owner, number, [to_bytes(name) for name in names])

    def rates(self, value: Any) -> None:
        """As RATES."""
        scope, per_second, burst, keys = value
        for key, full_at in keys:
            self._places.restore_rate((to_bytes(scope), per_second, burst), to_bytes(key), full_at)

    def tickets(self, value: Any) -> None:
        """As TICKETS."""
        for section, place, *found in value:
            self._tickets.restore(section, place, (found[0], to_bytes(found[1])) if found else None)
