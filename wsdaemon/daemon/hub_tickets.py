"""Tickets of all workers, as one worker keeps them in the hub: edge.auth.shared_tickets.TicketShelf."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from ..hub.client import HubAway, HubRefused
from ..hub.tickets import TICKET_PUT, TICKET_TAKE, pack_put, pack_take, read_kept, read_taken
from .hub_places import AskedHub

TIMEOUT_SECONDS = 2.0
"""How long the hub may take to answer."""

T = TypeVar("T")


class HubTickets:
    """As TicketShelf: both methods raise OSError if the hub does not answer in time. Tickets end with the hub that keeps them."""

    def __init__(self, link: AskedHub) -> None:
        self._link = link

    async def put(self, section: str, place: str, content: bytes, seconds: float, most: int) -> bool:
        return await self._answer(self._link.ask(TICKET_PUT, pack_put(section, place, content, seconds, most), read_kept))

    async def take(self, section: str, place: str) -> bytes | None:
        return await self._answer(self._link.ask(TICKET_TAKE, pack_take(section, place), read_taken))

    async def _answer(self, question: asyncio.Future[T]) -> T:
        try:
            return await asyncio.wait_for(question, TIMEOUT_SECONDS)
        except (HubAway, HubRefused, TimeoutError) as error:
            raise ConnectionError(f"the hub does not answer for tickets: {error}") from error
