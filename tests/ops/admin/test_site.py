"""ops/admin: who may ask, which page answers, and that every route is described."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import Loop
from wsdaemon.core.registry import Count
from wsdaemon.edge.request import BadRequest, HeadReader
from wsdaemon.ops.admin import table
from wsdaemon.ops.admin.contract import JSON, PROBLEM, Answer, Problem, Request, as_json
from wsdaemon.ops.admin.health import HealthPages, MountView
from wsdaemon.ops.admin.routes import Content, Parameter, Route
from wsdaemon.ops.admin.site import AdminSite
from wsdaemon.ops.admin.tickets import TicketPages

TOKEN = "0123456789abcdef"

EVERYTHING = [one for one in vars(table).values() if isinstance(one, Route)]

THING = Route(
    method="POST",
    path="/things/{name}/parts/{part}",
    name="thing",
    about="A thing.",
    parameters=(
        Parameter("name", "path", "", {"type": "string", "maxLength": 8}),
        Parameter("part", "path", "", {"type": "integer", "minimum": 1, "maximum": 9}),
        Parameter("limit", "query", "", {"type": "integer", "minimum": 1, "maximum": 9, "default": 3}),
        Parameter("all", "query", "", {"type": "boolean", "default": False}),
        Parameter("X-Key", "header", "", {"type": "string", "pattern": "^[a-z]+$", "title": "small letters"}),
    ),
    body=Content("Anything."),
    answers={200: Content("What was asked.")},
)
OPEN = Route(method="GET", path="/open", name="open", about="For everybody.", open=True, answers={200: Content("It.")})


def shown(request: Request) -> Answer:
    return as_json({**request.values, "body": request.body.decode()})


async def later(request: Request) -> Answer:
    raise Problem(418, "teapot", "I am a teapot.", (("Retry-After", "1"),))


def site(token: str | None = TOKEN, handler: Any = shown) -> AdminSite:
    return AdminSite([(THING, handler), (OPEN, shown)], lambda: token, "1")


def head(line: str, *lines: str) -> Any:
    return HeadReader(10_000).feed("\r\n".join([f"{line} HTTP/1.1", "Host: here", *lines, "", ""]).encode())


def ask(pages: AdminSite, line: str, *lines: str, body: bytes = b"", token: str | None = TOKEN) -> Answer:
    """The answer, however it comes."""
    asked = head(line, *([] if token is None else [f"Authorization: Bearer {token}"]), *lines)
    refusal = pages.refusal(asked)
    answer = refusal if refusal is not None else pages.answer(asked, body)
    if isinstance(answer, Awaitable):
        with Loop() as loop:
            task: asyncio.Task[Answer] = loop.create_task(answer)  # type: ignore[arg-type]
            loop.settle()
            return task.result()
    return answer


def problem(answer: Answer) -> tuple[int, str]:
    assert answer.content_type == PROBLEM
    members = json.loads(answer.body)
    assert members["status"] == answer.status and members["title"] and members["detail"].endswith(".")
    return answer.status, members["code"]


# -- who may ask


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_token_opens(scheme: str) -> None:
    assert ask(site(), "POST /things/a/parts/1", f"Authorization: {scheme} {TOKEN}", token=None).status == 200


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([], "no_token"),
        (["Authorization: Basic abc"], "no_token"),
        (["Authorization: Bearer"], "bad_token"),
        ([f"Authorization: Bearer {TOKEN}x"], "bad_token"),
        ([f"Authorization: Bearer {TOKEN[:-1]}"], "bad_token"),
        (["Authorization: Bearer \xe9"], "bad_token"),
        ([f"Authorization: Bearer {TOKEN}", "Authorization: Bearer x"], "no_token"),
    ],
)
def test_without_the_token_there_is_nothing_to_see(lines: list[str], code: str) -> None:
    answer = site().refusal(head("POST /things/a/parts/1", *lines))
    assert answer is not None
    assert problem(answer) == (401, code)
    challenge = dict(answer.headers)["WWW-Authenticate"]
    assert challenge == 'Bearer realm="wsdaemon"' + (', error="invalid_token"' if code == "bad_token" else "")
    assert TOKEN.encode() not in answer.body


def test_open_pages_and_sites_without_a_token() -> None:
    assert ask(site(), "GET /open", token=None).status == 200
    assert ask(site(None), "POST /things/a/parts/1", token=None).status == 200
    assert ask(site(None), "POST /things/a/parts/1", token="whatever").status == 200


def test_the_token_may_change() -> None:
    current = [TOKEN]
    pages = AdminSite([(THING, shown)], lambda: current[0], "1")
    assert ask(pages, "POST /things/a/parts/1").status == 200
    current[0] = "another-token-entirely"
    assert problem(ask(pages, "POST /things/a/parts/1")) == (401, "bad_token")


# -- which page


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


def test_a_body_that_nobody_takes() -> None:
    assert problem(ask(site(), "GET /open", body=b"x")) == (400, "body")


def test_problems_come_at_once_or_later() -> None:
    answer = ask(site(handler=later), "POST /things/a/parts/1")
    assert problem(answer) == (418, "teapot")
    assert answer.headers == (("Retry-After", "1"),)
    assert problem(site().problem(BadRequest(400, "host", "The request has no Host header."))) == (400, "host")


# -- the description


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
        assert operation["security"] == ([] if route.open else [{"token": []}])
        assert ("401" in operation["responses"]) is not route.open
        assert [one["name"] for one in operation.get("parameters", [])] == [one.name for one in route.parameters]
        assert {part[1:-1] for part in route.path.split("/") if part.startswith("{")} == {
            one.name for one in route.parameters if one.where == "path"
        }
    assert set(references(described)) == {"#/components/schemas/Problem"}


# -- health


class State:
    """How far a daemon is."""

    def __init__(self) -> None:
        self.value = "starting"

    def __call__(self) -> str:
        return self.value


def health(state: State) -> AdminSite:
    times = iter([100.0, 107.5])
    pages = HealthPages(
        version="1", state=state, count=Count(10), listeners=[], wall=lambda: 1_790_000_000.0, clock=lambda: next(times),
        mounts=[MountView("/a", "echo", Count(5)), MountView("/b", "rooms", Count(), lambda: {"rooms": 1, "members": 2})],
    )  # fmt: skip
    return AdminSite(pages.pages(), lambda: TOKEN, "1")


def test_live_and_ready() -> None:
    state = State()
    pages = health(state)
    seen = []
    for state.value in ("starting", "ready", "draining", "stopped"):
        live, ready = ask(pages, "GET /livez", token=None), ask(pages, "GET /readyz", token=None)
        assert (live.status, live.body) == (200, b"live\n")
        seen.append((ready.status, ready.body))
    assert seen == [(503, b"starting\n"), (200, b"ready\n"), (503, b"draining\n"), (503, b"stopped\n")]


@dataclass
class File:
    source: str
    failures: int = 0
    told: str | None = None

    def problem(self) -> str | None:
        return self.told


def test_a_changed_file_that_cannot_be_used_is_shown() -> None:
    good, stale = File("[auth:a] file"), File("[admin] token_file", 3, "/etc/token: Too many open files")
    pages = AdminSite(
        HealthPages(version="1", state=lambda: "ready", count=Count(), listeners=[], mounts=[], reloading=lambda: [good, stale]).pages(),
        lambda: TOKEN,
        "1",
    )
    ready = ask(pages, "GET /readyz", token=None)
    assert ready.status == 200, "the daemon serves with the old content"
    assert ready.body == b"ready\n[admin] token_file: the changed file cannot be used, the old content is in use\n"
    assert json.loads(ask(pages, "GET /status").body)["files"] == [
        {"source": "[auth:a] file", "problem": None, "failures": 0},
        {"source": "[admin] token_file", "problem": "/etc/token: Too many open files", "failures": 3},
    ]
    stale.told = None
    assert ask(pages, "GET /readyz", token=None).body == b"ready\n"


def test_status() -> None:
    pages = health(State())
    assert problem(ask(pages, "GET /status", token=None)) == (401, "no_token")
    status = json.loads(ask(pages, "GET /status").body)
    assert status.pop("pid") > 0
    assert status == {
        "version": "1",
        "state": "starting",
        "started_at": 1_790_000_000.0,
        "uptime_seconds": 7.5,
        "connections": {"now": 0, "total": 0, "most": 10},
        "listeners": [],
        "mounts": [
            {"path": "/a", "app": "echo", "connections": {"now": 0, "total": 0, "most": 5}},
            {"path": "/b", "app": "rooms", "connections": {"now": 0, "total": 0, "most": None}, "rooms": 1, "members": 2},
        ],
        "certificates": [],
        "files": [],
    }


# -- tickets


class Book:
    lifetime = 30.0

    def __init__(self) -> None:
        self.issued: list[tuple[str, Mapping[str, object], str | None, float | None]] = []
        self.full = False

    def issue(self, identity: str, claims: Mapping[str, object], path: str | None, expires: float | None) -> str | None:
        if identity != identity.strip():
            raise ValueError("expected an identity without blanks at its ends")
        self.issued.append((identity, claims, path, expires))
        return None if self.full else "the-ticket"


@pytest.fixture
def book() -> Book:
    return Book()


def tickets(book: Book) -> AdminSite:
    return AdminSite(TicketPages({"site": book}).pages(), lambda: TOKEN, "1")


def test_a_ticket(book: Book) -> None:
    answer = ask(tickets(book), "POST /api/tickets/site", body=b'{"identity":"ada"}')
    assert (answer.status, json.loads(answer.body)) == (200, {"ticket": "the-ticket", "lifetime": 30.0})
    wanted = {"identity": "ada", "claims": {"role": "admin"}, "path": "/chat", "expires": 1790000000}
    ask(tickets(book), "POST /api/tickets/site", body=json.dumps(wanted).encode())
    assert book.issued == [("ada", {}, None, None), ("ada", {"role": "admin"}, "/chat", 1790000000)]


def test_no_ticket(book: Book) -> None:
    pages = tickets(book)
    assert problem(ask(pages, "POST /api/tickets/other", body=b'{"identity":"ada"}')) == (404, "no_tickets")
    assert problem(ask(pages, "POST /api/tickets/site", body=b'{"identity":" ada"}')) == (400, "bad_body")
    assert book.issued == []
    book.full = True
    answer = ask(pages, "POST /api/tickets/site", body=b'{"identity":"ada"}')
    assert problem(answer) == (503, "tickets_full") and answer.headers == (("Retry-After", "1"),)
    assert TicketPages({}).pages() == []


@pytest.mark.parametrize(
    "body",
    ["", "x", "[]", "{}", '{"identity":1}', '{"identity":"a","claims":[]}', '{"identity":"a","path":"chat"}',
     '{"identity":"a","expires":true}', '{"identity":"a","expires":-1}', '{"identity":"a","expires":1e400}',
     '{"identity":"a","more":1}', '{"identity":"a","path":null}'],
)  # fmt: skip
def test_bad_bodies_for_tickets(book: Book, body: str) -> None:
    assert problem(ask(tickets(book), "POST /api/tickets/site", body=body.encode()))[0] == 400
    assert book.issued == []


@given(st.binary(max_size=50))
def test_no_body_is_an_error_of_ours(body: bytes) -> None:
    assert ask(tickets(Book()), "POST /api/tickets/site", body=body).status in (200, 400)
