"""core/json_text.py: JSON from a client, read in a bounded time."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsdaemon.core import json_text
from wsdaemon.core.json_text import TooManyParts, read_json, read_sendable_json, whole_number

MEBIBYTE = 1 << 20


def parts_of(value: object) -> int:
    """As many commas and brackets as the value is written with."""
    if isinstance(value, list):
        return max(1, len(value)) + sum(map(parts_of, value))
    if isinstance(value, dict):
        return max(1, len(value)) + sum(map(parts_of, value.values()))
    return 0


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(alphabet='a,[{"\\\n', max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(alphabet='b,[{"\\', max_size=4), inner, max_size=5),
    max_leaves=30,
)


@settings(deadline=None)
@given(values, st.booleans())
def test_exactly_the_allowed_parts_are_read(value: object, escaped: bool) -> None:
    text, parts = json.dumps(value, ensure_ascii=escaped), parts_of(value)
    text += " " * (json_text.UNCOUNTED_CHARACTERS + 1 - len(text))
    assert read_json(text, parts) == value
    if parts:
        with pytest.raises(TooManyParts):
            read_json(text, parts - 1)


def test_a_short_text_is_not_counted() -> None:
    assert len(read_json("[" + ",".join("1" * 100) + "]", 5)) == 100


@pytest.mark.parametrize("part", ["[],", '{"":0},', "0,", '"",', '"\\"",', "[", '{"a":', '"\\\\",'])
def test_a_flood_of_parts_is_refused_without_making_a_value(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_parsing(text: str) -> object:
        raise AssertionError("the text was parsed")

    flood = "[" + part * (4 * MEBIBYTE // len(part))
    monkeypatch.setattr(json_text._DECODER, "decode", no_parsing)
    with pytest.raises(TooManyParts):
        read_json(flood, 10_000)


LONG = '"' + "x" * 20_000


@pytest.mark.parametrize("text", ["", "{", "NaN", "[Infinity]", "-Infinity", "1" * 101, "[" * 10_000, LONG, LONG + '\\"', "1 2", "01"])
def test_what_is_not_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        read_json(text, 100_000)


@pytest.mark.parametrize("text", ["1e999", "[-1E999]", "NaN", '"\\ud800"', '{"\\uDFFF": 1}', '"\\udc00\\ud800"', "9" * 101])
def test_what_cannot_be_written_again_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        read_sendable_json(text, 100_000)


WRITABLE = [("1.5e300", 1.5e300), ('"\\ud83d\\ude00"', "😀"), ('"\\\\ud800"', "\\ud800"), ("0.1", 0.1), ("[3]", [3])]


@pytest.mark.parametrize(("text", "value"), WRITABLE)
def test_what_can_be_written_again_is_read(text: str, value: object) -> None:
    assert read_sendable_json(text, 100_000) == value


@pytest.mark.parametrize(("value", "number"), [(3, 3), (3.0, 3), (-2.0, -2), (1e15, 10**15), (0, 0), (-0.0, 0)])
def test_a_whole_number_may_be_written_as_a_float(value: object, number: int) -> None:
    found = whole_number(value)
    assert found == number and type(found) is int


@pytest.mark.parametrize("value", [1.5, float("inf"), float("nan"), True, False, None, "3", [3], {}])
def test_what_is_no_whole_number(value: object) -> None:
    assert whole_number(value) is None
