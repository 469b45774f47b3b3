"""core/typed_messages.py: JSON, with models and without."""

from __future__ import annotations

from typing import Any

import pytest

from wsdaemon.core.typed_messages import MAX_PARTS, BadMessage, from_json, to_json


@pytest.mark.parametrize("value", [None, 7, "grün", [1, {"a": [True]}], {"b": 1.5}])
def test_plain_values(value: Any) -> None:
    assert from_json(to_json(value)) == value
    assert from_json(to_json(value).encode()) == value


def test_the_text_is_short_and_readable() -> None:
    assert to_json({"a": ["grün", 1]}) == '{"a":["grün",1]}'


@pytest.mark.parametrize("message", ["", "{", "NaN", "[1,]", "[" * 100_000, b"\xff", "9" * 5000, "[" + "[]," * MAX_PARTS + "[]]"])
def test_what_is_no_json(message: str | bytes) -> None:
    with pytest.raises(BadMessage):
        from_json(message)


@pytest.mark.parametrize(("value", "error"), [(float("nan"), ValueError), ({1, 2}, TypeError)])
def test_a_value_without_json(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        to_json(value)


class Model:
    """Has the methods of a pydantic model that are used."""

    def __init__(self, text: str) -> None:
        self.text = text

    def model_dump_json(self) -> str:
        return f'{{"text":"{self.text}"}}'

    @classmethod
    def model_validate_json(cls, data: str | bytes) -> Model:
        value = from_json(data)
        if not isinstance(value, dict) or set(value) != {"text"}:
            raise RuntimeError("text: field required")
        return cls(value["text"])


def test_a_model() -> None:
    assert to_json(Model("hello")) == '{"text":"hello"}'
    assert from_json('{"text": "hello"}', Model).text == "hello"
    with pytest.raises(BadMessage, match="field required"):
        from_json("{}", Model)


@pytest.mark.parametrize("message", ["NaN", "[1e999]", "-1e999", '"\\ud800"', '{"a": "\\udfff"}', "[" + "0," * MAX_PARTS + "0]"])
def test_a_model_sees_no_message_that_is_bad_without_it(message: str) -> None:
    """A model of pydantic takes NaN, and a list of any length."""
    seen: list[object] = []

    class Anything:
        @classmethod
        def model_validate_json(cls, data: str | bytes) -> object:
            seen.append(data)
            return cls()

    for kind in (None, Anything):
        with pytest.raises(BadMessage):
            from_json(message, kind)
    assert not seen


def test_a_kind_that_is_no_model() -> None:
    with pytest.raises(TypeError, match="pydantic"):
        from_json("{}", dict)
