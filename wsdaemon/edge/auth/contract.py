"""What an authenticator is given, what it answers, and how it refuses."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol, TypeAlias

from ...core.identity import NO_CLAIMS, Identity
from ..candidate import Candidate
from ..request import BadRequest
from .identity import clean_name

__all__ = ["NO_CLAIMS", "Authenticator", "Candidate", "Denied", "Foreign", "Identity", "Outcome", "Unavailable", "clean_name"]


class Denied(BadRequest):
    """The client does not come in. It is a BadRequest, so whoever answers those answers this.

    `reason` is one stable word for logs and metrics; `detail` a sentence for the client. Neither they nor anything else here ever
    repeats a credential.
    """

    def __init__(self, reason: str, status: int = 401, headers: tuple[tuple[str, str], ...] = (), detail: str = "") -> None:
        super().__init__(status, reason, detail, headers)


class Foreign(Denied):
    """A credential of this kind, but from elsewhere: another authenticator of the chain may know it. When none does, it is refused."""


class Unavailable(Denied):
    """Nobody can say now who the client is: 503, to be tried again after `retry_after` seconds."""

    def __init__(self, reason: str, detail: str, retry_after: int = 5) -> None:
        super().__init__(reason, 503, (("Retry-After", str(retry_after)),), detail)


Outcome: TypeAlias = Identity | Awaitable[Identity | None] | None


class Authenticator(Protocol):
    """One way to find out who a client is: one [auth:NAME] section."""

    @property
    def name(self) -> str:
        """The NAME."""

    @property
    def challenge(self) -> str | None:
        """What a 401 says in WWW-Authenticate (RFC 9110 11.6.1); None for a kind without a scheme."""

    @property
    def subprotocol_prefixes(self) -> tuple[str, ...]:
        """An offered subprotocol that begins with one of these carries a token and is no subprotocol."""

    def authenticate(self, request: Candidate) -> Outcome:
        """The client's identity; None when it shows no credential of this kind. An awaitable only where finding out takes its time.

        Raises Denied, at once or when awaited, for a credential that is there and bad, and Foreign for one that is another's. Cancelling
        what was awaited gives up the answer and leaves nothing behind.
        """

    def refresh(self) -> None:
        """Read changed files now (SIGHUP). A bad file is logged, and the old content stays. Never raises."""

    async def close(self) -> None:
        """Let go of threads and connections."""
