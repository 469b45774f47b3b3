"""The values of a client's rooms, read from events."""

from __future__ import annotations

from typing import Any

import pytest

from wsdaemon.client.rooms.values import BadEvent, RoomMember, Uncertain, members_of, message_of

GOOD: dict[str, Any] = {"room": "a", "epoch": "E", "offset": 3, "time": 1.5, "publisher": None, "data": "x"}


def test_messages_are_text_or_binary() -> None:
    assert message_of(GOOD).data == "x"
    assert message_of({**GOOD, "data": "AP8=", "encoding": "base64"}).data == b"\x00\xff"


@pytest.mark.parametrize(
    "change", [{"offset": "3"}, {"offset": True}, {"data": 5}, {"data": "*", "encoding": "base64"}, {"time": None}], ids=repr
)
def test_events_without_the_form_of_a_message(change: dict[str, Any]) -> None:
    with pytest.raises(BadEvent):
        message_of({**GOOD, **change})


@pytest.mark.parametrize("field", ["room", "epoch", "offset", "time", "data"])
def test_events_without_a_field(field: str) -> None:
    with pytest.raises(BadEvent):
        message_of({name: value for name, value in GOOD.items() if name != field})


def test_members() -> None:
    assert members_of([{"id": "m1", "identity": {"name": "ada"}}]) == (RoomMember("m1", {"name": "ada"}),)
    broken: list[object] = [5, [5], [{}], None]
    for bad in broken:
        with pytest.raises(BadEvent):
            members_of(bad)


def test_uncertain_has_all_that_is_needed_to_decide() -> None:
    error = Uncertain("lobby", "k", "data", "reason")
    assert (error.room, error.key, error.data) == ("lobby", "k", "data")
    assert "data" not in str(error)
