"""ops/admin/openapi.py: every route is described."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.support.admin import EVERYTHING, TOKEN, ask, shown
from wsdaemon.ops.admin import table
from wsdaemon.ops.admin.contract import JSON
from wsdaemon.ops.admin.site import AdminSite


def description(pages: AdminSite) -> dict[str, Any]:
    answer = ask(pages, "GET /openapi.json", token=None)
    assert answer.content_type == JSON
    described: dict[str, Any] = json.loads(answer.body)
    return described


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, one in value.items():
            if key == "$ref":
                yield one
            else:
                yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def test_every_route_is_described() -> None:
    pages = AdminSite([(route, shown) for route in EVERYTHING if route is not table.DESCRIPTION], lambda: TOKEN, "1")
    assert sorted(route.name for route in pages.table.routes) == sorted(route.name for route in EVERYTHING)
    described = description(pages)
    assert described["openapi"] == "3.1.0"
    found = {(method.upper(), path) for path, item in described["paths"].items() for method in item}
    assert found == {(route.method, route.path) for route in EVERYTHING} | {("HEAD", one.path) for one in EVERYTHING if one.method == "GET"}
    operations = [operation for item in described["paths"].values() for operation in item.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for route in EVERYTHING:
        operation = described["paths"][route.path][route.method.lower()]
        assert set(operation["responses"]) >= {str(status) for status in (*route.answers, *route.problems, 400, 405)}
        assert operation["security"] == ([] if route.open else [{"token": [route.role.value]}])
        assert ("401" in operation["responses"]) is not route.open
        assert route.open or "403" in operation["responses"]
        assert [one["name"] for one in operation.get("parameters", [])] == [one.name for one in route.parameters]
        assert {part[1:-1] for part in route.path.split("/") if part.startswith("{")} == {
            one.name for one in route.parameters if one.where == "path"
        }
    assert set(references(described)) == {"#/components/schemas/Problem"}
