"""The kind ticket: a one-time ticket that the daemon's own API made a moment ago.

For browsers, which can send no header: the site's server, which knows its user, asks the API for a ticket, and the page puts it in the URL.
The used ticket that stays in a proxy's log opens nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from .contract import NO_CLAIMS, Candidate, Denied, Identity, Outcome, Unavailable, clean_name
from .sources import malformed

PARAMETER = "ticket"
"""The query parameter that carries a ticket."""

MAX_TICKET_CHARACTERS = 128
"""Characters; ours have 43."""


class TicketsFull(Exception):
    """There are `max_tickets` unused tickets already."""


@dataclass(frozen=True, slots=True)
class _Ticket:
    proof: bytes = field(repr=False)
    identity: Identity
    path: str | None
    until: float


def checked_name(identity: str) -> str:
    """The name of the user that a ticket is for. ValueError if that is empty, has control characters or over 255 characters."""
    name = clean_name(identity)
    if name is None:
        raise ValueError("expected an identity of 1 to 255 characters, without control characters and blanks at its ends")
    return name


class TicketBook:
    """Tickets that were issued and not used yet. Only the hash of a ticket is kept, so neither a memory dump nor a bug can reveal one.

    All live equally long, so the oldest ends first, and ended tickets are dropped from the front.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, lifetime: float = 30.0, most: int = 10_000, name: str = "ticket"
    ) -> None:
        """`lifetime` in seconds of `clock`; `name` is that of the [auth:NAME] section."""
        self._clock = clock
        self._lifetime = lifetime
        self._most = most
        self._method = f"ticket:{name}"
        self._tickets: OrderedDict[bytes, _Ticket] = OrderedDict()

    def __len__(self) -> int:
        self._drop_ended()
        return len(self._tickets)

    def issue(self, identity: str, claims: Mapping[str, object] = NO_CLAIMS, path: str | None = None, expires: float | None = None) -> str:
        """A new ticket for the user `identity`. With `path`, in decoded form, it opens that path alone.

        `expires`, in seconds since 1970, ends the connection that the ticket opens; None: never. ValueError for an identity that is empty,
        has control characters or over 255 characters. TicketsFull.
        """
        name = checked_name(identity)
        self._drop_ended()
        if len(self._tickets) >= self._most:
            raise TicketsFull(f"there are {self._most} unused tickets")
        ticket = secrets.token_urlsafe(32)
        place, proof = hashed(ticket)
        self._tickets[place] = _Ticket(proof, Identity(name, self._method, claims, expires), path, self._clock() + self._lifetime)
        return ticket

    def redeem(self, ticket: str, path: str) -> Identity | None:
        """The identity of a ticket; None if it is unknown, used, too old or for another path. In every case the ticket is used up."""
        self._drop_ended()
        place, proof = hashed(ticket)
        found = self._tickets.pop(place, None)
        if found is None or not hmac.compare_digest(found.proof, proof):
            return None
        return found.identity if found.path is None or found.path == path else None

    def _drop_ended(self) -> None:
        now = self._clock()
        while self._tickets:
            place = next(iter(self._tickets))
            if self._tickets[place].until > now:
                return
            del self._tickets[place]


def hashed(ticket: str) -> tuple[bytes, bytes]:
    """The key and the proof of a ticket: two halves of its SHA-256. The time of a look-up can reveal the first half at most."""
    digest = hashlib.sha256(ticket.encode("utf-8", "surrogatepass")).digest()
    return digest[:16], digest[16:]


class Redeeming(Protocol):
    """A book of tickets, as the authenticator sees it. An awaitable raises OSError if the tickets cannot be reached."""

    def redeem(self, ticket: str, path: str) -> Outcome: ...


class TicketAuthenticator:
    """Recognises a client by a ticket of its book."""

    challenge = 'Ticket realm="wsdaemon"'
    subprotocol_prefixes = ()
    files = ()

    def __init__(self, name: str, book: Redeeming, now: Callable[[], float] = time.time) -> None:
        self.name = name
        self.book = book
        self._now = now

    def authenticate(self, request: Candidate) -> Outcome:
        found = request.query(PARAMETER)
        if not found:
            return None
        if len(found) > 1 or len(found[0]) > MAX_TICKET_CHARACTERS:
            raise malformed("The request does not have one ticket.")
        identity = self.book.redeem(found[0], request.head.path)
        if isinstance(identity, Identity) or identity is None:
            return self._checked(identity)
        return self._redeemed(identity)

    async def _redeemed(self, waiting: Awaitable[Identity | None]) -> Identity:
        try:
            return self._checked(await waiting)
        except OSError:
            raise Unavailable("auth_unavailable", "Tickets cannot be checked now.") from None

    def _checked(self, identity: Identity | None) -> Identity:
        if identity is None or (identity.expires is not None and self._now() >= identity.expires):
            raise Denied("auth_refused", detail="The ticket is unknown here, was used before, or is too old.")
        return identity

    def refresh(self) -> None:
        """No file is read."""

    async def close(self) -> None:
        """Nothing is held."""
