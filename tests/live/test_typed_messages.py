"""Messages as models of pydantic and msgspec, which FastAPI and Litestar bring along."""

from __future__ import annotations

import pytest

from wsdaemon.core.typed_messages import MAX_PARTS, BadMessage, from_json, to_json

pytestmark = pytest.mark.live


def test_a_model_of_pydantic() -> None:
    pydantic = pytest.importorskip("pydantic", reason="pydantic is missing (PyPI package pydantic)")
    model = pydantic.create_model("Said", text=(str, ...), count=(int, 1))
    assert from_json(to_json(model(text="a")), model) == model(text="a", count=1)
    with pytest.raises(BadMessage, match="text"):
        from_json('{"count": 2}', model)


def test_a_struct_of_msgspec() -> None:
    msgspec = pytest.importorskip("msgspec", reason="msgspec is missing (PyPI package msgspec)")
    struct = msgspec.defstruct("Said", [("text", str), ("count", int, 1)])
    assert from_json(to_json(struct("a")), struct) == struct("a", 1)
    with pytest.raises(BadMessage, match="text"):
        from_json('{"count": 2}', struct)


def test_models_of_the_libraries_have_the_same_limits() -> None:
    pydantic, msgspec = pytest.importorskip("pydantic"), pytest.importorskip("msgspec")
    model = pydantic.create_model("Point", x=(float, ...), many=(list[int], []))
    struct = msgspec.defstruct("Point", [("x", float), ("many", list[int], [])])
    for kind in (model, struct):
        point = from_json('{"x": 1.5}', kind)
        assert point.x == 1.5 and from_json(to_json(point), kind) == point
        for bad in ('{"x": NaN}', '{"x": 1e999}', '{"x": 1, "many": [' + "0," * MAX_PARTS + "0]}", '{"x": 1, "\\ud800": 2}'):
            with pytest.raises(BadMessage):
                from_json(bad, kind)
