"""ops/admin/routes.py: which page answers a request, and what it is given."""

from __future__ import annotations

import json

import pytest

from tests.support.admin import ask, problem, site


def test_parameters_come_from_everywhere() -> None:
    answer = ask(site(), "POST /things/a%2Fb%20%C3%A9/parts/7?all=true", "X-Key: abc", body=b"text")
    assert json.loads(answer.body) == {"name": "a/b é", "part": 7, "limit": 3, "all": True, "X-Key": "abc", "body": "text"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("POST /things/a/parts/x", "part: expected a whole number from 1 to 9."),
        ("POST /things/a/parts/10", "part: expected a whole number from 1 to 9."),
        ("POST /things/a/parts/1?all=yes", "all: expected true or false."),
        ("POST /things/a/parts/1?limit=", "limit: expected a whole number from 1 to 9."),
        ("POST /things/a/parts/1?limit=1&limit=1", "There is an unknown query parameter; the parameters here are all."),
        ("POST /things/a/parts/1?limits=1", "There is an unknown query parameter; the parameters here are limit, all."),
        ("POST /things/a/parts/1?limit=%FF", "The query is not UTF-8."),
        ("POST /things/a/parts/1?" + "&" * 30, "The query has more than 20 fields."),
        ("POST /things/aaaaaaaaa/parts/1", "name: expected text of up to 8 characters."),
    ],
)
def test_bad_parameters(line: str, expected: str) -> None:
    answer = ask(site(), line)
    assert problem(answer) == (400, "bad_parameter")
    assert json.loads(answer.body)["detail"] == expected


def test_bad_headers() -> None:
    for lines in (["X-Key: ABC"], ["X-Key: "], ["X-Key: a", "X-Key: a"]):
        assert problem(ask(site(), "POST /things/a/parts/1", *lines)) == (400, "bad_parameter")


def test_no_page_and_no_method() -> None:
    for path in ("/", "/things", "/things/a/parts", "/things//parts/1", "/things/a/parts/1/", "/Open"):
        assert problem(ask(site(), f"GET {path}")) == (404, "no_page")
    answer = ask(site(), "DELETE /open")
    assert problem(answer) == (405, "method")
    assert dict(answer.headers) == {"Allow": "GET, HEAD"}
    assert ask(site(), "HEAD /open").status == 200
