"""apps/rooms/app.py: the session, the room's name and the account that a connection is given."""

from __future__ import annotations

import pytest

from tests.support.rooms import hall
from wsdaemon.apps.rooms import SUBPROTOCOL
from wsdaemon.apps.rooms.plain import PlainSession
from wsdaemon.apps.rooms.subprotocol import JsonSession
from wsdaemon.core.handshake import Peer


@pytest.mark.parametrize(("subprotocol", "kind"), [(None, PlainSession), ("chat.v1", PlainSession), (SUBPROTOCOL, JsonSession)])
def test_the_subprotocol_chooses_the_session(subprotocol: str | None, kind: type) -> None:
    with hall() as made:
        assert type(made.seat(subprotocol=subprotocol).session) is kind


def test_users_have_an_account_each_and_other_clients_share_that_of_their_network() -> None:
    with hall() as made:
        near, far = Peer("192.0.2.1", 1), Peer("192.0.2.2", 1)
        seats = [made.json(who=who, peer=peer) for who, peer in ((None, near), (None, near), (None, far), ("ada", near), ("ada", far))]
        accounts = [seat.session.account for seat in seats]
        assert accounts[0] is accounts[1] and accounts[3] is accounts[4]
        assert len(set(accounts)) == 3
        v6 = [made.json(peer=Peer(host, 1)).session.account for host in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")]
        assert v6[0] is v6[1] and v6[1] is not v6[2]


@pytest.mark.parametrize("hooks", [None, type("Hooks", (), {"enter": lambda self, visitor, room: True})()])
def test_a_visitor_and_the_handshake_are_kept_for_hooks_alone(hooks: object) -> None:
    with hall(hooks=hooks) as made:
        session = made.json(who="ada").session
        assert made.app.keeps_handshake is (hooks is not None)
        assert (session.visitor is None) is (hooks is None)
        assert session.identity == {"name": "ada", "method": "jwt:test"}
