"""ops/admin/room_table.py: names, patterns and positions, and what the brokers allow."""

from __future__ import annotations

import pytest

from wsdaemon.brokers.contract import MAX_KEY, MAX_PAGE
from wsdaemon.ops.admin.contract import PageProblem
from wsdaemon.ops.admin.room_table import HISTORY, LIST_ROOMS, MOST_MESSAGES, WANTED
from wsdaemon.ops.admin.routes import Parameter, Route, is_text
from wsdaemon.ops.admin.schemas import LONGEST_KEY

ROOM = WANTED["room"]


def parameter(route: Route, name: str) -> Parameter:
    return next(one for one in route.parameters if one.name == name)


def test_limits_are_those_of_the_broker() -> None:
    assert LONGEST_KEY == MAX_KEY
    limit = parameter(HISTORY, "limit")
    assert limit.read(str(MAX_PAGE)) == MAX_PAGE
    for text in ("0", str(MAX_PAGE + 1), "", "-1", "1.0"):
        with pytest.raises(PageProblem, match=f"from 1 to {MAX_PAGE}"):
            limit.read(text)
    assert MOST_MESSAGES >= MAX_PAGE


def test_room_names() -> None:
    assert all(is_text(name, ROOM) for name in ("lobby", "é", "a.b"))
    assert not any(is_text(name, ROOM) for name in ("", "a b", "a*", "a>", "a\x7f", "a" * 257))


@pytest.mark.parametrize(
    ("pattern", "good"),
    [("prices.*", True), ("*", True), ("a.>", True), (">", True), (">.a", False), ("a*", False), (".".join("a" * 11), False)],
)
def test_patterns(pattern: str, good: bool) -> None:
    assert is_text(pattern, parameter(LIST_ROOMS, "pattern").schema) is good


@pytest.mark.parametrize(("since", "good"), [("9c1d:13", True), (":13", False), ("9c1d", False), ("9c1d:", False), ("9c1d:-1", False)])
def test_positions(since: str, good: bool) -> None:
    assert is_text(since, parameter(HISTORY, "since").schema) is good
