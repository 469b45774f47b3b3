"""ops/admin/table.py: the rows of the table of routes agree with each other and with what the brokers allow."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.support.admin import EVERYTHING
from wsdaemon.ops.admin.routes import Route


def test_no_two_rows_have_one_name_or_one_method_and_path() -> None:
    assert max(Counter(route.name for route in EVERYTHING).values()) == 1
    assert max(Counter((route.method, route.path) for route in EVERYTHING).values()) == 1


@pytest.mark.parametrize("route", EVERYTHING, ids=lambda route: route.name)
def test_each_segment_with_a_name_is_a_parameter(route: Route) -> None:
    assert set(re.findall(r"\{(\w+)\}", route.path)) == {one.name for one in route.parameters if one.where == "path"}
    assert (route.body is not None) == (route.method == "POST")


def test_only_what_tells_nothing_is_open() -> None:
    assert {route.name for route in EVERYTHING if route.open} == {"live", "ready", "describe", "console", "console_file"}
