"""edge/auth/chain.py and contract.py: the first way that recognises the client decides, and nothing shows a secret."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger

from tests.support.auth import denied, outcome, request, run
from wsdaemon.core.failed_logins import FailedLogins
from wsdaemon.edge.auth.chain import Chain
from wsdaemon.edge.auth.contract import Candidate, Denied, Foreign, Identity, Outcome, Unavailable, clean_name
from wsdaemon.edge.request import BadRequest
from wsdaemon.edge.responses import error_response


class Way:
    """Gives one answer, at once or later."""

    def __init__(self, answer: Identity | Denied | None, challenge: str | None = None, later: bool = False, prefix: str = "") -> None:
        self.name = "way"
        self.files = ()
        self.challenge = challenge
        self.subprotocol_prefixes = (prefix,) if prefix else ()
        self.answer = answer
        self.later = later
        self.asked = 0

    def authenticate(self, request: Candidate) -> Outcome:
        self.asked += 1
        return self._later() if self.later else self._now()

    def _now(self) -> Identity | None:
        if isinstance(self.answer, Denied):
            raise self.answer
        return self.answer

    async def _later(self) -> Identity | None:
        await asyncio.sleep(0)
        return self._now()

    def refresh(self) -> None: ...

    async def close(self) -> None: ...


LOG = Logger("test")
ADA = Identity("ada", "basic:one")
BOB = Identity("bob", "basic:two")


def test_at_once_where_nobody_needs_time() -> None:
    last = Way(BOB)
    assert Chain([Way(None), Way(ADA), last]).authenticate(request()) is ADA
    assert last.asked == 0


def test_refused_credentials_are_failed_logins() -> None:
    class Failed(FailedLogins):
        def add(self, address: str, path: str, reason: str, user: str | None = None) -> None:
            told.append((address, path, reason, user))

    told: list[tuple[object, ...]] = []
    foreign = Foreign("auth_key")
    for later in (False, True):
        for error in (Denied("auth_refused", user="ada"), Denied("auth_refused", 403), foreign):
            denied(lambda error=error, later=later: Chain([Way(error, later=later)], failed=Failed(LOG)).authenticate(request()))  # type: ignore[misc]
        for other in (Denied("auth_failures", 429), Unavailable("auth_busy", ""), None):
            denied(lambda other=other, later=later: Chain([Way(other, later=later)], failed=Failed(LOG)).authenticate(request()))  # type: ignore[misc]
        assert run(outcome_of(Chain([Way(foreign, later=later), Way(ADA)], failed=Failed(LOG)))) is ADA
    assert told == 2 * [
        ("192.0.2.1", "/chat", "auth_refused", "ada"),
        ("192.0.2.1", "/chat", "auth_refused", None),
        ("192.0.2.1", "/chat", "auth_key", None),
    ]


def test_later_where_somebody_does() -> None:
    found = Chain([Way(None), Way(None, later=True), Way(None, later=True), Way(ADA), Way(BOB)]).authenticate(request())
    assert inspect.isawaitable(found)
    assert run(outcome(found)) is ADA


@pytest.mark.parametrize("later", [False, True])
def test_a_bad_credential_ends_the_search(later: bool) -> None:
    last = Way(BOB, "Basic")
    error = denied(lambda: Chain([Way(None), Way(Denied("auth_refused"), "Bearer", later=later), last]).authenticate(request()))
    assert (error.status, error.reason, last.asked) == (401, "auth_refused", 0)
    assert error.headers == (("WWW-Authenticate", "Bearer"), ("WWW-Authenticate", "Basic"))


@pytest.mark.parametrize("later", [False, True])
def test_a_foreign_credential_may_be_known_to_the_next(later: bool) -> None:
    foreign = Foreign("auth_issuer")
    assert run(outcome_of(Chain([Way(foreign, later=later), Way(ADA)]))) is ADA
    error = denied(lambda: Chain([Way(foreign, "Bearer", later=later), Way(None, later=True)]).authenticate(request()))
    assert (error.status, error.reason) == (401, "auth_issuer")


async def outcome_of(chain: Chain) -> Identity | None:
    return await outcome(chain.authenticate(request()))


def test_nobody_knows_the_client() -> None:
    error = denied(lambda: Chain([Way(None, 'Basic realm="x"'), Way(None), Way(None, "Bearer", later=True)]).authenticate(request()))
    assert (error.status, error.reason) == (401, "auth_required")
    assert error.headers == (("WWW-Authenticate", 'Basic realm="x"'), ("WWW-Authenticate", "Bearer"))


def test_a_401_needs_a_challenge_so_without_one_it_is_a_403() -> None:
    assert denied(lambda: Chain([Way(None)]).authenticate(request())).status == 403


def test_credentials_that_are_not_required() -> None:
    assert Chain([Way(None)], required=False).authenticate(request()) is None
    assert run(outcome_of(Chain([Way(None, later=True)], required=False))) is None
    for bad in (Denied("auth_refused", 403), Foreign("auth_issuer", 403)):
        assert denied(lambda bad=bad: Chain([Way(bad)], required=False).authenticate(request())) is bad  # type: ignore[misc]


def test_other_refusals_are_passed_on_as_they_are() -> None:
    for error in (Denied("auth_refused", 403), Unavailable("auth_busy", "Busy."), Denied("x", headers=(("www-authenticate", "Bearer"),))):
        assert denied(lambda error=error: Chain([Way(error, "Basic")]).authenticate(request())) is error  # type: ignore[misc]


def test_a_refusal_is_answered_as_every_bad_request() -> None:
    error = denied(lambda: Chain([Way(None, 'Basic realm="x"')]).authenticate(request()))
    assert isinstance(error, BadRequest)
    answer = error_response(error)
    assert answer.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert b'\r\nWWW-Authenticate: Basic realm="x"\r\n' in answer
    assert b"\r\nRetry-After: 5\r\n" in error_response(Unavailable("auth_busy", "Busy."))


def test_subprotocols_that_carry_tokens_are_none() -> None:
    chain = Chain([Way(None, prefix="bearer."), Way(None), Way(None, prefix="token-")])
    assert chain.offered(("bearer.abc", "chat", "token-1", "bearer", "v2")) == ("chat", "bearer", "v2")
    assert Chain([Way(None)]).offered(("bearer.abc",)) == ("bearer.abc",)


def test_an_identity_is_frozen_and_shows_no_claim() -> None:
    claims: dict[str, Any] = {"email": "ada@example.com"}
    identity = Identity("ada", "jwt:staff", claims, 5.0)
    claims["email"] = "eve@example.com"
    assert identity.claims["email"] == "ada@example.com"
    with pytest.raises(TypeError):
        identity.claims["email"] = ""  # type: ignore[index]
    assert "example.com" not in f"{identity!r} {identity}"
    assert str(identity) == "ada (jwt:staff)"
    assert identity == Identity("ada", "jwt:staff", {"email": "ada@example.com"}, 5.0)
    assert len({identity, Identity("ada", "jwt:staff")}) == 2


def test_a_request_shows_no_credential() -> None:
    asked = request("Authorization: Basic c2VjcmV0", "Cookie: token=secret", target="/c?token=secret", subprotocols=("bearer.secret",))
    assert "secret" not in repr(asked)
    assert "c2VjcmV0" not in repr(asked)


def test_query_and_cookies_of_a_request() -> None:
    asked = request("Cookie: a=1; b=; a=2", target="/c?t=1&u=&t=%32&" + "&".join(["x=y"] * 2000) + "&late=1")
    assert asked.query("t") == ["1", "2"]
    assert asked.query("u") == asked.query("late") == asked.query("none") == request().query("t") == []
    assert (asked.cookie("a"), asked.cookie("b"), asked.cookie("c")) == ("1", None, None)


@given(st.text(max_size=300) | st.integers() | st.booleans() | st.none() | st.floats() | st.lists(st.text()))
def test_a_name_fits_in_one_line(value: object) -> None:
    name = clean_name(value)
    if name is not None:
        assert name == str(value)
        assert 0 < len(name) <= 255
        assert len(name.splitlines()) == 1 and name.strip() == name
