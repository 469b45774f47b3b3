"""apps/rooms/going_along.py: the state of a session that goes along; tests/daemon/test_handover_rooms.py has the whole way."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from tests.support.rooms import hall
from wsdaemon.apps.rooms import going_along
from wsdaemon.apps.rooms.going_along import SessionState, read_state
from wsdaemon.apps.rooms.subprotocol import JsonSession
from wsdaemon.brokers.contract import MovedSubscription, Position

ROOMS = (MovedSubscription("lobby", Position("e", 3), None), MovedSubscription("hall", Position("f", 0), Position("r", 7)))


def test_a_state_is_read_as_it_was_written() -> None:
    state = SessionState(ROOMS, 2, 3, 4.5, 0.25)
    text = state.encode()
    assert text is not None
    assert read_state(text) == state


def test_a_state_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    text = SessionState(ROOMS).encode()
    assert text is not None
    monkeypatch.setattr(going_along, "MAX_STATE_BYTES", len(text) - 1)
    assert SessionState(ROOMS).encode() is None


def test_a_state_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version 2"):
        read_state(json.dumps([2, []]).encode())


def test_it_is_known_before_a_connection_is_let_go_whether_its_member_can_move_in() -> None:
    """A memory broker lets no member come, as after an upgrade from workers to none; nor is a state of another version taken."""
    state = SessionState(ROOMS).encode()
    assert state is not None
    with hall() as made:
        assert not made.app.can_resume(state)
        moving = cast("Any", made.app.rooms.broker)
        for name in ("is_settled", "take_leave", "take_place", "move_in"):
            setattr(moving, name, str)
        moving.lets_members_move = True
        assert made.app.can_resume(state)
        assert not made.app.can_resume(json.dumps([2, []], separators=(",", ":")).encode())
        moving.lets_members_move = False
        assert not made.app.can_resume(state)


def test_the_rate_of_requests_and_faults_go_on() -> None:
    """A client does not have a whole burst again because it went along."""
    with hall(policy={"requests_per_second": 1.0}) as made:
        seat = made.json()
        session = seat.session
        assert isinstance(session, JsonSession)
        session.go_on(SessionState((), 20, 1, 1.0, 0.5).encode() or b"")
        assert seat.ask("ping")["type"] == "pong"
        seat.begin('{"type": "ping"}')
        assert seat.events[-1]["code"] == "rate_limited"
        assert seat.events[-1]["retry_after"] == 0.5
        made.advance(1.0)
        seat.send("no request")
        assert seat.closed is None, "the ping was none of 20 faults in a row"


def test_a_rate_that_is_new_begins_with_its_burst() -> None:
    with hall(policy={"requests_per_second": 1.0}) as made:
        seat = made.json()
        session = seat.session
        assert isinstance(session, JsonSession)
        session.go_on(SessionState(()).encode() or b"")
        assert [seat.ask("ping")["type"] for _ in range(2)] == ["pong", "pong"]


def test_without_another_process_a_member_stays() -> None:
    with hall() as made:
        for seat in (made.seat(), made.json()):
            assert seat.session.is_settled()
            assert seat.session.hand_over() is None
            made.loop.settle()
            assert seat.closed is None
