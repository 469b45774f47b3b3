"""Messages as models of pydantic and msgspec, which FastAPI and Litestar bring along."""

from __future__ import annotations

import pytest

from wsdaemon.core.typed_messages import BadMessage, from_json, to_json

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
