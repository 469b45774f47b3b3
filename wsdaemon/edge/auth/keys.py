"""The keys that tokens are checked with: a PEM file, a secret, or a JWK Set (RFC 7517).

Each key works with exactly one algorithm, which follows from what the key is and never from a token: a public key can then never be taken
for the secret of an HMAC.
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

from .files import FileError

LARGEST_FILE = 1024 * 1024

SHORTEST_SECRET = 32
"""Bytes of an HS256 secret (RFC 7518 3.2)."""
SHORTEST_RSA = 2048
"""Bits of an RS256 key (RFC 7518 3.3)."""


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
    """The key of a key_file: a public key or a certificate as PEM, or the secret itself, without the line's end. FileError."""
    if b"-----BEGIN" not in content:
        secret = content.removesuffix(b"\n").removesuffix(b"\r")
        if len(secret) < SHORTEST_SECRET:
            raise FileError(f"expected a public key as PEM, or a secret of at least {SHORTEST_SECRET} bytes")
        return Keys((_checked(VerifyingKey("HS256", secret), allowed),))
    if b"PRIVATE KEY-----" in content:
        raise FileError("this is a private key; expected the public one: who checks tokens must not be able to make them")
    try:
        if b"-----BEGIN CERTIFICATE" in content:
            key: object = x509.load_pem_x509_certificate(content).public_key()
        else:
            key = load_pem_public_key(content)
    except Exception:
        raise FileError("the PEM cannot be read; expected a public key or a certificate") from None
    return Keys((_checked(VerifyingKey(_algorithm_of(key), key), allowed),))


def read_jwks(content: bytes, allowed: Sequence[str]) -> Keys:
    """The keys of a JWK Set that can be used for one of the algorithms. Others are left out; FileError when none is left."""
    try:
        members = json.loads(content)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise FileError('expected a JWK Set: a JSON object with a list "keys"') from None
    if not isinstance(members, list):
        raise FileError('expected a JWK Set: a JSON object with a list "keys"')
    keys = [key for number, member in enumerate(members, 1) if (key := _from_jwk(number, member, allowed)) is not None]
    if not keys:
        raise FileError(f"no key in it is for {' or '.join(allowed)}")
    names = [(key.algorithm, key.kid) for key in keys]
    if len(set(names)) != len(names):
        raise FileError("two keys have the same kid, or none of two has one")
    return Keys(tuple(keys))


def _from_jwk(number: int, member: object, allowed: Sequence[str]) -> VerifyingKey | None:
    """One member of a JWK Set; None when it is for something else (RFC 7517 5: what is not understood is ignored)."""
    if not isinstance(member, dict):
        raise FileError(f"key {number} is not a JSON object")
    algorithm = {"oct": "HS256", "RSA": "RS256", "EC": "ES256"}.get(str(member.get("kty")))
    operations = member.get("key_ops")
    other_use = member.get("use", "sig") != "sig" or (isinstance(operations, list) and "verify" not in operations)
    other_curve = algorithm == "ES256" and member.get("crv") != "P-256"
    if algorithm is None or algorithm not in allowed or member.get("alg", algorithm) != algorithm or other_use or other_curve:
        return None
    if algorithm != "HS256" and "d" in member:
        raise FileError(f"key {number} is a private key; expected public ones: who checks tokens must not be able to make them")
    kid = member.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise FileError(f"key {number}: its kid is not a string")
    try:
        key = jwt.PyJWK(member, algorithm=algorithm).key
    except Exception:
        raise FileError(f"key {number} cannot be read") from None
    if algorithm == "HS256":
        if len(key) < SHORTEST_SECRET:
            raise FileError(f"key {number}: expected at least {SHORTEST_SECRET} bytes")
    else:
        try:
            _algorithm_of(key)
        except FileError as error:
            raise FileError(f"key {number}: {error}") from None
    return VerifyingKey(algorithm, key, kid)


def _algorithm_of(key: object) -> str:
    """The one algorithm that a public key is for. FileError."""
    if isinstance(key, RSAPublicKey):
        if key.key_size < SHORTEST_RSA:
            raise FileError(f"the RSA key has {key.key_size} bits; expected at least {SHORTEST_RSA}")
        return "RS256"
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return "ES256"
    raise FileError("expected an RSA key, or an EC key on P-256")


def _checked(key: VerifyingKey, allowed: Sequence[str]) -> VerifyingKey:
    if key.algorithm not in allowed:
        raise FileError(f"the key in it is for {key.algorithm}; algorithms has {', '.join(allowed)}")
    return key
