"""Who comes in, once a request was read: its route, the client's true address, its origin, who it is, and a place for it.

Every step either lets the candidate go on or raises BadRequest with the answer. Only the question who a client is may take time. The places
are taken after that, in one go with the making of the connection, so whoever waits holds none.

    draining 503 > limits of the address 429 > another host 421 > no mount 404 > no WebSocket 405, 426, 400 > the mount's rate for the
    address 429 > full 503 > origin 403 > too many that wait for auth 503 > auth 401, 403, 429, 503 > places 503, 429
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from twisted.logger import Logger

from ..core.handshake import ClientCertificate, Handshake, Peer
from ..core.registry import Count, Place
from ..core.routing import Routes
from ..core.wheel import Wheel
from .auth.contract import AuthRequest, Identity
from .auth.expiry import TOKEN_EXPIRED, TOKEN_EXPIRED_REASON, Expiry
from .forwarded import ForwardedHeader, Networks, true_client
from .hosts import Hosts
from .limits import CONNECTIONS, PER_SECOND, USER_CONNECTIONS, AddressLimits, Key, KeyedPlace, Rate, Tally, too_many
from .origins import Origins
from .request import BadRequest, Head, Upgrade, upgrade

if TYPE_CHECKING:
    from ..wire.factory import Wires
    from ..wire.wire import Wire

EVERY = 60.0
"""Seconds between two lines about clients that limits turned away, for each reason."""


class Chain(Protocol):
    """What finds out who a client is: see auth.chain."""

    def authenticate(self, request: AuthRequest) -> Identity | Awaitable[Identity | None] | None: ...

    def offered(self, subprotocols: tuple[str, ...]) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Entrance:
    """A mount as the gate sees it. What is None is not asked."""

    mount: str
    wires: Wires
    count: Count
    subprotocols: tuple[str, ...] = ()
    origins: Origins | None = None
    chain: Chain | None = None
    addresses: Tally | None = None
    """Connections of each address on this mount."""
    users: Tally | None = None
    """Connections of each user on this mount."""
    rate: Rate | None = None
    """New connections of each address on this mount."""
    handshakes: Count | None = None
    """Clients that wait until authentication knows who they are."""
    expiry_warning: float = 0.0
    """Seconds before the end of a client's token at which its session is told; 0: never."""


def counted(answer: Identity | Awaitable[Identity | None] | None, count: Count) -> Identity | Awaitable[Identity | None] | None:
    """The same answer. One that takes time has a place in `count` until it is there, or nobody waits for it any more."""
    if answer is None or isinstance(answer, Identity):
        return answer
    place, future = Place((count,)), asyncio.ensure_future(answer)
    future.add_done_callback(lambda done: place.leave())
    return future


class Candidate:
    """A client whose request was read, and what is known of it so far."""

    __slots__ = ("certificate", "entrance", "head", "key", "local", "params", "peer", "secure", "wanted")

    def __init__(self, head: Head, peer: Peer, local: Peer, secure: bool, key: Key | None) -> None:
        self.head = head
        self.peer = peer
        """Its true address, as far as trusted proxies told."""
        self.local = local
        self.secure = secure
        self.key = key
        """What its address is counted under; None: not at all."""
        self.certificate: ClientCertificate | None = None
        self.entrance: Entrance
        self.params: Mapping[str, str]
        self.wanted: Upgrade

    @property
    def mount(self) -> str:
        """The mount it asks for; empty as long as none was found."""
        entrance: Entrance | None = getattr(self, "entrance", None)
        return "" if entrance is None else entrance.mount


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

    def leave(self) -> None:
        expiry, place = self._expiry, self._place
        self._expiry = self._place = None
        if expiry is not None:
            expiry.cancel()
        if place is not None:
            place.leave()


class Refusals:
    """How many clients one listener turned away, by reason. Of those that met a limit the log tells, once a minute for each reason."""

    __slots__ = ("_listener", "_log", "_now", "_said", "by_mount", "counts")

    def __init__(self, listener: str, now: Callable[[], float] = time.monotonic) -> None:
        self.counts: dict[str, int] = {}
        """By reason."""
        self.by_mount: dict[str, dict[str, int]] = {}
        """The same by the mount that was asked for, and by reason; under "" those of whom that is not known."""
        self._listener = listener
        self._now = now
        self._said: dict[str, tuple[float, int]] = {}
        self._log = Logger(namespace="wsdaemon.edge")

    def add(self, reason: str, peer: Peer, detail: str = "", told: bool = False, mount: str = "") -> None:
        """`told`: the operator should know of it."""
        count = self.counts[reason] = self.counts.get(reason, 0) + 1
        here = self.by_mount.setdefault(mount, {})
        here[reason] = here.get(reason, 0) + 1
        self._log.debug(
            "refused {peer} on {listener}: {reason}{detail}", peer=str(peer), listener=self._listener, reason=reason, detail=detail
        )
        if told:
            self._tell(reason, peer, detail, count)

    def _tell(self, reason: str, peer: Peer, detail: str, count: int) -> None:
        at, before = self._said.get(reason, (0.0, 0))
        now = self._now()
        if not before or now - at >= EVERY:
            self._said[reason] = (now, count)
            self._log.warn(
                "{listener} turns clients away: {reason}{detail}; {count} since this was last said, the latest {peer}",
                listener=self._listener, reason=reason, detail=detail, count=count - before, peer=str(peer),
            )  # fmt: skip


class Admission:
    """What decides for one listener. `limits` None: nobody is counted by address; `trusted` None: no proxy is believed."""

    def __init__(
        self, *, listener: str, secure: bool, routes: Routes[Entrance], counts: tuple[Count, ...], wheel: Wheel, retry_after: float,
        closed: Callable[[], bool] = lambda: False, limits: AddressLimits | None = None, trusted: Networks | None = None,
        show_certificate: Callable[[Any], ClientCertificate | None] | None = None, now: Callable[[], float] = time.time,
        forwarded_header: ForwardedHeader = "x-forwarded-for", users: Tally | None = None, hosts: Hosts | None = None,
    ) -> None:  # fmt: skip
        """`show_certificate` gives what the TLS object of a transport knows of its client; ValueError: that cannot be read.

        `retry_after` in seconds. `forwarded_header` is what the `trusted` write.
        `users` counts the connections of each user on this listener. `now` gives the seconds since 1970, for tokens that end.
        `hosts` is what clients may call the listener; None: whatever they like.
        """
        self.listener = listener
        self.secure = secure
        self.routes = routes
        self.counts = counts
        self.wheel = wheel
        self.retry_after = retry_after
        self.closed = closed
        self.limits = limits
        self.trusted = trusted
        self.forwarded_header = forwarded_header
        self.show_certificate = show_certificate
        self.users = users
        self.hosts = hosts
        self.refusals = Refusals(listener)
        self._now = now

    def receive(self, candidate: Candidate, tls_object: object = None) -> None:
        """Find out where the candidate comes from.

        Where a trusted proxy told another address, that one's limits are checked, and a handshake is entered for the candidate's new `key`.
        """
        if self.closed():
            raise self.unavailable("draining", "the server is shutting down")
        if self.trusted is not None:
            self._find_client(candidate, self.trusted)
        if self.hosts is not None and not self.hosts.serves(candidate.head.headers["host"]):
            raise BadRequest(421, "misdirected", "The Host header names a host that is not served here.")
        if self.show_certificate is not None and tls_object is not None:
            try:
                candidate.certificate = self.show_certificate(tls_object)
            except ValueError:
                raise BadRequest(403, "client_certificate", "The client's certificate cannot be read.") from None

    def _find_client(self, candidate: Candidate, trusted: Networks) -> None:
        client = true_client(candidate.head.headers, candidate.peer, candidate.secure, trusted, self.forwarded_header)
        candidate.peer, candidate.secure = client.peer, client.secure
        limits = self.limits
        if limits is None or not client.told:
            return
        key = limits.told_key(client.peer)
        if (reason := limits.begin(key)) is not None:
            raise too_many(reason, self.retry_after)
        candidate.key = key

    def ask(self, candidate: Candidate) -> Identity | Awaitable[Identity | None] | None:
        """Whether it may come in, and who it is. An awaitable only where that takes time."""
        head = candidate.head
        found = self.routes.match(head.path)
        if found is None:
            raise BadRequest(404, "no_mount", "nothing is mounted at this path")
        entrance, candidate.params = found
        candidate.entrance = entrance
        wanted = candidate.wanted = upgrade(head)
        if entrance.rate is not None and candidate.key is not None and not entrance.rate.take(candidate.key):
            raise too_many(PER_SECOND, self.retry_after)
        self._check_counts(entrance)
        if entrance.origins is not None and not entrance.origins.allows(wanted.origin, head.headers["host"], candidate.secure):
            raise BadRequest(403, "origin", "Pages of this origin may not connect here.")
        if entrance.chain is None:
            return None
        if entrance.handshakes is not None and entrance.handshakes.full:
            raise self.unavailable("max_handshakes", "too many wait here until it is known who they are")
        request = AuthRequest(
            head=head,
            peer=candidate.peer,
            secure=candidate.secure,
            params=candidate.params,
            subprotocols=wanted.subprotocols,
            client_certificate=candidate.certificate,
            address=candidate.key,
        )
        answer = entrance.chain.authenticate(request)
        return answer if entrance.handshakes is None else counted(answer, entrance.handshakes)

    def let_in(self, candidate: Candidate, identity: Identity | None) -> tuple[Handshake, Place]:
        """The handshake for the app, and the places that its connection now has."""
        if self.closed():
            raise self.unavailable("draining", "the server is shutting down")
        entrance = candidate.entrance
        handshake = self._handshake(candidate, entrance, identity)
        place = self._take_place(candidate, entrance, identity)
        return handshake, place if identity is None or identity.expires is None else Stay(place)

    def opened(self, wire: Wire, entrance: Entrance, identity: Identity | None, place: Place) -> None:
        """A connection was opened for the client: wait for the end of its token, where it has one."""
        expires = None if identity is None else identity.expires
        if expires is None or not isinstance(place, Stay):
            return
        until = expires

        def end() -> None:  # one that is not open yet is closed as soon as it opens
            wire.end_by(self.wheel.time(), TOKEN_EXPIRED, TOKEN_EXPIRED_REASON)

        place.until(lambda: Expiry(self.wheel, until, end, warning=entrance.expiry_warning, warn=wire.expiring, now=self._now))

    def _handshake(self, candidate: Candidate, entrance: Entrance, identity: Identity | None) -> Handshake:
        head, headers, offered = candidate.head, candidate.head.headers, candidate.wanted.subprotocols
        if offered and entrance.chain is not None:
            all_offered, offered = offered, entrance.chain.offered(offered)
            if len(offered) < len(all_offered):
                headers = headers.with_members("sec-websocket-protocol", offered)
        return Handshake(
            target=head.target,
            path=head.path,
            raw_path=head.raw_path,
            query_string=head.query_string,
            headers=headers,
            params=candidate.params,
            peer=candidate.peer,
            local=candidate.local,
            secure=candidate.secure,
            client_certificate=candidate.certificate,
            identity=identity,
            http_version=head.version,
            subprotocols=offered,
            subprotocol=next((name for name in entrance.subprotocols if name in offered), None) if offered else None,
            listener=self.listener,
            mount=entrance.mount,
        )

    def _take_place(self, candidate: Candidate, entrance: Entrance, identity: Identity | None) -> Place:
        self._check_counts(entrance)
        connections = self.limits.connections if self.limits is not None else None
        user = identity.name if identity is not None else None
        tallies: tuple[tuple[Tally, Key], ...] = ()
        for key, reason, limits in (
            (candidate.key, CONNECTIONS, (connections, entrance.addresses)),
            (user, USER_CONNECTIONS, (self.users, entrance.users)),
        ):
            for tally in limits:
                if key and tally is not None and tally.most:
                    if tally.full(key):
                        raise too_many(reason, self.retry_after)
                    tallies += ((tally, key),)
        counts = (entrance.count, *self.counts)
        return KeyedPlace(counts, tallies) if tallies else Place(counts)

    def _check_counts(self, entrance: Entrance) -> None:
        if entrance.count.full or any(count.full for count in self.counts):
            raise self.unavailable("max_connections", "the server has as many connections as it may")

    def unavailable(self, reason: str, detail: str) -> BadRequest:
        """The 503 for what is not the client's fault."""
        return BadRequest(503, reason, detail, (("Retry-After", str(max(1, math.ceil(self.retry_after)))),))
