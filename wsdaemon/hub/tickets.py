"""One-time tickets that all workers know. A worker issues one, and a client may use it at any other, once.

The hub keeps the hash of a ticket and the content that the worker made, never the ticket itself: see edge.auth.shared_tickets. Messages;
frames and `text` are those of `protocol`:

    kind         from    body
    TICKET_PUT   worker  a question: text section, text place, 8 seconds (double), 4 most, the content
      ANSWER     hub     1: whether it is kept; it is not if the section has `most` unused tickets
    TICKET_TAKE  worker  a question: text section, text place
      ANSWER     hub     1: whether there was one, and its content
"""

from __future__ import annotations

import struct
import time
from collections import OrderedDict
from collections.abc import Callable

from .place_messages import PLACES_HELD
from .protocol import Malformed, read_text, text
from .server import HubServer, WorkerLink

TICKET_PUT, TICKET_TAKE = range(PLACES_HELD + 1, PLACES_HELD + 3)

MAX_SECTIONS = 1024
"""Sections with unused tickets."""

_TERMS = struct.Struct("<dI")


class HeldTickets:
    """Unused tickets by section. Those of one section live equally long, so the oldest ends first. `now` gives seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._sections: dict[str, OrderedDict[str, tuple[float, bytes]]] = {}
        self.changed: dict[tuple[str, str], None] | None = None
        """While a new hub is given the tickets: the section and place of each that was put or taken since it was told of it."""

    def __len__(self) -> int:
        for section in list(self._sections):
            self._drop_ended(section)
        return sum(map(len, self._sections.values()))

    def put(self, section: str, place: str, content: bytes, seconds: float, most: int) -> bool:
        """Keep a ticket for so long; False if the section has `most` already."""
        self._drop_ended(section)
        if section not in self._sections and len(self._sections) >= MAX_SECTIONS:
            return False
        tickets = self._sections.setdefault(section, OrderedDict())
        if len(tickets) >= most:
            return False
        tickets[place] = self._now() + seconds, content
        self._note(section, place)
        return True

    def take(self, section: str, place: str) -> bytes | None:
        """The content of a ticket, which is used up; None if there is none, or if it has ended."""
        self._drop_ended(section)
        found = self._sections.get(section, OrderedDict()).pop(place, None)
        if found is not None:
            self._note(section, place)
        if not self._sections.get(section, True):
            del self._sections[section]
        return None if found is None or found[0] <= self._now() else found[1]

    def places(self) -> list[tuple[str, str]]:
        """The section and the place of each ticket."""
        return [(section, place) for section, tickets in self._sections.items() for place in tickets]

    def find(self, section: str, place: str) -> tuple[float, bytes] | None:
        """When a ticket ends, and its content. It is not used up."""
        return self._sections.get(section, OrderedDict()).get(place)

    def restore(self, section: str, place: str, found: tuple[float, bytes] | None) -> None:
        """Keep a ticket that another hub had, whatever the limits say. None: it was used up there."""
        tickets = self._sections.setdefault(section, OrderedDict())
        tickets.pop(place, None)
        if found is not None:
            tickets[place] = found
        elif not tickets:
            del self._sections[section]

    def _note(self, section: str, place: str) -> None:
        if self.changed is not None:
            self.changed[section, place] = None

    def _drop_ended(self, section: str) -> None:
        tickets, now = self._sections.get(section), self._now()
        while tickets and next(iter(tickets.values()))[0] <= now:
            tickets.popitem(last=False)
        if tickets is not None and not tickets:
            del self._sections[section]


def pack_put(section: str, place: str, content: bytes, seconds: float, most: int) -> bytes:
    """The body of TICKET_PUT."""
    return text(section) + text(place) + _TERMS.pack(seconds, most) + content


def pack_take(section: str, place: str) -> bytes:
    """The body of TICKET_TAKE."""
    return text(section) + text(place)


def read_kept(body: bytes) -> bool:
    """The answer to TICKET_PUT."""
    return body == b"\1"


def read_taken(body: bytes) -> bytes | None:
    """The answer to TICKET_TAKE."""
    return body[1:] if body[:1] == b"\1" else None


class TicketServer:
    """The hub's answers about tickets."""

    def __init__(self, server: HubServer, tickets: HeldTickets | None = None) -> None:
        self.tickets = HeldTickets() if tickets is None else tickets
        self._server = server
        server.handle(TICKET_PUT, self._put)
        server.handle(TICKET_TAKE, self._take)

    def _put(self, link: WorkerLink, request: int, body: bytes) -> None:
        section, at = read_text(body, 0)
        place, at = read_text(body, at)
        try:
            seconds, most = _TERMS.unpack_from(body, at)
        except struct.error as error:
            raise Malformed(str(error)) from error
        kept = self.tickets.put(section, place, body[at + _TERMS.size :], seconds, most)
        self._server.answer(link, request, b"\1" if kept else b"\0")

    def _take(self, link: WorkerLink, request: int, body: bytes) -> None:
        section, at = read_text(body, 0)
        place, _ = read_text(body, at)
        content = self.tickets.take(section, place)
        self._server.answer(link, request, b"\0" if content is None else b"\1" + content)
