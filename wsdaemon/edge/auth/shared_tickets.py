"""One-time tickets that every process of a service knows: one process issues a ticket, and a client may use it at any other."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

from .contract import NO_CLAIMS, Identity
from .ticket import TicketsFull, checked_name, hashed


class TicketShelf(Protocol):
    """Keeps tickets outside of this process: in Redis, or in the hub. When they are awaited, both methods
    raise OSError if that does not answer in time."""

    def put(self, section: str, place: str, content: bytes, seconds: float, most: int) -> Awaitable[bool]:
        """Keep a ticket of an [auth:NAME] section for so long; False if it has `most` tickets already. `place` is its name there."""

    def take(self, section: str, place: str) -> Awaitable[bytes | None]:
        """The content of a ticket, which is taken away in the same moment; None if there is none."""


class SharedTicketBook:
    """As `ticket.TicketBook`, over a shelf. The shelf has the hash of a ticket, never the ticket."""

    def __init__(self, shelf: TicketShelf, lifetime: float, most: int, name: str) -> None:
        """`lifetime` in seconds; `name` is that of the [auth:NAME] section."""
        self._shelf = shelf
        self._lifetime = lifetime
        self._most = most
        self._name = name
        self._method = f"ticket:{name}"

    async def issue(
        self, identity: str, claims: Mapping[str, object] = NO_CLAIMS, path: str | None = None, expires: float | None = None
    ) -> str:
        """As `TicketBook.issue`; also OSError, if the shelf does not answer in time."""
        name = checked_name(identity)
        ticket = secrets.token_urlsafe(32)
        place, proof = hashed(ticket)
        content = {"proof": proof.hex(), "identity": name, "claims": dict(claims), "path": path, "expires": expires}
        if not await self._shelf.put(self._name, place.hex(), json.dumps(content).encode(), self._lifetime, self._most):
            raise TicketsFull(f"there are {self._most} unused tickets")
        return ticket

    async def redeem(self, ticket: str, path: str) -> Identity | None:
        """As `TicketBook.redeem`; also OSError, if the shelf does not answer in time."""
        place, proof = hashed(ticket)
        content = await self._shelf.take(self._name, place.hex())
        if content is None:
            return None
        found: dict[str, Any] = json.loads(content)
        if not hmac.compare_digest(found["proof"], proof.hex()) or found["path"] not in (None, path):
            return None
        return Identity(found["identity"], self._method, found["claims"], found["expires"])
