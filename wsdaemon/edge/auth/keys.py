"""The keys that tokens are checked with: a PEM file, a secret, or a JWK Set (RFC 7517).

Each key works with exactly one algorithm, which follows from the key and never from a token: a public key can then never be used as the
secret of an HMAC.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from ...settings.text import first_line
from .files import FileError

MAX_FILE_BYTES = 1024 * 1024

MIN_SECRET_BYTES = 32
"""Of an HS256 secret (RFC 7518 3.2)."""
MIN_RSA_BITS = 2048
"""Of an RS256 key (RFC 7518 3.3)."""
MAX_KID_CHARACTERS = 100
"""Of a kid that stands in a warning; the rest is cut."""

_PRIVATE = "this is a private key; expected the public one, because a daemon that checks tokens must not be able to make them"
_TEXT = frozenset(b"\t\r\n" + bytes(range(0x20, 0x7F)))


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """One key. Its repr does not show it."""

    algorithm: str
    key: Any = field(repr=False)
    kid: str | None = None


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one file."""

    keys: tuple[VerifyingKey, ...]
    warnings: tuple[str, ...] = ()
    """A phrase for each key of a JWK Set that was left out: which one it is, by its kid, and why."""

    def find(self, algorithm: str, kid: str | None) -> VerifyingKey | None:
        """The key for a token's alg and kid; None when there is none.

        A token without a kid fits where one key has its algorithm; a key without one fits any kid if it is the only key of the file.
        """
        fitting = [key for key in self.keys if key.algorithm == algorithm]
        if kid is not None and not (len(self.keys) == 1 and self.keys[0].kid is None):
            fitting = [key for key in fitting if key.kid == kid]
        return fitting[0] if len(fitting) == 1 else None

    @property
    def has_secret(self) -> bool:
        """Whether one of them is a secret, and not public."""
        return any(key.algorithm == "HS256" for key in self.keys)


def read_key(content: bytes, allowed: Sequence[str]) -> Keys:
    """The key of a key_file: a public key or a certificate as PEM, or the secret itself, without the end of its line. FileError."""
    if b"-----BEGIN" not in content:
        return Keys((_checked(VerifyingKey("HS256", _secret(content)), allowed),))
    if b"PRIVATE KEY-----" in content:
        raise FileError(_PRIVATE)
    try:
        if b"-----BEGIN CERTIFICATE" in content:
            key: object = x509.load_pem_x509_certificate(content).public_key()
        else:
            key = load_pem_public_key(content)
    except Exception:
        raise FileError("the PEM cannot be read; expected a public key or a certificate") from None
    return Keys((_checked(VerifyingKey(_algorithm_of(key), key), allowed),))


def _secret(content: bytes) -> bytes:
    """The secret in a key_file: any bytes, such as those of a random generator, or one line of text."""
    secret = first_line(content)
    if len(secret) < MIN_SECRET_BYTES:
        raise FileError(f"expected a public key as PEM, or a secret of at least {MIN_SECRET_BYTES} bytes")
    if (b"\n" in secret or b"\r" in secret) and _TEXT.issuperset(secret):
        raise FileError("the secret is text of more than one line; expected one line")
    return secret


def read_jwks(content: bytes, allowed: Sequence[str]) -> Keys:
    """The keys of a JWK Set that can be used for one of the `allowed` algorithms.

    Keys for other uses are left out silently (RFC 7517 5), and keys that cannot be used with a warning. FileError if none is left.
    """
    try:
        members = json.loads(content)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise FileError('expected a JWK Set: a JSON object with a list "keys"') from None
    if not isinstance(members, list):
        raise FileError('expected a JWK Set: a JSON object with a list "keys"')
    keys: dict[tuple[str, str | None], VerifyingKey] = {}
    problems: list[str] = []
    for number, member in enumerate(members, 1):
        try:
            key = _from_jwk(member, allowed)
            if key is not None and keys.setdefault((key.algorithm, key.kid), key) is not key:
                raise FileError("an earlier key has this kid" if key.kid is not None else "an earlier key has no kid either")
        except FileError as error:
            problems.append(f"{_named(number, member)}: {error}")
    if not keys:
        raise FileError(problems[0] if problems else f"no key in it is for {' or '.join(allowed)}")
    return Keys(tuple(keys.values()), tuple(f"{problem}; the key is left out" for problem in problems))


def _named(number: int, member: object) -> str:
    """How a warning calls a member of a JWK Set."""
    kid = member.get("kid") if isinstance(member, dict) else None
    return f"key {number} (kid {kid[:MAX_KID_CHARACTERS]!r})" if isinstance(kid, str) else f"key {number}"


def _from_jwk(member: object, allowed: Sequence[str]) -> VerifyingKey | None:
    """One member of a JWK Set; None for a key with another use. FileError for a key that cannot be used."""
    if not isinstance(member, dict):
        raise FileError("expected a JSON object")
    algorithm = {"oct": "HS256", "RSA": "RS256", "EC": "ES256"}.get(str(member.get("kty")))
    operations = member.get("key_ops")
    other_use = member.get("use", "sig") != "sig" or (isinstance(operations, list) and "verify" not in operations)
    other_curve = algorithm == "ES256" and member.get("crv") != "P-256"
    if algorithm is None or algorithm not in allowed or member.get("alg", algorithm) != algorithm or other_use or other_curve:
        return None
    if algorithm != "HS256" and "d" in member:
        raise FileError(_PRIVATE)
    kid = member.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise FileError("its kid is not a string")
    try:
        key = jwt.PyJWK(member, algorithm=algorithm).key
    except Exception:
        raise FileError("its members do not make a key") from None
    if algorithm == "HS256":
        if len(key) < MIN_SECRET_BYTES:
            raise FileError(f"expected at least {MIN_SECRET_BYTES} bytes")
    else:
        _algorithm_of(key)
    return VerifyingKey(algorithm, key, kid)


def _algorithm_of(key: object) -> str:
    """The one algorithm that a public key is for. FileError."""
    if isinstance(key, RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise FileError(f"the RSA key has {key.key_size} bits; expected at least {MIN_RSA_BITS}")
        return "RS256"
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return "ES256"
    raise FileError("expected an RSA key, or an EC key on P-256")


def _checked(key: VerifyingKey, allowed: Sequence[str]) -> VerifyingKey:
    if key.algorithm not in allowed:
        raise FileError(f"the key in it is for {key.algorithm}; algorithms has {', '.join(allowed)}")
    return key
