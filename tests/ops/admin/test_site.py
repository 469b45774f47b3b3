"""ops/admin/site.py: which requests are admitted, and how problems are answered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.admin import THING, TOKEN, ask, head, problem, shown, site
from wsdaemon.edge.request import BadRequest
from wsdaemon.ops.admin.contract import Answer, PageProblem, PageRequest
from wsdaemon.ops.admin.site import AdminSite
from wsdaemon.settings.admin import TokenRole


async def later(request: PageRequest) -> Answer:
    raise PageProblem(418, "teapot", "I am a teapot.", (("Retry-After", "1"),))


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


@pytest.mark.parametrize("role", TokenRole)
def test_a_token_opens_what_its_roles_are_for(role: TokenRole) -> None:
    pages = AdminSite([(replace(THING, role=role), shown)], lambda: TOKEN, "1", lambda: [(one.value * 5, {one}) for one in TokenRole])
    assert ask(pages, "POST /things/a/parts/1").status == 200
    for one in TokenRole:
        answer = ask(pages, "POST /things/a/parts/1", token=one.value * 5)
        assert answer.status == 200 if one is role else problem(answer) == (403, "role")
        assert one is role or f'error="insufficient_scope", scope="{role}"' in dict(answer.headers)["WWW-Authenticate"]
    assert problem(ask(pages, "POST /things/a/parts/1", token="wrong" * 4)) == (401, "bad_token")


def test_further_tokens_are_asked_for_where_there_is_no_other() -> None:
    pages = AdminSite([(THING, shown)], lambda: None, "1", lambda: [("a" * 20, {TokenRole.READ}), ("a" * 20, {TokenRole.PUBLISH})])
    assert problem(ask(pages, "POST /things/a/parts/1", token=None)) == (401, "no_token")
    assert pages.roles("a" * 20) == frozenset({TokenRole.READ, TokenRole.PUBLISH})
    assert pages.roles("\ud800") == frozenset()
    assert AdminSite([], lambda: None, "1").roles("") is None


def test_a_body_that_nobody_takes() -> None:
    for body in ("Content-Length: 1", "Transfer-Encoding: chunked"):
        answer = site().refusal(head("GET /open", body))
        assert answer is not None, "before the body is read, because many of them fill the memory"
        assert problem(answer) == (400, "body")


def test_problems_come_at_once_or_later() -> None:
    answer = ask(site(handler=later), "POST /things/a/parts/1")
    assert problem(answer) == (418, "teapot")
    assert answer.headers == (("Retry-After", "1"),)
    assert problem(site().problem(BadRequest(400, "host", "The request has no Host header."))) == (400, "host")
