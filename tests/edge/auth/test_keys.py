"""edge/auth/keys.py: keys from files and key sets, good and bad, and which of them a token is checked with."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from tests.support.auth import EC_KEY, OTHER_RSA_KEY, RSA_KEY, logged, private_pem, public_pem, settings_with, write
from tests.support.jwt import JWKS, SECRET, ask, jwk, jwks_way, refused, token, way
from wsdaemon.edge.auth.files import FileError
from wsdaemon.edge.auth.jwt import JwtAuthenticator
from wsdaemon.edge.auth.keys import read_jwks, read_key


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
        ([jwk(RSA_KEY)], "key 1: this is a private key"),
        ([jwk(RSA_KEY.public_key(), kid=5)], "key 1: its kid is not a string"),
        ([jwk(RSA_KEY.public_key(), n="!")], "key 1: its members do not make a key"),
        ([jwk(RSA_KEY.public_key(), n=5)], "key 1: its members do not make a key"),
        ([jwk(b"hunter2")], "key 1: expected at least 32 bytes"),
        ([jwk(rsa.generate_private_key(65537, 1024).public_key())], "key 1: the RSA key has 1024 bits"),
        ([jwk(RSA_KEY, kid="new")], "key 1 (kid 'new'): this is a private key"),
        (["key"], "key 1: expected a JSON object"),
        ("keys", "expected a JWK Set"),
    ],
)
def test_bad_key_sets(keys: Any, message: str) -> None:
    with pytest.raises(FileError) as caught:
        read_jwks(json.dumps({"keys": keys}).encode(), ["RS256", "HS256"])
    assert message in str(caught.value)
    assert base64.urlsafe_b64encode(b"hunter2").rstrip(b"=").decode() not in str(caught.value)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (jwk(OTHER_RSA_KEY.public_key(), kid="bad", n="!"), "key 1 (kid 'bad'): its members do not make a key"),
        (jwk(OTHER_RSA_KEY, kid="bad"), "key 1 (kid 'bad'): this is a private key"),
        (jwk(rsa.generate_private_key(65537, 1024).public_key(), kid="bad"), "key 1 (kid 'bad'): the RSA key has 1024 bits"),
        (jwk(OTHER_RSA_KEY.public_key(), kid=5), "key 1: its kid is not a string"),
        (jwk(OTHER_RSA_KEY.public_key(), kid="x" * 1000, n="!"), f"key 1 (kid '{'x' * 100}'): "),
        (["key"], "key 1: expected a JSON object"),
    ],
)
def test_one_unusable_key_is_left_out_and_the_others_work(tmp_path: Path, bad: Any, why: str) -> None:
    with logged() as lines:
        authenticator = jwks_way(tmp_path, {"keys": [bad, jwk(RSA_KEY.public_key(), kid="r1")]})
    assert ask(authenticator, token(kid="r1")) is not None
    assert refused(authenticator, token(key=OTHER_RSA_KEY, kid="bad")) == "auth_key"
    assert len(lines) == 1 and why in lines[0] and "the key is left out" in lines[0]


@pytest.mark.parametrize(("kid", "why"), [("a", "an earlier key has this kid"), (None, "an earlier key has no kid either")])
def test_of_two_keys_with_one_kid_the_first_counts(tmp_path: Path, kid: str | None, why: str) -> None:
    named = {} if kid is None else {"kid": kid}
    with logged() as lines:
        authenticator = jwks_way(tmp_path, {"keys": [jwk(RSA_KEY.public_key(), **named), jwk(OTHER_RSA_KEY.public_key(), **named)]})
    assert ask(authenticator, token(kid=kid)) is not None
    assert refused(authenticator, token(key=OTHER_RSA_KEY, kid=kid)) == "auth_signature"
    assert len(lines) == 1 and why in lines[0]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_the_end_of_its_line_is_no_part_of_a_secret(end: bytes) -> None:
    assert read_key(SECRET + end, ["HS256"]).keys[0].key == SECRET


@pytest.mark.parametrize("content", [SECRET + b"\r\n\r\n", SECRET + b"\n" + SECRET, SECRET + b"\r" + SECRET])
def test_a_text_of_several_lines_is_no_secret(content: bytes) -> None:
    with pytest.raises(FileError, match="more than one line"):
        read_key(content, ["HS256"])


def test_a_secret_of_random_bytes_may_hold_any() -> None:
    secret = bytes(range(256))
    assert read_key(secret, ["HS256"]).keys[0].key == secret


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"])
def test_a_byte_order_mark_is_an_error_in_every_file(tmp_path: Path, mark: bytes) -> None:
    problem = "byte order mark" if mark == b"\xef\xbb\xbf" else "UTF-16"
    with pytest.raises(FileError, match=problem):
        way(tmp_path, "HS256", mark + SECRET)
    with pytest.raises(FileError, match=problem):
        way(tmp_path, "RS256", mark + public_pem(RSA_KEY))
    with pytest.raises(FileError, match=problem):
        way(tmp_path, file=mark + json.dumps(JWKS).encode(), algorithms="RS256", key_file=None, jwks_file="key")


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
    assert len(lines) == 1 and "secret holds secrets and every user of this machine may read it" in lines[0]
