"""The kind jwt: a signed token (RFC 7519), checked as RFC 8725 asks. PyJWT does the cryptography.

The settings and the key say which algorithm a token must have; a token that says otherwise is refused, `none` among them. Headers that
bring or name a key of their own (jwk, jku, x5c, x5u) are never looked at.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import jwt

from ...settings.auth import JwtAuthSettings
from .contract import Candidate, Denied, Foreign, Identity, clean_name
from .files import WatchedFile
from .keys import LARGEST_FILE, Keys, read_jwks, read_key
from .sources import find_token

LATEST = 1e12
"""Seconds since 1970 that a time in a token may have at most, in year 33658: it fits in a float and in a timer."""

_BROKEN = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)
"""What PyJWT may raise for a token that is not well-formed."""

# The times are looked at here: with our clock, and as numbers alone (RFC 7519 2).
_OPTIONS: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}


class JwtAuthenticator:
    """Everything happens at once: checking a signature takes some 30 to 100 microseconds."""

    def __init__(
        self, settings: JwtAuthSettings, now: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """FileError when the key cannot be used. `now` gives seconds since 1970."""
        self.name = settings.name
        self.challenge = 'Bearer realm="wsdaemon"'
        self.subprotocol_prefixes = tuple(source.name for source in settings.token_from if source.where == "subprotocol")
        self._settings = settings
        self._now = now
        path, read = (settings.key_file, read_key) if settings.key_file is not None else (settings.jwks_file, read_jwks)
        assert path is not None
        self._keys: WatchedFile[Keys] = WatchedFile(
            path, lambda content: read(content, settings.algorithms), largest=LARGEST_FILE, secret=lambda keys: keys.has_secret, clock=clock
        )

    def authenticate(self, request: Candidate) -> Identity | None:
        token = find_token(request, self._settings.token_from)
        if token is None:
            return None
        claims = self._claims(token)
        expires = self._check_times(claims)
        name = clean_name(claims.get(self._settings.identity_claim))
        if name is None:
            raise self._refused("auth_claims", "The token does not say who it is for.")
        return Identity(name, f"jwt:{self.name}", claims, expires)

    def refresh(self) -> None:
        self._keys.refresh()

    async def close(self) -> None:
        """Nothing is held."""

    def _refused(self, reason: str, detail: str) -> Denied:
        """RFC 6750 3.1."""
        return Denied(reason, headers=(("WWW-Authenticate", f'{self.challenge}, error="invalid_token"'),), detail=detail)

    def _claims(self, token: str) -> Mapping[str, object]:
        """The claims of a token whose signature, issuer and audience are right. Denied."""
        settings = self._settings
        try:
            header = jwt.get_unverified_header(token)
            issuer = self._claimed_issuer(token) if settings.issuer else None
        except _BROKEN:
            raise self._refused("auth_malformed", "The token is not a signed JWT.") from None
        if issuer is not None and issuer != settings.issuer:
            raise Foreign("auth_issuer", headers=self._refused("", "").headers, detail="The token is of another issuer.")
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in settings.algorithms:
            raise self._refused("auth_algorithm", "The token is signed with an algorithm that is not accepted here.")
        if "crit" in header:
            raise self._refused("auth_malformed", "The token has extensions that are not understood here.")
        key = self._keys.get().find(algorithm, kid)
        if key is None:
            raise Foreign(
                "auth_key", headers=self._refused("", "").headers, detail="The token is signed with a key that is not known here."
            )
        return self._verified(token, algorithm, key.key)

    @staticmethod
    def _claimed_issuer(token: str) -> str | None:
        """Who issued the token, as it says itself: enough to see that it is not ours, and for nothing else."""
        issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
        return issuer if isinstance(issuer, str) else None

    def _verified(self, token: str, algorithm: str, key: Any) -> Mapping[str, object]:
        settings = self._settings
        try:
            return cast(
                Mapping[str, object],
                jwt.decode(
                    token,
                    key,
                    algorithms=[algorithm],
                    audience=settings.audience or None,
                    issuer=settings.issuer or None,
                    options=_OPTIONS,
                ),
            )
        except jwt.InvalidSignatureError:
            raise self._refused("auth_signature", "The signature of the token is wrong.") from None
        except jwt.InvalidAudienceError:
            raise self._refused("auth_audience", "The token is for another audience.") from None
        except (jwt.MissingRequiredClaimError, jwt.InvalidIssuerError):
            raise self._refused("auth_claims", "The token lacks a claim that is needed here, or has another one.") from None
        except _BROKEN:
            raise self._refused("auth_malformed", "The token is not a signed JWT.") from None

    def _check_times(self, claims: Mapping[str, object]) -> float | None:
        """Until when the token is good, with the leeway; None when it never ends. Denied outside of its times (RFC 7519 4.1.4 to 4.1.6)."""
        now, leeway = self._now(), self._settings.leeway
        ends, begins, issued = (self._seconds(claims, claim) for claim in ("exp", "nbf", "iat"))
        if ends is None and self._settings.require_expiry:
            raise self._refused("auth_claims", "The token does not say when it ends.")
        if ends is not None and now >= ends + leeway:
            raise self._refused("auth_expired", "The token has expired.")
        if any(time is not None and time > now + leeway for time in (begins, issued)):
            raise self._refused("auth_not_yet", "The token is not valid yet.")
        return None if ends is None else ends + leeway

    def _seconds(self, claims: Mapping[str, object], claim: str) -> float | None:
        if claim not in claims:
            return None
        value = claims[claim]
        if isinstance(value, bool) or not isinstance(value, int | float) or not -LATEST < value < LATEST:
            raise self._refused("auth_malformed", "A time in the token is not a number of seconds.")
        return float(value)
