"""ops/admin/table.py: the rows of the table of routes agree with each other and with what the brokers allow."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.support.admin import EVERYTHING
from wsdaemon.brokers.contract import MAX_KEY, MAX_PAGE
from wsdaemon.ops.admin.contract import PageProblem
from wsdaemon.ops.admin.routes import Parameter, Route, is_text
from wsdaemon.ops.admin.table import HISTORY, LIST_ROOMS, LONGEST_KEY, MOST_MESSAGES, WANTED

ROOM = WANTED["room"]


def parameter(route: Route, name: str) -> Parameter:
    return next(one for one in route.parameters if one.name == name)


def test_no_two_rows_have_one_name_or_one_method_and_path() -> None:
    assert max(Counter(route.name for route in EVERYTHING).values()) == 1
    assert max(Counter((route.method, route.path) for route in EVERYTHING).values()) == 1


@pytest.mark.parametrize("route", EVERYTHING, ids=lambda route: route.name)
def test_each_segment_with_a_name_is_a_parameter(route: Route) -> None:
    assert set(re.findall(r"\{(\w+)\}", route.path)) == {one.name for one in route.parameters if one.where == "path"}
    assert (route.body is not None) == (route.method == "POST")


def test_only_what_tells_nothing_is_open() -> None:
    assert {route.name for route in EVERYTHING if route.open} == {"live", "ready", "describe", "console", "console_file"}


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
