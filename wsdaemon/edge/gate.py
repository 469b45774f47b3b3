"""The part that all arrivals of one listener share: admission, the answers to refused clients, and the wait for the end of tokens."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate
from typing import TYPE_CHECKING

from twisted.logger import Logger
from twisted.python.failure import Failure

from ..core.acceptance import HandshakeRefused
from ..core.handshake import Handshake, Peer
from ..core.identity import Identity
from ..core.rare_lines import LineLog, RareLines
from ..core.refusals import Refusals
from ..core.registry import Place
from ..core.wheel import Wheel
from .admission import Admission
from .auth.expiry import TOKEN_EXPIRED, TOKEN_EXPIRED_REASON, Expiry, SystemClock
from .candidate import Entrance
from .clients import Clients
from .places import Stay
from .request import BadRequest, ReadHead, read_head
from .responses import app_response, error_response
from .site import Site

if TYPE_CHECKING:
    from ..wire.wire import Wire
    from ..wire.writer import Native

Refuse = Callable[[BadRequest, bool], bytes]
"""The whole answer to a request that is refused, the last one on its connection. True: to HEAD."""


def refuse(error: BadRequest, head_only: bool) -> bytes:
    """A refusal as plain text."""
    return error_response(error, head_only=head_only)


class Gate:
    """The way from a listener's accepted transports to its mounts."""

    def __init__(
        self, admission: Admission, wheel: Wheel, *, secure: bool, handshake_timeout: float, site: Site | None = None,
        refuse: Refuse = refuse, now: Callable[[], float] = time.time, log: LineLog | None = None, refusals: Refusals | None = None,
        read_head: ReadHead = read_head,
    ) -> None:  # fmt: skip
        """`secure`: the listener speaks TLS. `handshake_timeout`: seconds from the accept to the end of the opening handshake.

        `site` is asked about requests that are no opening handshakes. `now` gives the seconds since 1970, for tokens that end.
        `refusals`: the count of an earlier gate of the same listener, which goes on. `read_head` reads heads that come in one piece.
        """
        self.admission = admission
        self.wheel = wheel
        self.secure = secure
        self.handshake_timeout = handshake_timeout
        self.site = site
        sizes = [each.max_body for each in admission.routes.targets()]
        self.max_body = max([*sizes, 0 if site is None else site.max_body], default=0)
        """The longest body, in bytes, that a request without an upgrade may have here; 0: there are no such bodies."""
        self._refuse = refuse
        self.read_head = read_head
        self._dated = (0, b"")
        log = log or Logger(namespace="wsdaemon.edge")
        self.refusals = refusals or Refusals(admission.listener, log)
        self._lines = RareLines(log)
        self._clock = SystemClock(wheel, now)
        self._now = now

    def renew(self, other: Gate) -> None:
        """A reload: go by the rules of another gate. They apply to clients that are here already, too."""
        self.admission, self.site, self._refuse = other.admission, other.site, other._refuse
        self.handshake_timeout, self.max_body = other.handshake_timeout, other.max_body

    @property
    def clients(self) -> Clients:
        """The addresses of this listener's clients, and the limits on them."""
        return self.admission.clients

    @property
    def refused(self) -> dict[str, int]:
        """Clients turned away, by reason."""
        return self.refusals.counts

    @property
    def refused_by_mount(self) -> dict[str, dict[str, int]]:
        """The same by the mount that they asked for; under "" the clients that were turned away before that was known."""
        return self.refusals.by_mount

    def refusal(self, error: BadRequest, peer: Peer, mount: str = "", head_only: bool = False) -> bytes:
        """Count and log a refusal; the HTTP answer for it. `head_only`: the answer to HEAD."""
        told = error.status in (429, 503) and error.reason != "draining"
        self.refusals.add(error.reason, peer, f": {error.status} {error.detail}", told, mount)
        return self._refuse(error, head_only)

    def refusal_of_app(self, refused: HandshakeRefused, peer: Peer, mount: str) -> bytes:
        """Count and log a refusal by the app of the mount; the HTTP answer for it."""
        self.refusals.add("app", peer, f": {refused.status}", False, mount)
        return app_response(refused)

    def say_farewell(self, native: Native, paused: bool) -> None:
        """Send no more, and read on, without a look at it, so that the client sees its last answer rather than a reset."""
        if paused:
            native.resume_reading()
        native.write_eof()

    def date(self) -> bytes:
        """The time as the Date header has it (RFC 9110 6.6.1)."""
        now = int(self._now())
        if self._dated[0] != now:
            self._dated = now, formatdate(now, usegmt=True).encode()
        return self._dated[1]

    def broken(self, failure: Failure, peer: Peer) -> None:
        """Log a fault of ours, an authenticator or an app that ended an arrival: once a minute for each type of exception."""
        self._lines.failure(type(failure.value).__name__, "request from {peer}", failure, peer=str(peer))

    def entrance(self, handshake: Handshake) -> Entrance | None:
        """The mount that a connection of another process is on; None if it is not served here."""
        found = self.admission.routes.match(handshake.path)
        return found[0] if found is not None and found[0].mount == handshake.mount else None

    def take_over(self, handshake: Handshake) -> Place | None:
        """A place for a connection of another process; None if a limit of this one is reached."""
        entrance, limits = self.entrance(handshake), self.clients.limits
        assert entrance is not None
        try:
            return self.admission.places.take_over(None if limits is None else limits.key(handshake.peer), entrance, handshake.identity)
        except BadRequest:
            return None

    def opened(self, wire: Wire, entrance: Entrance, identity: Identity | None, place: Place, warned: bool = False) -> None:
        """A connection was opened for the client: wait for the end of its token, where it has one. `warned`: it knows of the end."""
        if identity is None or identity.expires is None or not isinstance(place, Stay):
            return
        expires = identity.expires

        def end() -> None:  # one that is not open yet is closed as soon as it opens
            wire.end_by(self.wheel.time(), TOKEN_EXPIRED, TOKEN_EXPIRED_REASON)

        warning = 0.0 if warned else entrance.expiry_warning
        place.until(lambda: Expiry(self._clock, expires, end, warning=warning, warn=wire.expiring))
