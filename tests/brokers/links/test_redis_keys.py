from __future__ import annotations

import fnmatch

from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from wsdaemon.brokers.links.redis_keys import Names

ROOM_NAMES = st.text(st.characters(min_codepoint=33, exclude_characters="*>\x7f", exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(room=ROOM_NAMES | st.sampled_from(["}", "{}", "}{", "a}b", ":", "{"]))
def test_all_keys_of_a_room_are_in_one_slot(room: str) -> None:
    """A name may hold braces, and a tag that is empty would be none."""
    names = Names("wsdaemon", "/rooms/{name}")
    keys = [*names.room(room), names.own(room, "node"), names.channel(room)]
    assert len({key_slot(key.encode()) for key in keys}) == 1
    assert names.room_of(names.channel(room)) == room


def test_parameters_of_a_path_are_no_hash_tag() -> None:
    names = Names("wsdaemon", "/rooms/{name}")
    assert len({key_slot(names.room(f"room{number}")[0].encode()) for number in range(100)}) > 90


def test_no_two_rooms_share_a_key() -> None:
    places = [("/a", "b:c"), ("/a:b", "c"), ("/a/{x}", "b"), ("/a/(x)", "b"), ("/a", "b}:meta"), ("/a", "b"), ("/a%", "b"), ("/a%25", "b")]
    keys = [key for path, room in places for key in Names("wsdaemon", path).room(room)]
    assert len(set(keys)) == len(keys)


def test_the_index_is_in_one_slot() -> None:
    names = Names("wsdaemon", "/rooms/{name}")
    assert len({key_slot(key.encode()) for key in names.index}) == 1


def test_a_pattern_of_channels_means_its_letters() -> None:
    names = Names("w", "/rooms")
    assert names.channels("a[b]?") == r"w:{/rooms:a\[b\]\?*:live"
    assert fnmatch.fnmatchcase(names.channel("prices.eur"), names.channels("prices.").replace("\\", ""))
