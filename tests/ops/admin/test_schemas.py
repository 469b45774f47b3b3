"""ops/admin/schemas.py: the parts of schemas that routes share."""

from __future__ import annotations

from wsdaemon.ops.admin.routes import is_text
from wsdaemon.ops.admin.schemas import CODE, REASON, REMOVED, object_of, text


def test_text_has_bounds() -> None:
    assert [is_text(given, text(3)) for given in ("", "a", "abc", "abcd")] == [False, True, True, False]
    assert is_text("", text(3, 0)) and is_text("x" * 9999, text())


def test_an_object_may_be_closed() -> None:
    assert object_of({"a": text()}, "a", closed=True) == {**object_of({"a": text()}, "a"), "additionalProperties": False}


def test_a_client_that_is_sent_away_is_told_as_403_unless_the_operator_says_otherwise() -> None:
    assert CODE.read("4001") == 4001
    assert (CODE.schema["default"], REASON.schema["default"]) == (REMOVED, "removed") == (4403, "removed")
