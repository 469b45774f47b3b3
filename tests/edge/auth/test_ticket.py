"""edge/auth/ticket.py: one-time tickets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.auth import NOW, Clock, compared, denied, logged, request
from wsdaemon.core.identity import Identity
from wsdaemon.edge.auth.ticket import TicketAuthenticator, TicketBook, TicketsFull


def test_a_ticket_opens_once() -> None:
    book = TicketBook(Clock(), name="pages")
    ticket = book.issue("ada", {"role": "admin"}, expires=NOW + 60)
    way = TicketAuthenticator("pages", book, Clock())
    identity = way.authenticate(request(target=f"/chat?ticket={ticket}"))
    assert isinstance(identity, Identity)
    assert (identity.name, identity.method, dict(identity.claims), identity.expires) == ("ada", "ticket:pages", {"role": "admin"}, NOW + 60)
    error = denied(lambda: way.authenticate(request(target=f"/chat?ticket={ticket}")))
    assert (error.status, error.reason) == (401, "auth_refused")
    assert ticket not in str(error)


def test_no_ticket_is_not_ours() -> None:
    way = TicketAuthenticator("pages", TicketBook(Clock()), Clock())
    assert way.authenticate(request()) is None
    assert way.authenticate(request(target="/chat?ticket=&tickets=x")) is None


@pytest.mark.parametrize("query", ["ticket=a&ticket=b", "ticket=" + "a" * 129])
def test_malformed(query: str) -> None:
    error = denied(lambda: TicketAuthenticator("pages", TicketBook(Clock()), Clock()).authenticate(request(target=f"/chat?{query}")))
    assert error.reason == "auth_malformed"


def test_a_ticket_ends() -> None:
    clock = Clock()
    book = TicketBook(clock, lifetime=30)
    early, late = book.issue("ada"), book.issue("bob")
    clock.now += 29.9
    assert book.redeem(early, "/") is not None
    clock.now += 0.2
    assert book.redeem(late, "/") is None
    assert len(book) == 0


def test_a_ticket_whose_identity_has_ended() -> None:
    book = TicketBook(Clock())
    ticket = book.issue("ada", expires=NOW)
    assert (
        denied(lambda: TicketAuthenticator("t", book, Clock()).authenticate(request(target=f"/?ticket={ticket}"))).reason == "auth_refused"
    )


def test_a_ticket_for_one_path_is_used_up_on_another() -> None:
    book = TicketBook(Clock())
    ticket = book.issue("ada", path="/rooms/1")
    assert book.redeem(ticket, "/rooms/2") is None
    assert book.redeem(ticket, "/rooms/1") is None
    identity = book.redeem(book.issue("ada", path="/rooms/1"), "/rooms/1")
    assert identity is not None and identity.name == "ada"


def test_as_many_as_may_be() -> None:
    clock = Clock()
    book = TicketBook(clock, lifetime=10, most=2)
    book.issue("a")
    clock.now += 5
    book.issue("b")
    with pytest.raises(TicketsFull, match="there are 2 unused tickets"):
        book.issue("c")
    clock.now += 5
    book.issue("c")
    assert len(book) == 2


@pytest.mark.parametrize("name", ["", " a", "a\nb", "x" * 256])
def test_a_bad_identity(name: str) -> None:
    with pytest.raises(ValueError, match="expected an identity"):
        TicketBook(Clock()).issue(name)


def test_only_hashes_are_kept_and_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    comparisons = compared(monkeypatch)
    book = TicketBook(Clock())
    ticket = book.issue("ada")
    kept = repr(vars(book))
    (entry,) = vars(book)["_tickets"].values()
    assert ticket not in kept and str(entry.proof) not in kept
    assert book.redeem(ticket, "/") is not None
    assert len(comparisons) == 1


def test_tickets_differ_and_are_long() -> None:
    book = TicketBook(Clock())
    tickets = {book.issue("ada") for _ in range(100)}
    assert len(tickets) == 100
    assert {len(ticket) for ticket in tickets} == {43}


@given(st.text(max_size=60))
def test_no_other_text_is_a_ticket(text: str) -> None:
    book = TicketBook(Clock())
    book.issue("ada")
    assert book.redeem(text, "/") is None
    assert len(book) == 1


def test_nothing_is_logged() -> None:
    with logged() as lines:
        book = TicketBook(Clock())
        book.redeem(book.issue("ada"), "/")
        book.redeem("nonsense", "/")
    assert lines == []
