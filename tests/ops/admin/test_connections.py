"""ops/admin/connections.py: open connections in pages, and closed one by one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.admin import ask, problem
from wsdaemon.ops.admin.connections import ConnectionPages
from wsdaemon.ops.admin.site import AdminSite
from wsdaemon.ops.connections import ConnectionPage, Filter


class Two:
    """Two open connections."""

    def __init__(self, more: bool = False) -> None:
        self.asked: list[tuple[Filter, str, int]] = []
        self.closed: list[tuple[str, int, str]] = []
        self._more = more

    async def page(self, wanted: Filter, after: str, limit: int) -> ConnectionPage:
        self.asked.append((wanted, after, limit))
        return ConnectionPage([{"id": "4f2a-1"}, {"id": "4f2a-2"}], 5, self._more)

    async def close(self, id: str, code: int, reason: str) -> bool:
        self.closed.append((id, code, reason))
        return id == "4f2a-1"


def get(connections: Two, line: str) -> Any:
    answer = ask(site(connections), line)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def site(connections: Two) -> AdminSite:
    return AdminSite(ConnectionPages(connections).pages(), lambda: None, "1")


def test_a_page_says_how_to_have_the_next() -> None:
    two = Two(more=True)
    assert get(two, "GET /api/connections") == {"connections": [{"id": "4f2a-1"}, {"id": "4f2a-2"}], "count": 5, "after": "4f2a-2"}
    assert two.asked == [(Filter(), "", 100)]


def test_the_last_page() -> None:
    assert "after" not in get(Two(), "GET /api/connections")


def test_filters_are_read_from_the_query() -> None:
    two = Two()
    get(two, "GET /api/connections?after=4f2a-9&limit=2&mount=/chat/%7Broom%7D&listener=web&user=%C3%A4da&address=::1")
    assert two.asked == [(Filter("/chat/{room}", "web", "äda", "::1"), "4f2a-9", 2)]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "mount=", "room=a", "user=" + "x" * 256])
def test_what_is_no_filter_is_refused(query: str) -> None:
    assert problem(ask(site(Two()), f"GET /api/connections?{query}")) == (400, "bad_parameter")


def test_a_connection_is_closed() -> None:
    two = Two()
    answer = ask(site(two), "DELETE /api/connections/4f2a-1")
    assert (answer.status, json.loads(answer.body)) == (200, {"id": "4f2a-1", "code": 4403})
    ask(site(two), "DELETE /api/connections/4f2a-1?code=4001&reason=spam")
    assert two.closed == [("4f2a-1", 4403, "removed"), ("4f2a-1", 4001, "spam")]


def test_one_that_there_is_not() -> None:
    two = Two()
    assert problem(ask(site(two), "DELETE /api/connections/4f2a-3")) == (404, "no_connection")
    assert problem(ask(site(two), "DELETE /api/connections/4f2a-1?code=1000")) == (400, "bad_parameter")
    assert [id for id, _, _ in two.closed] == ["4f2a-3"]
