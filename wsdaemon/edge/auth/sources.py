"""The places of a token in a request: the Authorization header, a cookie, a query parameter, or an offered subprotocol."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...settings.auth import TokenSource
from .contract import Candidate, Denied

MAX_TOKEN_CHARACTERS = 8 * 1024
"""Characters; a longer token is refused before anything looks into it."""

_BASE64_PARTS = re.compile(r"[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]+")


def find_token(request: Candidate, sources: Sequence[TokenSource]) -> str | None:
    """The first token of the request, in the order of `sources`. It has the outer form of a signed JWT (RFC 7515 7.1), and is not checked.

    An empty cookie or query parameter counts as none, and so does an Authorization header of another scheme. Denied if the token has
    another form or is longer than 8 KiB, and if two stand in one place.
    """
    for source in sources:
        found: list[str] = _LOOK[source.where](request, source.name)
        if len(found) > 1:
            raise malformed("The request has more than one token in one place.")
        if found:
            if len(found[0]) > MAX_TOKEN_CHARACTERS:
                raise malformed("The token is too long.")
            if not _BASE64_PARTS.fullmatch(found[0]):
                raise malformed("The token is not a signed JWT.")
            return found[0]
    return None


def malformed(detail: str) -> Denied:
    return Denied("auth_malformed", detail=detail)


def authorization(request: Candidate, scheme: str) -> list[str]:
    """The credentials behind `scheme` (in lower case) in the Authorization header (RFC 9110 11.6.2); none for another scheme.

    Denied if there is more than one such header, because two readers could take different ones.
    """
    values = request.head.headers.get_all("authorization")
    if len(values) > 1:
        raise malformed("The request has more than one Authorization header.")
    found = [value.partition(" ") for value in values]
    return [credentials.strip(" ") for given, _, credentials in found if given.lower() == scheme]


def _cookie(request: Candidate, name: str) -> list[str]:
    value = request.cookie(name)
    return [] if value is None else [value]


def _subprotocol(request: Candidate, prefix: str) -> list[str]:
    return [offered.removeprefix(prefix) for offered in request.subprotocols if offered.startswith(prefix)]


_LOOK = {
    "header": lambda request, name: authorization(request, "bearer"),
    "cookie": _cookie,
    "query": lambda request, name: request.query(name),
    "subprotocol": _subprotocol,
}
