"""How much one address, or one user, may have: connections, opening handshakes, new connections per second."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable

from ..core.absence import no_grace
from ..core.handshake import Peer
from ..core.limits import Key, Rate, Tally
from .forwarded import Networks
from .request import BadRequest

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

    def go_on(self, before: AddressLimits) -> None:
        """Go on with the counts of `before`, whose limits they still have, and with its rate if that is the same."""
        self.connections, self.handshakes = before.connections, before.handshakes
        if self.rate is not None and before.rate is not None and self.rate.per_second == before.rate.per_second:
            self.rate = before.rate

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
