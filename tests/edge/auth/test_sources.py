"""edge/auth/sources.py: where a token stands in a request."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from tests.support.auth import request
from wsdaemon.edge.auth.contract import Candidate, Denied
from wsdaemon.edge.auth.sources import MAX_TOKEN_CHARACTERS, authorization, find_token
from wsdaemon.settings.auth import TokenSource

TOKEN = "eyJ0.eyJ1.c2ln"
OTHER = "other.other.other"
EVERYWHERE = (TokenSource("header", ""), TokenSource("cookie", "sid"), TokenSource("query", "token"), TokenSource("subprotocol", "jwt."))


def refusal(asked: Candidate) -> str:
    with pytest.raises(Denied) as caught:
        find_token(asked, EVERYWHERE)
    assert (caught.value.status, caught.value.reason) == (401, "auth_malformed")
    return caught.value.detail


@pytest.mark.parametrize(
    "asked",
    [
        partial(request, f"Authorization: Bearer {TOKEN}"),
        partial(request, f"Authorization: bEARER   {TOKEN}"),
        partial(request, f"Cookie: a=b; sid={TOKEN}"),
        partial(request, target=f"/chat?token={TOKEN}&x=1"),
        partial(request, subprotocols=("chat.v1", f"jwt.{TOKEN}")),
    ],
)
def test_a_token_is_found_in_each_place(asked: Callable[[], Candidate]) -> None:
    assert find_token(asked(), EVERYWHERE) == TOKEN


def test_the_order_of_the_sources_decides() -> None:
    asked = request(f"Authorization: Bearer {TOKEN}", target=f"/chat?token={OTHER}")
    assert find_token(asked, EVERYWHERE) == TOKEN
    assert find_token(asked, EVERYWHERE[::-1]) == OTHER
    assert find_token(asked, EVERYWHERE[1:2]) is None


def test_no_token() -> None:
    for asked in (request(), request("Authorization: Basic YTpi"), request("Cookie: sid="), request(target="/chat?token=")):
        assert find_token(asked, EVERYWHERE) is None


def test_two_in_one_place_are_refused() -> None:
    two = "The request has more than one token in one place."
    assert refusal(request(target=f"/chat?token={TOKEN}&token={TOKEN}")) == two
    assert refusal(request(subprotocols=(f"jwt.{TOKEN}", f"jwt.{OTHER}"))) == two
    headers = request(f"Authorization: Bearer {TOKEN}", f"Authorization: Bearer {TOKEN}")
    assert refusal(headers) == "The request has more than one Authorization header."


@pytest.mark.parametrize("token", ["a.b", "a.b.c.d", "a.b.", "..", "a.b.c=", "a.b.c d", "é.b.c"])
def test_another_form_is_refused(token: str) -> None:
    assert refusal(request(f"Authorization: Bearer {token}")) == "The token is not a signed JWT."


def test_the_length_is_looked_at_first() -> None:
    longest = "a.b." + "c" * (MAX_TOKEN_CHARACTERS - 4)
    assert find_token(request(f"Authorization: Bearer {longest}"), EVERYWHERE) == longest
    assert refusal(request(f"Authorization: Bearer {longest}.")) == "The token is too long."


def test_a_scheme_is_compared_whole() -> None:
    assert authorization(request("Authorization: Bearerx abc"), "bearer") == []
    assert authorization(request("Authorization: Bearer"), "bearer") == [""]
