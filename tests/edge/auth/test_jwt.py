"""edge/auth/jwt.py and sources.py: signed tokens, with real keys. The keys themselves have their tests in test_keys.py."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from tests.support.auth import EC_KEY, NOW, OTHER_RSA_KEY, RSA_KEY, compared, denied, logged, public_pem, request, write
from tests.support.jwt import ALL, SECRET, ask, hand_made, jwk, refused, token, way
from wsdaemon.edge.auth.contract import Denied, Foreign
from wsdaemon.edge.auth.jwt import JwtAuthenticator
from wsdaemon.edge.auth.keys import read_key
from wsdaemon.edge.auth.sources import MAX_TOKEN_CHARACTERS, find_token
from wsdaemon.settings.auth import TokenSource


@pytest.mark.parametrize("algorithm", ALL)
def test_a_good_token(tmp_path: Path, algorithm: str) -> None:
    identity = ask(way(tmp_path, algorithm), token(algorithm, role="admin"))
    assert identity is not None
    assert (identity.name, identity.method, identity.expires) == ("ada", "jwt:way", NOW + 60 + 30)
    assert dict(identity.claims) == {"sub": "ada", "exp": NOW + 60, "role": "admin"}


@pytest.mark.parametrize("algorithm", ALL)
def test_a_signature_by_another_key(tmp_path: Path, algorithm: str) -> None:
    other = {"HS256": b"x" * 32, "RS256": OTHER_RSA_KEY, "ES256": ec.generate_private_key(ec.SECP256R1())}[algorithm]
    assert refused(way(tmp_path, algorithm), token(algorithm, other)) == "auth_signature"


def test_changed_claims(tmp_path: Path) -> None:
    header, _, signature = token().split(".")
    forged = base64.urlsafe_b64encode(json.dumps({"sub": "root", "exp": NOW + 60}).encode()).rstrip(b"=").decode()
    assert refused(way(tmp_path), f"{header}.{forged}.{signature}") == "auth_signature"


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE"])
def test_none_is_no_algorithm(tmp_path: Path, name: str) -> None:
    text = hand_made({"alg": name}, {"sub": "ada", "exp": NOW + 60})
    head, payload, _ = text.split(".")
    assert refused(way(tmp_path), text) == "auth_algorithm"
    assert refused(way(tmp_path), f"{head}.{payload}.") == "auth_malformed"


@pytest.mark.parametrize("key", [RSA_KEY, EC_KEY])
def test_a_public_key_is_no_secret(tmp_path: Path, key: Any) -> None:
    """The token says HS256 and is signed with what everybody can read."""
    text = hand_made({"alg": "HS256"}, {"sub": "ada", "exp": NOW + 60}, public_pem(key))
    algorithm = "RS256" if key is RSA_KEY else "ES256"
    assert refused(way(tmp_path, algorithm), text) == "auth_algorithm"
    assert refused(way(tmp_path, algorithm, algorithms=", ".join(ALL)), text) == "auth_key"


def test_an_algorithm_that_is_not_listed(tmp_path: Path) -> None:
    assert refused(way(tmp_path), token("ES256")) == "auth_algorithm"
    assert refused(way(tmp_path), pyjwt.encode({"sub": "ada", "exp": NOW + 60}, RSA_KEY, "RS512")) == "auth_algorithm"
    assert refused(way(tmp_path), pyjwt.encode({"sub": "ada", "exp": NOW + 60}, RSA_KEY, "PS256")) == "auth_algorithm"


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c"])
def test_a_key_out_of_the_token_is_not_looked_at(tmp_path: Path, name: str) -> None:
    value: Any = {"jwk": jwk(OTHER_RSA_KEY.public_key()), "x5c": ["AAAA"]}.get(name, "https://evil.example/keys.json")
    assert refused(way(tmp_path), token(key=OTHER_RSA_KEY, headers={name: value})) == "auth_signature"


def test_extensions_that_are_not_understood(tmp_path: Path) -> None:
    for crit in (["x"], ["b64"], [], "x"):
        text = hand_made({"alg": "HS256", "crit": crit, "x": 1}, {"sub": "ada", "exp": NOW + 60})
        assert refused(way(tmp_path, "HS256"), text) == "auth_malformed"
    detached = hand_made({"alg": "HS256", "b64": False, "crit": ["b64"]}, {"sub": "ada", "exp": NOW + 60})
    assert refused(way(tmp_path, "HS256"), detached) == "auth_malformed"


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": NOW - 29.9}, None),
        ({"exp": NOW - 30}, "auth_expired"),
        ({"exp": NOW - 3600}, "auth_expired"),
        ({"exp": -1}, "auth_expired"),
        ({"exp": ...}, "auth_claims"),
        ({"nbf": NOW + 30}, None),
        ({"nbf": NOW + 30.1}, "auth_not_yet"),
        ({"iat": NOW + 30}, None),
        ({"iat": NOW + 30.1}, "auth_not_yet"),
        ({"iat": NOW - 10**6, "nbf": NOW - 10**6}, None),
    ],
)
def test_times_and_leeway(tmp_path: Path, claims: dict[str, Any], reason: str | None) -> None:
    authenticator = way(tmp_path, leeway="30s")
    if reason is None:
        assert ask(authenticator, token(**claims)) is not None
    else:
        assert refused(authenticator, token(**claims)) == reason


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", [b"true", b'"1800000060"', b"null", b"[]", b"{}", b"1e400", b"-Infinity", b"NaN", b"9" * 400, b"1e13"])
def test_times_that_are_no_numbers_of_seconds(tmp_path: Path, claim: str, value: bytes) -> None:
    payload = b'{"sub": "ada", %s"%s": %s}' % (b'"exp": 1800000060, ' if claim != "exp" else b"", claim.encode(), value)
    assert refused(way(tmp_path, "HS256"), hand_made({"alg": "HS256"}, payload)) == "auth_malformed"


def test_a_token_that_never_ends(tmp_path: Path) -> None:
    identity = ask(way(tmp_path, require_expiry=False), token(exp=...))
    assert identity is not None and identity.expires is None


def test_issuer(tmp_path: Path) -> None:
    authenticator = way(tmp_path, issuer="https://issuer.example")
    assert ask(authenticator, token(iss="https://issuer.example")) is not None
    assert refused(authenticator, token()) == "auth_claims"
    with pytest.raises(Foreign) as caught:
        ask(authenticator, token(iss="https://other.example"))
    assert caught.value.reason == "auth_issuer"
    assert caught.value.headers == (("WWW-Authenticate", 'Bearer realm="wsdaemon", error="invalid_token"'),)
    for strange in (5, ["https://issuer.example"], None):
        assert refused(way(tmp_path, "HS256", issuer="a"), hand_made({"alg": "HS256"}, {"sub": "a", "exp": NOW + 9, "iss": strange})) in (
            "auth_claims",
            "auth_malformed",
        )


def test_audience(tmp_path: Path) -> None:
    authenticator = way(tmp_path, audience="chat, games")
    assert ask(authenticator, token(aud="games")) is not None
    assert ask(authenticator, token(aud=["other", "chat"])) is not None
    assert refused(authenticator, token(aud="other")) == "auth_audience"
    assert refused(authenticator, token()) == "auth_claims"
    assert refused(way(tmp_path), token(aud="chat")) == "auth_audience"
    assert (
        refused(way(tmp_path, "HS256", audience="a"), hand_made({"alg": "HS256"}, {"exp": NOW + 9, "sub": "a", "aud": [5]}))
        == "auth_audience"
    )


@pytest.mark.parametrize("claims", [{"sub": 7}, {"sub": 7, "email": "ada"}, {"jti": 7}, {"jti": ["x"]}, {"sub": None, "email": "ada"}])
def test_claims_that_are_not_asked_for_may_hold_anything(tmp_path: Path, claims: dict[str, Any]) -> None:
    claim = "email" if "email" in claims else "sub"
    identity = ask(way(tmp_path, "HS256", identity_claim=claim), hand_made({"alg": "HS256"}, {"sub": "ada", "exp": NOW + 9, **claims}))
    assert identity is not None
    assert identity.name == str(claims.get(claim, "ada"))


@pytest.mark.parametrize(
    ("header", "payload", "detail"),
    [
        ({"alg": "HS256"}, b"[1]", "The token's payload is not a JSON object."),
        ({"alg": "HS256"}, b"\xff", "The token's payload is not JSON in base64url."),
        (b"{", {"sub": "a"}, "The token's header is not JSON in base64url."),
        ({"alg": "HS256", "kid": 5}, {"sub": "a"}, "The token's kid is not a string."),
        ({"alg": "HS256", "crit": ["x"]}, {"sub": "a"}, "The token has extensions that are not understood here."),
        ({"alg": "HS256", "b64": False}, {"sub": "a"}, "The token has extensions that are not understood here."),
        ({"alg": "RS256"}, {"sub": "a"}, "The token is signed with an algorithm that is not accepted here."),
        ({"alg": ["HS256"]}, {"sub": "a"}, "The token is signed with an algorithm that is not accepted here."),
        ({"alg": "HS256"}, {"sub": "a", "iss": 5}, "The token does not name its issuer, and this path needs one."),
        ({"alg": "HS256"}, {"sub": "a", "iss": "i"}, "The token does not name its audience, and this path needs one."),
        ({"alg": "HS256"}, {"sub": "a", "iss": "i", "aud": {}}, "The token's audience is neither text nor a list of texts."),
        ({"alg": "HS256"}, {"sub": "a", "iss": "i", "aud": "b"}, "The token is for another audience."),
        ({"alg": "HS256"}, {"sub": "a", "iss": "i", "aud": "a"}, "The token has no exp claim, and this path needs one."),
        ({"alg": "HS256"}, {"sub": "a", "iss": "i", "aud": "a", "exp": "x"}, "The token's exp claim is not a number of seconds."),
        ({"alg": "HS256"}, {"iss": "i", "aud": "a", "exp": NOW + 9}, "The token has no sub claim, which names the client."),
        (
            {"alg": "HS256"},
            {"sub": [], "iss": "i", "aud": "a", "exp": NOW + 9},
            "The token has no usable name in its sub claim, which names the client.",
        ),
    ],
)  # fmt: skip
def test_each_refusal_tells_its_true_reason(tmp_path: Path, header: Any, payload: Any, detail: str) -> None:
    authenticator = way(tmp_path, "HS256", issuer="i", audience="a")
    assert denied(lambda: ask(authenticator, hand_made(header, payload))).detail == detail


def test_the_identity(tmp_path: Path) -> None:
    authenticator = way(tmp_path, identity_claim="email")
    identity = ask(authenticator, token(email="ada@example.com"))
    assert identity is not None and identity.name == "ada@example.com"
    number = ask(way(tmp_path, identity_claim="user"), token(user=7))
    assert number is not None and number.name == "7"
    for bad in ("", "a\nb", "x" * 256, 1.5, True, None, ["ada"], ...):
        assert refused(authenticator, token(email=bad)) == "auth_claims"


# -- nothing is told


def test_signatures_are_compared_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparisons = compared(monkeypatch)
    authenticator = way(tmp_path, "HS256")
    assert ask(authenticator, token("HS256")) is not None
    assert refused(authenticator, token("HS256", b"x" * 32)) == "auth_signature"
    assert len(comparisons) == 2


def test_no_secret_is_shown_or_logged(tmp_path: Path) -> None:
    good, bad = token("HS256", email="ada@example.com"), token("HS256", b"x" * 32)
    with logged() as lines:
        authenticator = way(tmp_path, "HS256")
        identity = ask(authenticator, good)
        refused(authenticator, bad)
        write(tmp_path / "key", "0" * 31)
        authenticator.refresh()
    shown = " ".join([*lines, repr(identity), str(identity), repr(authenticator), repr(vars(authenticator)), repr(read_key(SECRET, ALL))])
    for secret in (SECRET.decode(), "0" * 31, good, bad, good.split(".")[2], "ada@example.com"):
        assert secret not in shown


# -- where a token stands


def test_every_place(tmp_path: Path) -> None:
    text = token()
    authenticator = way(tmp_path, token_from="header, cookie:session, query:access_token, subprotocol:bearer.")
    places = [
        request(f"Authorization: bearer {text}"),
        request(f"Authorization: Bearer   {text}"),
        request(f'Cookie: a=b; session="{text}"'),
        request(target=f"/chat?x=1&access_token={text}"),
        request(subprotocols=("chat", f"bearer.{text}")),
        request("Authorization: Basic abc", "Cookie: session=", target=f"/chat?access_token={text}"),
    ]
    for place in places:
        assert authenticator.authenticate(place) is not None
    assert authenticator.subprotocol_prefixes == ("bearer.",)


def test_only_the_listed_places(tmp_path: Path) -> None:
    text = token()
    authenticator = way(tmp_path)
    assert authenticator.subprotocol_prefixes == ()
    assert authenticator.authenticate(request(f"Cookie: token={text}", target=f"/?token={text}", subprotocols=(f"bearer.{text}",))) is None


def test_the_first_place_decides(tmp_path: Path) -> None:
    authenticator = way(tmp_path, token_from="header, query:token")
    good, bad = token(), token(sub="eve", exp=NOW - 60)
    identity = authenticator.authenticate(request(f"Authorization: Bearer {good}", target=f"/?token={bad}"))
    assert identity is not None and identity.name == "ada"
    assert (
        denied(lambda: authenticator.authenticate(request(f"Authorization: Bearer {bad}", target=f"/?token={good}"))).reason
        == "auth_expired"
    )


@pytest.mark.parametrize(
    "asked",
    [
        partial(request, "Authorization: Bearer a.b.c", "Authorization: Bearer a.b.c"),
        partial(request, "Authorization: Bearer a.b.c", "Authorization: Basic a"),
        partial(request, "Authorization: Bearer"),
        partial(request, "Authorization: Bearer a.b"),
        partial(request, "Authorization: Bearer a.b.c.d.e"),
        partial(request, "Authorization: Bearer a.b.c d"),
        partial(request, "Authorization: Bearer a.b.\xe9"),
        partial(request, "Authorization: Bearer " + "a" * MAX_TOKEN_CHARACTERS + ".b.c"),
        partial(request, target="/?token=a.b.c&token=a.b.c"),
        partial(request, target="/?token=nonsense"),
        partial(request, subprotocols=("bearer.a.b.c", "bearer.d.e.f")),
        partial(request, subprotocols=("bearer.",)),
        partial(request, subprotocols=("bearer.x",)),
        partial(request, "Cookie: token=x"),
    ],
)
def test_malformed(asked: Callable[[], Any]) -> None:
    sources = [TokenSource("header"), TokenSource("query", "token"), TokenSource("subprotocol", "bearer."), TokenSource("cookie", "token")]
    with pytest.raises(Denied) as caught:
        find_token(asked(), sources)
    assert (caught.value.status, caught.value.reason) == (401, "auth_malformed")


parts = st.text("abcABC019-_", min_size=1, max_size=20)
tokens = st.tuples(parts, parts, parts).map(".".join)


@given(tokens, st.sampled_from(["header", "cookie", "query", "subprotocol"]))
def test_a_token_comes_out_as_it_was_sent(text: str, where: Any) -> None:
    source = TokenSource(where, {"header": "", "subprotocol": "p."}.get(where, "t"))
    asked = {
        "header": lambda: request(f"Authorization: Bearer {text}"),
        "cookie": lambda: request(f"Cookie: x=y; t={text}"),
        "query": lambda: request(target=f"/?t={text}"),
        "subprotocol": lambda: request(subprotocols=("chat", f"p.{text}")),
    }[where]()
    assert find_token(asked, [source]) == text
    others: list[Any] = ["header", "cookie", "query", "subprotocol"]
    assert find_token(asked, [TokenSource(other, "zz") for other in others if other != where]) is None


@pytest.fixture(scope="module")
def secret_way(tmp_path_factory: pytest.TempPathFactory) -> JwtAuthenticator:
    return way(tmp_path_factory.mktemp("auth"), "HS256", issuer="i", audience="a")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64"]), json_values | st.just("HS256")) | json_values,
    st.dictionaries(st.sampled_from(["sub", "exp", "nbf", "iat", "iss", "aud", "jti"]), json_values) | json_values,
)
def test_whatever_is_signed_is_taken_or_refused(secret_way: JwtAuthenticator, header: Any, payload: Any) -> None:
    try:
        identity = ask(secret_way, hand_made(header, payload))
    except Denied:
        pass
    else:
        assert identity is not None and isinstance(payload, dict) and payload["iss"] == "i"


@given(tokens | st.binary(max_size=80).map(lambda raw: base64.urlsafe_b64encode(raw).decode().replace("=", ".")))
def test_nonsense_is_refused(secret_way: JwtAuthenticator, text: str) -> None:
    with pytest.raises(Denied):
        ask(secret_way, text)


def test_a_deep_token(secret_way: JwtAuthenticator) -> None:
    for deep in (b"[" * 2500, b'{"a":' * 1000):
        assert refused(secret_way, hand_made(deep, {"sub": "a"})) == "auth_malformed"
        assert refused(secret_way, hand_made({"alg": "HS256"}, deep)) == "auth_malformed"
