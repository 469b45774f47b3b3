"""ops/admin/tickets.py: tickets for clients."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.admin import TOKEN, ask, problem
from wsdaemon.ops.admin.site import AdminSite
from wsdaemon.ops.admin.tickets import TicketPages


class Book:
    lifetime = 30.0

    def __init__(self) -> None:
        self.issued: list[tuple[str, Mapping[str, object], str | None, float | None]] = []
        self.full = False

    def issue(self, identity: str, claims: Mapping[str, object], path: str | None, expires: float | None) -> str | None:
        if identity != identity.strip():
            raise ValueError("expected an identity without blanks at its ends")
        self.issued.append((identity, claims, path, expires))
        return None if self.full else "the-ticket"


@pytest.fixture
def book() -> Book:
    return Book()


def tickets(book: Book) -> AdminSite:
    return AdminSite(TicketPages({"site": book}).pages(), lambda: TOKEN, "1")


def test_a_ticket(book: Book) -> None:
    answer = ask(tickets(book), "POST /api/tickets/site", body=b'{"identity":"ada"}')
    assert (answer.status, json.loads(answer.body)) == (200, {"ticket": "the-ticket", "lifetime": 30.0})
    wanted = {"identity": "ada", "claims": {"role": "admin"}, "path": "/chat", "expires": 1790000000}
    ask(tickets(book), "POST /api/tickets/site", body=json.dumps(wanted).encode())
    assert book.issued == [("ada", {}, None, None), ("ada", {"role": "admin"}, "/chat", 1790000000)]


def test_no_ticket(book: Book) -> None:
    pages = tickets(book)
    assert problem(ask(pages, "POST /api/tickets/other", body=b'{"identity":"ada"}')) == (404, "no_tickets")
    assert problem(ask(pages, "POST /api/tickets/site", body=b'{"identity":" ada"}')) == (400, "bad_body")
    assert book.issued == []
    book.full = True
    answer = ask(pages, "POST /api/tickets/site", body=b'{"identity":"ada"}')
    assert problem(answer) == (503, "tickets_full") and answer.headers == (("Retry-After", "1"),)
    assert TicketPages({}).pages() == []


@pytest.mark.parametrize(
    "body",
    ["", "x", "[]", "{}", '{"identity":1}', '{"identity":"a","claims":[]}', '{"identity":"a","path":"chat"}',
     '{"identity":"a","expires":true}', '{"identity":"a","expires":-1}', '{"identity":"a","expires":1e400}',
     '{"identity":"a","more":1}', '{"identity":"a","path":null}'],
)  # fmt: skip
def test_bad_bodies_for_tickets(book: Book, body: str) -> None:
    assert problem(ask(tickets(book), "POST /api/tickets/site", body=body.encode()))[0] == 400
    assert book.issued == []


@given(st.binary(max_size=50))
def test_no_body_is_an_error_of_ours(body: bytes) -> None:
    assert ask(tickets(Book()), "POST /api/tickets/site", body=body).status in (200, 400)
