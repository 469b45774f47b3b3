"""edge/auth/jwt.py, keys.py and sources.py: signed tokens, with real keys."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt as pyjwt
import pytest
from auth_helpers import (
    EC_KEY,
    NOW,
    OTHER_RSA_KEY,
    RSA_KEY,
    Clock,
    compared,
    denied,
    logged,
    private_pem,
    public_pem,
    request,
    settings_with,
    write,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from wsdaemon.edge.auth.contract import Denied, Foreign, Identity
from wsdaemon.edge.auth.files import FileError
from wsdaemon.edge.auth.jwt import JwtAuthenticator
from wsdaemon.edge.auth.keys import read_jwks, read_key
from wsdaemon.edge.auth.sources import LARGEST_TOKEN, find_token
from wsdaemon.settings.auth import TokenSource

SECRET = b"0123456789abcdef0123456789abcdef"
ALL = ("HS256", "RS256", "ES256")
KEYS: dict[str, Any] = {"HS256": SECRET, "RS256": RSA_KEY, "ES256": EC_KEY}
FILES = {"HS256": SECRET + b"\n", "RS256": public_pem(RSA_KEY), "ES256": public_pem(EC_KEY)}


def token(algorithm: str = "RS256", key: Any = None, kid: str | None = None, headers: dict[str, Any] | None = None, **claims: Any) -> str:
    claims = {"sub": "ada", "exp": NOW + 60, **claims}
    named = {**({"kid": kid} if kid is not None else {}), **(headers or {})}
    return pyjwt.encode({k: v for k, v in claims.items() if v is not ...}, KEYS[algorithm] if key is None else key, algorithm, named)


def hand_made(header: Any, payload: Any, key: bytes = SECRET) -> str:
    """A token signed with HMAC, whatever it says: what an attacker, or a bad issuer, can make."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(hmac.digest(key, signed, hashlib.sha256)).rstrip(b"=")
    return (signed + b"." + signature).decode()


def jwk(key: Any, **members: Any) -> dict[str, Any]:
    if isinstance(key, bytes):
        made: dict[str, Any] = {"kty": "oct", "k": base64.urlsafe_b64encode(key).rstrip(b"=").decode()}
    else:
        algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey) else ECAlgorithm
        made = json.loads(algorithm.to_jwk(key))
        made.pop("key_ops", None)
    return {**made, **members}


JWKS = {
    "keys": [
        jwk(RSA_KEY.public_key(), kid="r1", use="sig", alg="RS256"),
        jwk(OTHER_RSA_KEY.public_key(), kid="r2", key_ops=["verify"]),
        jwk(EC_KEY.public_key(), kid="e1"),
    ]
}


def way(directory: Path, algorithm: str = "RS256", file: bytes | None = None, **keys: Any) -> JwtAuthenticator:
    write(directory / "key", FILES[algorithm] if file is None else file)
    settings = settings_with("jwt", directory, **{"algorithms": algorithm, "key_file": "key", **keys})
    return JwtAuthenticator(settings, Clock(), Clock())


def jwks_way(directory: Path, keys: Any = JWKS, **more: Any) -> JwtAuthenticator:
    return way(directory, file=json.dumps(keys).encode(), **{"algorithms": "RS256, ES256", "key_file": None, "jwks_file": "key", **more})


def ask(authenticator: JwtAuthenticator, text: str) -> Identity | None:
    return authenticator.authenticate(request(f"Authorization: Bearer {text}"))


def refused(authenticator: JwtAuthenticator, text: str) -> str:
    """Why the token is refused. It says so without showing it."""
    error = denied(lambda: ask(authenticator, text))
    assert error.status == 401
    assert text not in repr(error) + str(error) + error.detail
    return error.reason


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


def test_the_identity(tmp_path: Path) -> None:
    authenticator = way(tmp_path, identity_claim="email")
    identity = ask(authenticator, token(email="ada@example.com"))
    assert identity is not None and identity.name == "ada@example.com"
    number = ask(way(tmp_path, identity_claim="user"), token(user=7))
    assert number is not None and number.name == "7"
    for bad in ("", "a\nb", "x" * 256, 1.5, True, None, ["ada"], ...):
        assert refused(authenticator, token(email=bad)) == "auth_claims"


# -- keys


def test_a_key_set(tmp_path: Path) -> None:
    authenticator = jwks_way(tmp_path)
    assert ask(authenticator, token(kid="r1")) is not None
    assert ask(authenticator, token(key=OTHER_RSA_KEY, kid="r2")) is not None
    assert ask(authenticator, token("ES256", kid="e1")) is not None
    assert refused(authenticator, token(kid="r2")) == "auth_signature"
    assert refused(authenticator, token(kid="r3")) == "auth_key"
    assert refused(authenticator, token("ES256", kid="r1")) == "auth_key"
    assert ask(authenticator, token("ES256")) is not None, "the only key of its algorithm needs no kid"
    assert refused(authenticator, token()) == "auth_key", "two keys could be meant"


def test_new_keys_are_taken_and_bad_ones_are_not(tmp_path: Path) -> None:
    authenticator = jwks_way(tmp_path, {"keys": [jwk(RSA_KEY.public_key(), kid="r1")]})
    assert refused(authenticator, token(key=OTHER_RSA_KEY, kid="r2")) == "auth_key"
    write(tmp_path / "key", json.dumps(JWKS))
    authenticator.refresh()
    assert ask(authenticator, token(key=OTHER_RSA_KEY, kid="r2")) is not None
    with logged() as lines:
        write(tmp_path / "key", json.dumps(JWKS)[:-5])
        authenticator.refresh()
    assert len(lines) == 1 and "the old content stays in use" in lines[0]
    assert ask(authenticator, token(kid="r1")) is not None


def certificate() -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(RSA_KEY.public_key()).serial_number(1)
    signed = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(RSA_KEY, hashes.SHA256())
    return signed.public_bytes(Encoding.PEM)


def test_a_certificate_is_a_key_too(tmp_path: Path) -> None:
    assert ask(way(tmp_path, file=certificate()), token()) is not None
    assert ask(way(tmp_path), token(kid="any")) is not None, "a key_file has one key, whatever the kid"


EDWARDS = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a public key as PEM, or a secret of at least 32 bytes"),
        (b"short\n", "a secret of at least 32 bytes"),
        (private_pem(RSA_KEY), "this is a private key"),
        (b"-----BEGIN PUBLIC KEY-----\nxxxx\n-----END PUBLIC KEY-----\n", "the PEM cannot be read"),
        (b"-----BEGIN CERTIFICATE-----\nxxxx\n-----END CERTIFICATE-----\n", "the PEM cannot be read"),
        (EDWARDS, "expected an RSA key, or an EC key on P-256"),
        (public_pem(ec.generate_private_key(ec.SECP384R1())), "expected an RSA key, or an EC key on P-256"),
        (public_pem(rsa.generate_private_key(65537, 1024)), "the RSA key has 1024 bits; expected at least 2048"),
        (public_pem(EC_KEY), "the key in it is for ES256; algorithms has RS256"),
        (SECRET, "the key in it is for HS256; algorithms has RS256"),
    ],
)
def test_bad_key_files(content: bytes, message: str) -> None:
    with pytest.raises(FileError) as caught:
        read_key(content, ["RS256"])
    assert message in str(caught.value)
    assert "short" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([], "no key in it is for RS256 or HS256"),
        ([jwk(EC_KEY.public_key())], "no key in it is for RS256 or HS256"),
        ([jwk(RSA_KEY.public_key(), use="enc")], "no key in it is for"),
        ([jwk(RSA_KEY.public_key(), alg="PS256")], "no key in it is for"),
        ([jwk(RSA_KEY.public_key(), key_ops=["encrypt"])], "no key in it is for"),
        ([jwk(RSA_KEY)], "key 1 is a private key"),
        ([jwk(RSA_KEY.public_key(), kid=5)], "key 1: its kid is not a string"),
        ([jwk(RSA_KEY.public_key(), n="!")], "key 1 cannot be read"),
        ([jwk(RSA_KEY.public_key(), n=5)], "key 1 cannot be read"),
        ([jwk(b"hunter2")], "key 1: expected at least 32 bytes"),
        ([jwk(rsa.generate_private_key(65537, 1024).public_key())], "key 1: the RSA key has 1024 bits"),
        ([jwk(RSA_KEY.public_key(), kid="a"), jwk(OTHER_RSA_KEY.public_key(), kid="a")], "two keys have the same kid"),
        ([jwk(RSA_KEY.public_key()), jwk(OTHER_RSA_KEY.public_key())], "none of two has one"),
        (["key"], "key 1 is not a JSON object"),
        ("keys", "expected a JWK Set"),
    ],
)
def test_bad_key_sets(keys: Any, message: str) -> None:
    with pytest.raises(FileError) as caught:
        read_jwks(json.dumps({"keys": keys}).encode(), ["RS256", "HS256"])
    assert message in str(caught.value)
    assert base64.urlsafe_b64encode(b"hunter2").rstrip(b"=").decode() not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"5", b"\xff", b"[" * 100_000, b'{"keys": {}}'])
def test_files_that_are_no_key_sets(content: bytes) -> None:
    with pytest.raises(FileError, match="expected a JWK Set"):
        read_jwks(content, ["RS256"])


def test_only_secrets_are_warned_about(tmp_path: Path) -> None:
    write(tmp_path / "secret", SECRET, 0o644)
    write(tmp_path / "public", public_pem(RSA_KEY), 0o644)
    with logged() as lines:
        JwtAuthenticator(settings_with("jwt", tmp_path, algorithms="HS256", key_file="secret"))
        JwtAuthenticator(settings_with("jwt", tmp_path, algorithms="RS256", key_file="public"))
    assert len(lines) == 1 and "secret holds secrets and everybody may read it" in lines[0]


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
        request("Authorization: Bearer a.b.c", "Authorization: Bearer a.b.c"),
        request("Authorization: Bearer a.b.c", "Authorization: Basic a"),
        request("Authorization: Bearer"),
        request("Authorization: Bearer a.b"),
        request("Authorization: Bearer a.b.c.d.e"),
        request("Authorization: Bearer a.b.c d"),
        request("Authorization: Bearer a.b.\xe9"),
        request("Authorization: Bearer " + "a" * LARGEST_TOKEN + ".b.c"),
        request(target="/?token=a.b.c&token=a.b.c"),
        request(target="/?token=nonsense"),
        request(subprotocols=("bearer.a.b.c", "bearer.d.e.f")),
        request(subprotocols=("bearer.",)),
        request(subprotocols=("bearer.x",)),
        request("Cookie: token=x"),
    ],
)
def test_malformed(asked: Any) -> None:
    sources = [TokenSource("header"), TokenSource("query", "token"), TokenSource("subprotocol", "bearer."), TokenSource("cookie", "token")]
    with pytest.raises(Denied) as caught:
        find_token(asked, sources)
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
