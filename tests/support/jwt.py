"""Shared by the tests of signed tokens: tokens and keys, good and bad, and an authenticator that reads them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import jwt as pyjwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.support.auth import EC_KEY, NOW, OTHER_RSA_KEY, RSA_KEY, Clock, denied, public_pem, request, settings_with, write
from wsdaemon.edge.auth.contract import Identity
from wsdaemon.edge.auth.jwt import JwtAuthenticator

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
