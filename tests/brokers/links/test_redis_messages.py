from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.brokers.contract import Change, Position, Presence
from wsdaemon.brokers.links.contract import Publication
from wsdaemon.brokers.links.redis_messages import (
    describe,
    last_message,
    live_changes,
    live_message,
    log_messages,
    members_in_order,
    pack,
    unpack,
)

TEXTS = st.none() | st.text(max_size=20)


@given(st.binary(max_size=50), st.booleans(), TEXTS, TEXTS, st.booleans())
def test_a_message_arrives_as_it_was_published(
    payload: bytes, text: bool, publisher: str | None, content_type: str | None, echo: bool
) -> None:
    packed = pack(Publication(1, "room", payload, text, publisher, None, content_type, echo))
    for message in (
        unpack("room", "e1", 7, 1500, packed),
        live_message("room", b"e1 7 1500 " + packed),
        last_message("room", "e1", b"7 1500 " + packed),
        *log_messages("room", "e1", [(b"7-0", [b"m", b"1500 " + packed])]),
    ):
        assert message is not None
        assert (message.room, message.epoch, message.offset, message.time) == ("room", "e1", 7, 1.5)
        assert (message.payload, message.text, message.publisher, message.content_type) == (payload, text, publisher, content_type)
        assert message.echo is echo


def test_a_message_that_is_cut_short_is_refused() -> None:
    with pytest.raises(ValueError, match="short"):
        unpack("room", "e", 1, 1, b"\0\0")


def test_a_room_without_a_latest_message() -> None:
    assert last_message("room", "e", b"") is None


def test_changes_and_members() -> None:
    ada, bob = Presence("1", {"user": "ada é"}), Presence("2", {})
    changes = b'e1 12 [["joined",' + describe(ada).encode() + b'],["left",' + describe(bob).encode() + b"]]"
    assert live_changes(changes) == (Position("e1", 12), [Change("joined", ada), Change("left", bob)])
    values = [b"node 10 " + describe(ada).encode(), b"node 9 " + describe(bob).encode()]
    assert members_in_order(values) == (bob, ada)
    assert json.loads(describe(ada)) == ["1", {"user": "ada é"}]
