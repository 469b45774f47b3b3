"""ops/admin/console.py: the console's files, open to all, and the latest closes, which need a token."""

from __future__ import annotations

import json
from typing import Any

from tests.support.admin import TOKEN, ask, problem
from wsdaemon.ops.admin.console import ConsolePages
from wsdaemon.ops.admin.site import AdminSite
from wsdaemon.ops.console.files import HEADERS, parts


class Closes:
    async def latest(self, limit: int) -> list[dict[str, Any]]:
        return [{"id": f"c-{number}", "closed_at": 1.0, "code": 1000} for number in range(limit)]


PAGES = AdminSite(ConsolePages(Closes()).pages(), lambda: TOKEN, "1")


def test_the_page_and_its_parts_need_no_token() -> None:
    page = ask(PAGES, "GET /", token=None)
    assert (page.status, page.content_type, page.headers) == (200, "text/html; charset=utf-8", HEADERS)
    for name, file in parts().items():
        answer = ask(PAGES, f"GET /console/{name}", token=None)
        assert (answer.body, answer.content_type) == (file.body, file.content_type)
        assert f"/console/{name}".encode() in page.body or name.endswith(".js")
    for name, status in (("console.html", 404), ("../__init__.py", 404), ("..", 404), ("nothing.js", 404), ("%2e%2e%2ffeed.py", 400)):
        assert problem(ask(PAGES, f"GET /console/{name}", token=None))[0] == status


def test_closes_need_a_token() -> None:
    assert problem(ask(PAGES, "GET /api/closes", token=None)) == (401, "no_token")
    assert [one["id"] for one in json.loads(ask(PAGES, "GET /api/closes?limit=2").body)["closes"]] == ["c-0", "c-1"]
    assert problem(ask(PAGES, "GET /api/closes?limit=0")) == (400, "bad_parameter")
