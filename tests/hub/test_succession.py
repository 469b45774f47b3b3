"""The formats of the messages between a hub and its successor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.links import read_frames
from wsdaemon.hub import protocol, succession
from wsdaemon.hub.protocol import Malformed
from wsdaemon.hub.succession import PART_ENTRIES


@given(st.integers(0, 2**32 - 1), st.binary(min_size=8, max_size=8), st.lists(st.tuples(st.integers(0, 2**64 - 1), st.binary(max_size=40))))
def test_numbers_are_read_as_they_were_written(mount: int, instance: bytes, answers: list[tuple[int, bytes]]) -> None:
    read = [succession.read_numbers(body) for _, _, body in read_frames(b"".join(succession.numbers_frames(mount, instance, answers)))]
    assert [answer for _, _, part in read for answer in part] == answers
    assert {(each[0], each[1]) for each in read} <= {(mount, instance)}


def test_many_numbers_take_many_frames() -> None:
    frames = list(succession.numbers_frames(0, bytes(8), ((number, bytes(29)) for number in range(10 * PART_ENTRIES))))
    assert len(frames) == 10
    assert list(succession.numbers_frames(0, bytes(8), ())) == []


def test_the_same_versions_are_no_difference_and_others_are_named() -> None:
    assert succession.difference(succession.hello()) == ""
    assert succession.difference(succession.welcome(b"instance")) == ""
    assert succession.read_instance(succession.welcome(b"instance")) == b"instance"
    reason = succession.difference(b"\7\0\10\0")
    assert reason == (
        f"the other hub speaks version 7 of the succession and 8 of the links, and this one {succession.VERSION} and {protocol.VERSION}"
    )


@pytest.mark.parametrize("body", [b"", b"\1", b"\1\0\1"])
def test_a_short_body_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        succession.difference(body)
    with pytest.raises(Malformed):
        succession.read_numbers(body)


@given(st.binary())
def test_bytes_survive_as_text(value: bytes) -> None:
    assert succession.to_bytes(succession.from_bytes(value)) == value
