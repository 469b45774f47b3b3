"""How many passwords may be checked: wrong ones per minute for one user of one address and for one address, and at once for one address.

A guesser gets nowhere at these rates, and one address gets only a part of the hashing. Many people may share an address (behind a NAT), so
the wrong passwords of one of them do not delay the others: only the higher bound of the whole address does.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable

from ...core.limits import Key, Rate, Tally
from .contract import Denied

FAILURES = "auth_failures"
BUSY = "auth_address_busy"


class Guesses:
    """Counts the checks that are under way and the wrong passwords.

    A check that is under way counts as a wrong password until it ends, so guesses side by side are no more than guesses in a row. Both are
    bounded: a key has an entry only while a check is under way, and the failures are in tables of fixed size.
    """

    __slots__ = ("_addresses", "_pairs", "_running", "_running_pairs")

    def __init__(
        self, per_minute: int, at_once: int, clock: Callable[[], float] = time.monotonic, address_per_minute: int = 0
    ) -> None:  # fmt: skip
        """`per_minute`: wrong passwords for one user from one address; `address_per_minute`: from one address for all users; 0: no limit.

        `at_once`: checks of one address that may be under way.
        """
        self._pairs = _Failures(per_minute, clock)
        self._addresses = _Failures(address_per_minute, clock)
        self._running = Tally(at_once)
        self._running_pairs = Tally()

    def check(self, address: Key, user: str) -> None:
        """Denied (429, RFC 6585 4) if the address may not have another password of this user checked now."""
        pair = _pair(address, user)
        for_pair = self._pairs.left(pair, "Too many wrong passwords for this user from this address.")
        for_address = self._addresses.left(address, "Too many wrong passwords from this address.")
        under_way = self._running.count(address)
        if under_way >= min(self._running.most, for_address) or self._running_pairs.count(pair) >= for_pair:
            raise _too_many(BUSY, 1, "Too many passwords from this address are being checked at this moment.")

    def begin(self, address: Key, user: str) -> None:
        """A check begins; `end` is due once."""
        self._running.enter(address)
        self._running_pairs.enter(_pair(address, user))

    def end(self, address: Key, user: str, wrong: bool) -> None:
        pair = _pair(address, user)
        self._running.leave(address)
        self._running_pairs.leave(pair)
        if wrong:
            self._pairs.take(pair)
            self._addresses.take(address)


class _Failures:
    """Wrong passwords per minute for each key."""

    __slots__ = ("_rate", "_seconds")

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._rate = Rate(per_minute / 60, per_minute, now=clock) if per_minute else None
        self._seconds = 60 / per_minute if per_minute else 0.0

    def left(self, key: Key, detail: str) -> float:
        """How many more wrong passwords the key may have now, at least one. Denied if it may have none."""
        if self._rate is None:
            return math.inf
        left = self._rate.left(key)
        if left < 1:
            raise _too_many(FAILURES, (1 - left) * self._seconds, detail)
        return int(left)

    def take(self, key: Key) -> None:
        if self._rate is not None:
            self._rate.take(key)


def _pair(address: Key, user: str) -> Key:
    """The key of a user at an address: of fixed length, however long the name is."""
    prefix = address if isinstance(address, bytes) else address.encode()
    return hashlib.blake2b(b"%d:%s%s" % (len(prefix), prefix, user.encode("utf-8", "surrogatepass")), digest_size=16).digest()


def _too_many(reason: str, retry_after: float, detail: str) -> Denied:
    return Denied(reason, 429, (("Retry-After", str(max(1, math.ceil(retry_after)))),), detail)
