"""apps/rooms/visitor.py: the parts of a handshake that a policy decides by."""

from __future__ import annotations

from tests.support.fakes import PEER
from tests.support.rooms import hall
from wsdaemon import Refused, Visitor
from wsdaemon.apps.rooms import visitor as module


class Seen:
    """A policy that keeps its visitors."""

    def __init__(self) -> None:
        self.visitors: list[Visitor] = []

    def enter(self, visitor: Visitor, room: str) -> bool:
        self.visitors.append(visitor)
        return True


def test_a_visitor_shows_its_connection_and_its_user() -> None:
    hooks = Seen()
    with hall(hooks=hooks) as made:
        ada, other = made.seat(who="ada"), made.seat()
        made.loop.settle()
        first, second = hooks.visitors
        assert (first.id, second.id) == (ada.connection.id, other.connection.id)
        assert first.identity is not None and first.identity.name == "ada" and second.identity is None
        assert first.peer == second.peer == PEER
        assert repr(first) == f"<Visitor {ada.connection.id} {PEER}>"


def test_the_public_names_are_these() -> None:
    assert (Refused, Visitor) == (module.Refused, module.Visitor)
