"""The formats of rooms on the link: every value comes back as it was written."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.links import read_frames
from wsdaemon.brokers import Limits
from wsdaemon.brokers.contract import Change, Message, Position, Presence, Published
from wsdaemon.brokers.links.contract import Publication, Roster
from wsdaemon.hub import room_messages
from wsdaemon.hub.protocol import ANSWER, Malformed, frame
from wsdaemon.hub.room_messages import MESSAGE, MESSAGE_FRAME, MESSAGE_HEAD, NO_KEY, PUBLISH_HEAD, PUBLISHED, PUBLISHED_FRAME, Source

EPOCH = "0123456789abcdef"
texts = st.text(max_size=40)


@given(
    st.text(min_size=1, max_size=40), st.binary(max_size=300), st.booleans(), st.booleans(), st.none() | st.text(min_size=1), texts, texts,
    st.none() | texts,
)  # fmt: skip
def test_the_source_and_the_payload_of_a_publication_are_those_of_the_message(
    room: str, payload: bytes, text: bool, echo: bool, publisher: str | None, owner: str, content_type: str, key: str | None
) -> None:
    publication = Publication(7, room, payload, text, publisher, key, content_type or None, echo, owner)
    body = room_messages.publish(3, publication)
    length, key_length, number = PUBLISH_HEAD.unpack_from(body)
    assert number == 7
    end = len(body) if key is None else len(body) - key_length
    assert (key_length == NO_KEY) == (key is None)
    assert body[end:].decode() == (key or "")
    rest = body[PUBLISH_HEAD.size : end]
    source = Source(rest[:length])
    assert (source.owner, source.mount) == (owner, 3)
    frame = MESSAGE_FRAME.pack(MESSAGE_HEAD.size + len(rest), MESSAGE, 0, length, 9, 12.5, EPOCH.encode()) + rest
    [(kind, request, message_body)] = read_frames(frame)
    assert (kind, request) == (MESSAGE, 0)
    sources: dict[bytes, Source] = {}
    for _ in range(2):
        message, found = room_messages.read_message(message_body, sources)
        mount = found.mount
        assert (message.room, message.epoch, message.offset, message.payload, message.text, message.time, message.publisher, mount) == (
            room, EPOCH, 9, payload, text, 12.5, publisher, 3,
        )  # fmt: skip
        assert (message.content_type, message.echo) == (content_type or None, echo)
    assert len(sources) == 1


def test_the_sources_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_messages, "SOURCES_KEPT", 10)
    sources: dict[bytes, Source] = {}
    for number in range(100):
        body = room_messages.message_body(Message(f"room-{number}", EPOCH, 1, b"", True, 1.0))
        assert room_messages.read_message(body, sources)[0].room == f"room-{number}"
        assert len(sources) <= 10


def test_published_is_read_from_its_frame() -> None:
    [(kind, request, body)] = read_frames(PUBLISHED_FRAME.pack(PUBLISHED.size, ANSWER, 5, 77, EPOCH.encode(), True, 1000))
    assert (kind, request) == (ANSWER, 5)
    assert room_messages.read_published(body) == Published(EPOCH, 77, True, 1000)
    assert read_frames(frame(ANSWER, 6, body)) == [(ANSWER, 6, body)]


def messages() -> tuple[Message, ...]:
    return (
        Message("lobby", EPOCH, 1, b"hello", True, 1.5, "member-1", "text/plain"),
        Message("lobby", EPOCH, 2, b"\x00" * 100, False, 2.5, echo=False),
    )


def test_a_sheet_has_json_and_messages() -> None:
    value, found = room_messages.read_sheet(room_messages.sheet({"gap": None}, messages()))
    assert value == {"gap": None}
    for one, other in zip(found, messages(), strict=True):
        assert all(getattr(one, name) == getattr(other, name) for name in Message.__slots__ if name not in ("holds", "cache"))


@pytest.mark.parametrize("body", [b"", b"\x05\x00\x00\x00{", b"\x02\x00\x00\x00{}\x09\x00\x00\x00abc"])
def test_a_broken_sheet_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        room_messages.read_sheet(body)


def test_limits_come_back_as_they_were_written() -> None:
    limits = Limits(max_members=7, name_pattern=re.compile("[a-z]+"), history=5, rate=2.5)
    value, _ = room_messages.read_sheet(room_messages.sheet(room_messages.limits_value(limits)))
    assert room_messages.read_limits(value) == limits


def test_rosters_and_changes_come_back_as_they_were_written() -> None:
    ada = Presence("ada", {"name": "Ada"})
    roster = Roster(Position(EPOCH, 4), (ada, Presence("bob", {})))
    assert room_messages.read_roster(room_messages.roster_value(roster)) == roster
    assert room_messages.read_roster(room_messages.roster_value(None)) is None
    changes = (Change("joined", ada), Change("left", ada))
    assert room_messages.read_changes(room_messages.changes_value(changes)) == changes
