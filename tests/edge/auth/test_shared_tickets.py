from __future__ import annotations

import asyncio
import hashlib

import pytest

from tests.support.auth import NOW, Clock, outcome, request
from wsdaemon.core.identity import Identity
from wsdaemon.edge.auth.contract import Denied
from wsdaemon.edge.auth.shared_tickets import SharedTicketBook
from wsdaemon.edge.auth.ticket import TicketAuthenticator, TicketsFull


class Shelf:
    """A shelf in memory that two books share."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], bytes] = {}
        self.away = False

    async def put(self, section: str, place: str, content: bytes, seconds: float, most: int) -> bool:
        self._look()
        if len(self.kept) >= most:
            return False
        self.kept[section, place] = content
        return True

    async def take(self, section: str, place: str) -> bytes | None:
        self._look()
        return self.kept.pop((section, place), None)

    def _look(self) -> None:
        if self.away:
            raise ConnectionError("away")


def book(shelf: Shelf, most: int = 10) -> SharedTicketBook:
    return SharedTicketBook(shelf, 30.0, most, "pages")


def test_a_ticket_of_one_process_opens_once_at_another() -> None:
    shelf = Shelf()
    way = TicketAuthenticator("pages", book(shelf), Clock())

    async def life() -> None:
        ticket = await book(shelf).issue("ada", {"role": "admin"}, expires=NOW + 60)
        identity = await outcome(way.authenticate(request(target=f"/chat?ticket={ticket}")))
        assert isinstance(identity, Identity)
        assert (identity.name, identity.method, dict(identity.claims)) == ("ada", "ticket:pages", {"role": "admin"})
        assert identity.expires == NOW + 60
        with pytest.raises(Denied, match="auth_refused"):
            await outcome(way.authenticate(request(target=f"/chat?ticket={ticket}")))

    asyncio.run(life())


def test_the_shelf_has_the_hash_and_never_the_ticket() -> None:
    shelf = Shelf()

    async def life() -> None:
        ticket = await book(shelf).issue("ada")
        [((_, place), content)] = shelf.kept.items()
        digest = hashlib.sha256(ticket.encode()).hexdigest()
        assert place == digest[:32]
        assert ticket.encode() not in content
        assert digest[32:].encode() in content

    asyncio.run(life())


def test_a_ticket_opens_its_own_path_and_needs_its_proof() -> None:
    shelf = Shelf()

    async def life() -> None:
        ticket = await book(shelf).issue("ada", path="/a")
        assert await book(shelf).redeem(ticket, "/b") is None
        assert shelf.kept == {}
        ticket = await book(shelf).issue("ada")
        [(key, content)] = shelf.kept.items()
        shelf.kept[key] = content.replace(hashlib.sha256(ticket.encode()).hexdigest()[32:].encode(), b"0" * 32)
        assert await book(shelf).redeem(ticket, "/b") is None

    asyncio.run(life())


def test_refusals() -> None:
    shelf = Shelf()

    async def life() -> None:
        with pytest.raises(ValueError, match="identity"):
            await book(shelf).issue("\n")
        await book(shelf, 1).issue("ada")
        with pytest.raises(TicketsFull):
            await book(shelf, 1).issue("ada")

    asyncio.run(life())


def test_a_shelf_that_does_not_answer_is_no_verdict_on_the_ticket() -> None:
    shelf = Shelf()
    way = TicketAuthenticator("pages", book(shelf), Clock())

    async def life() -> None:
        ticket = await book(shelf).issue("ada")
        shelf.away = True
        with pytest.raises(Denied, match="auth_unavailable") as caught:
            await outcome(way.authenticate(request(target=f"/chat?ticket={ticket}")))
        assert caught.value.status == 503
        with pytest.raises(OSError, match="away"):
            await book(shelf).issue("ada")

    asyncio.run(life())
