"""Tickets: the site's server, which knows its user, asks for one, and the user's page opens a connection with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from .contract import Answer, Problem, Request, as_json
from .publishing import bad, read_json
from .routes import Content, Parameter, Route

_BODY: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "identity": {"type": "string", "minLength": 1, "maxLength": 255, "description": "Who the client is."},
        "claims": {"type": "object", "description": "What the app is told of it."},
        "path": {"type": "string", "pattern": "^/", "description": "The one path that the ticket opens, decoded. Left out: any."},
        "expires": {"type": "number", "minimum": 0, "description": "When the connection ends, in seconds since 1970."},
    },
    "required": ["identity"],
    "additionalProperties": False,
}
_TICKET: Mapping[str, Any] = {
    "type": "object",
    "properties": {"ticket": {"type": "string"}, "lifetime": {"type": "number", "description": "Seconds for which it can be used, once."}},
    "required": ["ticket", "lifetime"],
}

_EXPECTED = {
    "identity": (str, "text"),
    "claims": (dict, "an object"),
    "path": (str, "a path"),
    "expires": ((int, float), "seconds since 1970"),
}


class Book(Protocol):
    """The tickets of one [auth:NAME] section of the kind ticket."""

    lifetime: float
    """Seconds."""

    def issue(self, identity: str, claims: Mapping[str, object], path: str | None, expires: float | None) -> str | None:
        """A new ticket; None while there are too many. ValueError for an identity that cannot be one."""


class TicketPages:
    """Tickets out of `books`, by the name of their sections."""

    def __init__(self, books: Mapping[str, Book]) -> None:
        self._books = books

    def routes(self) -> list[Route]:
        """None where there are no such sections."""
        if not self._books:
            return []
        return [
            Route(
                method="POST", path="/api/tickets/{name}", name="issue_ticket", about="A ticket that opens one connection.", page=self.issue,
                parameters=(Parameter("name", "path", "The NAME of a section [auth:NAME] with kind = ticket."),), problems=(404,),
                body=Content("Whom it is for.", schema=_BODY), answers={200: Content("The ticket.", schema=_TICKET)},
            )
        ]  # fmt: skip

    def issue(self, request: Request) -> Answer:
        book = self._books.get(request.values["name"])
        if book is None:
            raise Problem(404, "no_tickets", f"No such section with kind = ticket; there are {', '.join(self._books)}.")
        given = _read(request.body)
        try:
            ticket = book.issue(given["identity"], given.get("claims") or {}, given.get("path"), given.get("expires"))
        except ValueError as error:
            raise bad(f"identity: {error}.") from None
        if ticket is None:
            raise Problem(503, "tickets_full", "There are as many unused tickets as there may be.", (("Retry-After", "1"),))
        return as_json({"ticket": ticket, "lifetime": book.lifetime})


def _read(body: bytes) -> dict[str, Any]:
    given = read_json(body)
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
            right = right and 0 <= value < 1e15
        if not right:
            raise bad(f"{name}: expected {form}.")
    return given
