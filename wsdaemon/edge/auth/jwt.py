"""The kind jwt: a signed token (RFC 7519), checked as RFC 8725 asks. PyJWT does the cryptography, and nothing else.

The settings and the key decide which algorithm a token must have; a token with any other one is refused, `none` among them. Headers that
bring or name a key of their own (jwk, jku, x5c, x5u) are ignored.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping

from jwt.algorithms import get_default_algorithms

from ...settings.auth import JwtAuthSettings
from .contract import Candidate, Denied, Foreign, Identity, clean_name
from .files import WatchedFile
from .keys import MAX_FILE_BYTES, Keys, read_jwks, read_key
from .sources import find_token

_ALGORITHMS = get_default_algorithms()
"""PyJWT's, by their names. The settings let only HS256, RS256 and ES256 through."""

LATEST_SECONDS = 1e12
"""Since 1970, in year 33658: the latest time that a token may name. It fits in a float and in a timer."""

MAX_DIGITS = 100
"""Digits of a whole number in a token. A longer one is read as a float: reading it exactly takes a time that grows with the square."""


class JwtAuthenticator:
    """Answers at once, because checking a signature takes only some 30 to 100 microseconds."""

    def __init__(
        self, settings: JwtAuthSettings, now: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """FileError when the key cannot be used. `now` gives seconds since 1970."""
        self.name = settings.name
        self.challenge = 'Bearer realm="wsdaemon"'
        self.subprotocol_prefixes = tuple(source.name for source in settings.token_from if source.where == "subprotocol")
        self._settings = settings
        self._now = now
        key, path, read = (
            ("key_file", settings.key_file, read_key) if settings.key_file is not None else ("jwks_file", settings.jwks_file, read_jwks)
        )
        assert path is not None
        self._keys: WatchedFile[Keys] = WatchedFile(
            path,
            lambda content: read(content, settings.algorithms),
            largest=MAX_FILE_BYTES,
            source=f"[auth:{settings.name}] {key}",
            secret=lambda keys: keys.has_secret,
            warnings=lambda keys: keys.warnings,
            clock=clock,
        )
        self.files = (self._keys,)

    def authenticate(self, request: Candidate) -> Identity | None:
        token = find_token(request, self._settings.token_from)
        if token is None:
            return None
        claims = self._claims(token)
        expires = self._check_times(claims)
        name = clean_name(claims.get(self._settings.identity_claim))
        if name is None:
            claim = self._settings.identity_claim
            problem = "has no" if claims.get(claim) is None else "has no usable name in its"
            raise self._refused("auth_claims", f"The token {problem} {claim} claim, which names the client.")
        return Identity(name, f"jwt:{self.name}", claims, expires)

    def refresh(self) -> None:
        self._keys.refresh()

    async def close(self) -> None:
        """Nothing is held."""

    def _refused(self, reason: str, detail: str) -> Denied:
        """RFC 6750 3.1."""
        return Denied(reason, headers=(("WWW-Authenticate", f'{self.challenge}, error="invalid_token"'),), detail=detail)

    def _malformed(self, detail: str) -> Denied:
        return self._refused("auth_malformed", detail)

    def _claims(self, token: str) -> Mapping[str, object]:
        """The claims of a token whose signature, issuer and audience are right. Denied otherwise.

        PyJWT would check claims of its own accord, by rules that are its own: a `sub` or `jti` that is a number, for one, is refused. So it
        gets the signature alone, and each refusal here names its reason.
        """
        settings = self._settings
        signed, _, signature = token.rpartition(".")
        header, payload = (self._decoded(part, name) for part, name in zip(signed.split("."), ("header", "payload"), strict=True))
        issuer = payload.get("iss")
        if settings.issuer and isinstance(issuer, str) and issuer != settings.issuer:
            raise Foreign("auth_issuer", headers=self._refused("", "").headers, detail="The token is of another issuer.")
        self._check_signature(header, signed, signature)
        if settings.issuer and not isinstance(issuer, str):
            raise self._refused("auth_claims", "The token does not name its issuer, and this path needs one.")
        self._check_audience(payload)
        return payload

    def _decoded(self, part: str, name: str) -> dict[str, object]:
        """The header or the payload (RFC 7519 7.2): a JSON object in base64url without padding."""
        try:
            text = base64.b64decode(part + "=" * (-len(part) % 4), b"-_", validate=True).decode("utf-8")
            value = json.loads(text, parse_int=_read_digits)
        except (ValueError, RecursionError):  # binascii.Error and UnicodeDecodeError are ValueErrors
            raise self._malformed(f"The token's {name} is not JSON in base64url.") from None
        if not isinstance(value, dict):
            raise self._malformed(f"The token's {name} is not a JSON object.")
        return value

    def _check_signature(self, header: Mapping[str, object], signed: str, signature: str) -> None:
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._settings.algorithms:
            raise self._refused("auth_algorithm", "The token is signed with an algorithm that is not accepted here.")
        if "crit" in header or header.get("b64", True) is not True:
            raise self._malformed("The token has extensions that are not understood here.")
        if kid is not None and not isinstance(kid, str):
            raise self._malformed("The token's kid is not a string.")
        key = self._keys.get().find(algorithm, kid)
        if key is None:
            raise Foreign(
                "auth_key", headers=self._refused("", "").headers, detail="The token is signed with a key that is not known here."
            )
        try:
            raw = base64.b64decode(signature + "=" * (-len(signature) % 4), b"-_", validate=True)
        except ValueError:
            raise self._malformed("The token's signature is not base64url.") from None
        if not _ALGORITHMS[algorithm].verify(signed.encode("ascii"), key.key, raw):
            raise self._refused("auth_signature", "The signature of the token is wrong.")

    def _check_audience(self, claims: Mapping[str, object]) -> None:
        """RFC 7519 4.1.3: a token for an audience is for no other, and a path with audiences refuses a token that names none."""
        wanted, audience = self._settings.audience, claims.get("aud")
        if audience is None:
            if wanted:
                raise self._refused("auth_claims", "The token does not name its audience, and this path needs one.")
            return
        named = [audience] if isinstance(audience, str) else audience
        if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
            raise self._refused("auth_audience", "The token's audience is neither text nor a list of texts.")
        if not wanted:
            raise self._refused("auth_audience", "The token is for an audience, and this path has none.")
        if not any(one in wanted for one in named):
            raise self._refused("auth_audience", "The token is for another audience.")

    def _check_times(self, claims: Mapping[str, object]) -> float | None:
        """Until when the token is good, with the leeway; None when it never ends. Denied outside of its times (RFC 7519 4.1.4 to 4.1.6)."""
        now, leeway = self._now(), self._settings.leeway
        ends, begins, issued = (self._seconds(claims, claim) for claim in ("exp", "nbf", "iat"))
        if ends is None and self._settings.require_expiry:
            raise self._refused("auth_claims", "The token has no exp claim, and this path needs one.")
        if ends is not None and now >= ends + leeway:
            raise self._refused("auth_expired", "The token has expired.")
        if any(time is not None and time > now + leeway for time in (begins, issued)):
            raise self._refused("auth_not_yet", "The token is not valid yet.")
        return None if ends is None else ends + leeway

    def _seconds(self, claims: Mapping[str, object], claim: str) -> float | None:
        if claim not in claims:
            return None
        value = claims[claim]
        if isinstance(value, bool) or not isinstance(value, int | float) or not -LATEST_SECONDS < value < LATEST_SECONDS:
            raise self._malformed(f"The token's {claim} claim is not a number of seconds.")
        return float(value)


def _read_digits(digits: str) -> float:
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)
