"""Tickets: the site's server, which knows its user, asks for one, and the user's page opens a connection with it."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

from .contract import Answer, PageProblem, PageRequest, as_json
from .publishing import bad, read_body
from .routes import Handler, Route
from .table import ISSUE_TICKET

_EXPECTED: dict[str, tuple[type | tuple[type, ...], str]] = {
    "identity": (str, "text"),
    "claims": (dict, "an object"),
    "path": (str, "a path"),
    "expires": ((int, float), "seconds since 1970"),
}


class Book(Protocol):
    """The tickets of one [auth:NAME] section of the kind ticket."""

    lifetime: float
    """Seconds."""

    def issue(
        self, identity: str, claims: Mapping[str, object], path: str | None, expires: float | None
    ) -> str | Awaitable[str | None] | None:
        """A new ticket; None while there are too many. ValueError for an identity that cannot be one, OSError if tickets cannot be kept."""


class TicketPages:
    """Tickets out of `books`, by the name of their sections."""

    def __init__(self, books: Mapping[str, Book]) -> None:
        self._books = books

    def pages(self) -> list[tuple[Route, Handler]]:
        """None where there are no such sections."""
        return [(ISSUE_TICKET, self.issue)] if self._books else []

    async def issue(self, request: PageRequest) -> Answer:
        book = self._books.get(request.values["name"])
        if book is None:
            raise PageProblem(404, "no_tickets", f"No such section with kind = ticket; there are {', '.join(self._books)}.")
        given = _read(request.body)
        try:
            issued = book.issue(given["identity"], given.get("claims") or {}, given.get("path"), given.get("expires"))
            ticket = issued if issued is None or isinstance(issued, str) else await issued
        except ValueError as error:
            raise bad(f"identity: {error}.") from None
        except OSError:
            raise PageProblem(503, "unavailable", "Tickets cannot be kept now.", (("Retry-After", "1"),)) from None
        if ticket is None:
            raise PageProblem(503, "tickets_full", "There are as many unused tickets as there may be.", (("Retry-After", "1"),))
        return as_json({"ticket": ticket, "lifetime": book.lifetime})


def _read(body: bytes) -> dict[str, Any]:
    given = read_body(body)
    if not isinstance(given, dict) or "identity" not in given:
        raise bad('Expected {"identity": ...}, with claims, path and expires where wanted.')
    for name, value in given.items():
        if name not in _EXPECTED:
            raise bad(f"Unknown field; the fields are {', '.join(_EXPECTED)}.")
        kind, form = _EXPECTED[name]
        right = isinstance(value, kind) and not isinstance(value, bool)
        if name == "path":
            right = right and value.startswith("/")
        if name == "expires":
            right = right and 0 <= value <= 1e12
        if not right:
            raise bad(f"{name}: expected {form}.")
    return given
