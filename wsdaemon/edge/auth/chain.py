"""The authenticators of a mount: they are asked one after the other, until one recognises the client."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from ...core.failed_logins import FailedLogins
from .contract import Authenticator, Candidate, Denied, Foreign, Identity, Outcome


class Chain:
    """The authenticators of a mount, in the order of its `auth`. The first that recognises the client decides: it admits or refuses it.

    An authenticator passes the client on if it finds no credential of its kind, or one that another issuer made (Foreign).
    """

    __slots__ = ("_authenticators", "_challenges", "_failed", "_prefixes", "_required")

    def __init__(self, authenticators: Sequence[Authenticator], required: bool = True, failed: FailedLogins | None = None) -> None:
        """`required`: a client that shows no credential at all is refused. A client that shows a bad credential always is.

        `failed` logs refused credentials.
        """
        self._failed = failed
        self._authenticators = tuple(authenticators)
        self._required = required
        self._challenges = tuple(("WWW-Authenticate", each.challenge) for each in authenticators if each.challenge is not None)
        self._prefixes = tuple(prefix for each in authenticators for prefix in each.subprotocol_prefixes)

    def authenticate(self, request: Candidate) -> Outcome:
        """The client's identity; None when it has none and needs none. An awaitable of it only when an authenticator needs time.

        Raises Denied, at once or when awaited: 401 with the challenges of all authenticators that have one, 403, 429 or 503.
        """
        return self._ask(0, request, None)

    def offered(self, subprotocols: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the offered subprotocols that are subprotocols: without the entries that carry a token.

        Choose the connection's subprotocol from these, and show the app these: a token must never come back in the answer. A page offers a
        real subprotocol beside the token, because Chromium ends a connection for which none of those offered is chosen.
        """
        return tuple([name for name in subprotocols if not name.startswith(self._prefixes)]) if self._prefixes else subprotocols

    def _ask(self, start: int, request: Candidate, foreign: Foreign | None) -> Outcome:
        for index in range(start, len(self._authenticators)):
            try:
                found = self._authenticators[index].authenticate(request)
            except Foreign as error:
                foreign = foreign or error
            except Denied as error:
                raise self._refused(error, request) from None
            else:
                if isinstance(found, Identity):
                    return found
                if found is not None:
                    return self._wait(found, index + 1, request, foreign)
        if foreign is not None:
            raise self._refused(foreign, request)
        if self._required:
            raise self._complete(
                Denied("auth_required", detail="This path needs credentials, and the request has none that are known here.")
            )
        return None

    async def _wait(
        self, pending: Awaitable[Identity | None], following: int, request: Candidate, foreign: Foreign | None
    ) -> Identity | None:
        try:
            found = await pending
        except Foreign as error:
            found, foreign = None, foreign or error
        except Denied as error:
            raise self._refused(error, request) from None
        if found is not None:
            return found
        outcome = self._ask(following, request, foreign)
        return outcome if outcome is None or isinstance(outcome, Identity) else await outcome

    def _refused(self, error: Denied, request: Candidate) -> Denied:
        """The refusal of a credential, logged as a failed login if the credential is the reason."""
        if self._failed is not None and error.status in (401, 403):
            self._failed.add(request.peer.host, request.head.path, error.reason, error.user)
        return self._complete(error)

    def _complete(self, error: Denied) -> Denied:
        """A 401 needs a challenge (RFC 9110 15.5.2): the error's own, else all there are. If there is none, the answer is 403."""
        if error.status != 401 or any(name.lower() == "www-authenticate" for name, _ in error.headers):
            return error
        return Denied(error.reason, 401 if self._challenges else 403, (*error.headers, *self._challenges), error.detail)
