"""How much one address, or one user, may have: connections, opening handshakes, new connections per second.

Everything is bounded. A count has an entry only while it is above zero. Rates are remembered in a table of fixed size, from which they go
by themselves, without a timer.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable

from ..core.absence import no_grace
from ..core.handshake import Peer
from .forwarded import Networks
from .request import BadRequest

Key = str | bytes
"""The key of a count: an IPv4 address as text, the first 8 bytes of an IPv6 address, the name of a user."""

MOST_RATES = 64 * 1024
"""Addresses whose rate is remembered. About 100 bytes each."""

BURST = 3
"""Seconds' worth of new connections that an address may open at once, when it was quiet before."""

PER_SECOND = "address_rate"
HANDSHAKES = "address_handshakes"
CONNECTIONS = "address_connections"
USER_CONNECTIONS = "user_connections"

_DETAILS = {
    PER_SECOND: "Too many new connections from this address.",
    HANDSHAKES: "Too many opening handshakes from this address at once.",
    CONNECTIONS: "Too many connections from this address.",
    USER_CONNECTIONS: "Too many connections of this user.",
}


def too_many(reason: str, retry_after: float) -> BadRequest:
    """The 429 (RFC 6585 4) for one of the reasons above. `retry_after` in seconds."""
    return BadRequest(429, reason, _DETAILS[reason], (("Retry-After", str(max(1, math.ceil(retry_after)))),))


def address_key(host: str) -> Key:
    """The key of an address: IPv4 by itself, IPv6 by its /64, which one customer has whole."""
    if ":" in host:
        try:
            return socket.inet_pton(socket.AF_INET6, host)[:8]
        except OSError:
            return host
    return host


def on_this_machine(host: str) -> bool:
    """Whether an address is loopback's, or a unix socket."""
    return host.startswith("127.") or host in ("::1", "unix")


class Tally:
    """How many of something each key has. `most` for one key; 0: no limit."""

    __slots__ = ("_now", "most")

    def __init__(self, most: int = 0) -> None:
        self.most = most
        self._now: dict[Key, int] = {}

    def __len__(self) -> int:
        """Keys that have any."""
        return len(self._now)

    def count(self, key: Key) -> int:
        return self._now.get(key, 0)

    def full(self, key: Key) -> bool:
        return 0 < self.most <= self._now.get(key, 0)

    def enter(self, key: Key) -> None:
        self._now[key] = self._now.get(key, 0) + 1

    def leave(self, key: Key) -> None:
        left = self._now.get(key, 0) - 1
        if left > 0:
            self._now[key] = left
        else:
            self._now.pop(key, None)


class Rate:
    """New connections per second for each key: a token bucket that holds `burst` and gets `per_second` new ones.

    A bucket is one number: the time at which it is full again. The keys are in two tables, and each key that takes a token is written into
    the young one. When the young table has half of `most`, or when every bucket of the old table must be full again, the old table is
    dropped and the young one takes its place. So a flood of other addresses drops those that were silent the longest.

    After the loop was away for `grace()` seconds, a key may take as many more tokens as it would have got in that time: its connections
    waited in the backlog, and the listener accepts all of them at once.
    """

    __slots__ = ("_grace", "_half", "_now", "_old", "_period", "_slack", "_step", "_turn_at", "_young")

    def __init__(
        self, per_second: float, burst: float, most: int = MOST_RATES, now: Callable[[], float] = time.monotonic,
        grace: Callable[[], float] = no_grace,
    ) -> None:  # fmt: skip
        self._step = 1 / per_second
        self._slack = (burst - 1) * self._step
        self._period = burst * self._step
        self._half = max(1, most // 2)
        self._now = now
        self._grace = grace
        self._young: dict[Key, float] = {}
        self._old: dict[Key, float] = {}
        self._turn_at = 0.0

    def __len__(self) -> int:
        """Entries in memory, at most `most`."""
        return len(self._young) + len(self._old)

    def take(self, key: Key) -> bool:
        """Take a token; False when there is none. A refused connection takes none."""
        now = self._now()
        young = self._young
        if now >= self._turn_at or len(young) >= self._half:
            young = self._turn(now)
        full_at = young.get(key)
        if full_at is None:
            full_at = self._old.get(key, 0.0)
        if full_at < now:
            full_at = max(full_at, now - self._grace())
        elif full_at - now > self._slack:
            return False
        young[key] = full_at + self._step
        return True

    def left(self, key: Key) -> float:
        """The tokens that there are now; one can be taken from 1 on. Without a grace there are `burst` at most."""
        now = self._now()
        full_at = self._young.get(key)
        if full_at is None:
            full_at = self._old.get(key, 0.0)
        return 1 + (self._slack - max(-self._grace(), full_at - now)) / self._step

    def _turn(self, now: float) -> dict[Key, float]:
        # After one period every bucket that was not touched is full, so an entry of the old table says nothing that a missing one does not.
        quiet = now >= self._turn_at + self._period
        self._old = {} if quiet else self._young
        self._young = {}
        self._turn_at = now + self._period
        return self._young


def address_rate(
    per_second: float, now: Callable[[], float] = time.monotonic, grace: Callable[[], float] = no_grace
) -> Rate | None:  # fmt: skip
    """How many connections each address may begin in a second, with a burst after a pause; None for 0: no limit. See Rate for `grace`."""
    return Rate(per_second, BURST * per_second, now=now, grace=grace) if per_second else None


class AddressLimits:
    """The limits of one listener on single addresses.

    They are for the client's true address. Only far ends of sockets are exempt: clients on this machine, which most often are proxies that
    bring all others, and a trusted proxy until it has named the client. An address that a proxy names is always counted, even a loopback
    address: the client may have made the proxy name it.
    """

    __slots__ = ("_exempt", "connections", "handshakes", "rate")

    def __init__(
        self, *, max_connections: int, max_handshakes: int, per_second: float, exempt: Networks | None = None,
        now: Callable[[], float] = time.monotonic, grace: Callable[[], float] = no_grace,
    ) -> None:  # fmt: skip
        """0 each: no limit. `grace`: see Rate. `exempt` are those that tell of others in a header of their request: trusted proxies."""
        self.connections = Tally(max_connections)
        self.handshakes = Tally(max_handshakes)
        self.rate = address_rate(per_second, now, grace)
        self._exempt = exempt if exempt is not None else Networks()

    def key(self, peer: Peer) -> Key | None:
        """The key of the far end of a socket; None if it is not counted."""
        return None if on_this_machine(peer.host) else self.named_key(peer)

    def named_key(self, peer: Peer) -> Key | None:
        """The same for an address that a load balancer named in a PROXY header. A trusted proxy there has yet to name the client."""
        return None if peer in self._exempt else address_key(peer.host)

    def told_key(self, peer: Peer) -> Key:
        """The same for an address that a trusted proxy named. A proxy that hides its clients' addresses is itself counted."""
        return address_key(peer.host)

    def begin(self, key: Key) -> str | None:
        """A new connection: why it is refused, or None, and then `handshakes.leave(key)` is due once."""
        if self.connections.full(key):
            return CONNECTIONS
        if self.handshakes.full(key):
            return HANDSHAKES
        if self.rate is not None and not self.rate.take(key):
            return PER_SECOND
        self.handshakes.enter(key)
        return None
