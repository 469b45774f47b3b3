"""The contract of authenticators: their input, their answers and their refusals."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol, TypeAlias

from ...core.identity import NO_CLAIMS, Identity
from ...core.reloading import Reloading
from ..candidate import Candidate
from ..request import BadRequest
from .identity import clean_name

__all__ = ["NO_CLAIMS", "Authenticator", "Candidate", "Denied", "Foreign", "Identity", "Outcome", "Unavailable", "clean_name"]


class Denied(BadRequest):
    """The client is not admitted. The gate answers it as any BadRequest.

    `reason` is one stable word for logs and metrics; `detail` is a sentence for the client. Neither of them, nor any other part, ever
    repeats a secret. `user` is the name that the client showed, proven or not; None where the credential has none.
    """

    def __init__(
        self,
        reason: str,
        status: int = 401,
        headers: tuple[tuple[str, str], ...] = (),
        detail: str = "",
        user: str | None = None,
    ) -> None:
        super().__init__(status, reason, detail, headers)
        self.user = user


class Foreign(Denied):
    """A credential of this kind that another issuer made: the next authenticator of the chain may know it. If none does, it is refused."""


class Unavailable(Denied):
    """The client cannot be recognised at this moment: 503, to be tried again after `retry_after` seconds."""

    def __init__(self, reason: str, detail: str, retry_after: int = 5) -> None:
        super().__init__(reason, 503, (("Retry-After", str(retry_after)),), detail)


Outcome: TypeAlias = Identity | Awaitable[Identity | None] | None


class Authenticator(Protocol):
    """One [auth:NAME] section: it recognises clients by one kind of credential."""

    @property
    def name(self) -> str:
        """The NAME."""

    @property
    def challenge(self) -> str | None:
        """The challenge in the WWW-Authenticate header of a 401 (RFC 9110 11.6.1); None for a kind without a scheme."""

    @property
    def subprotocol_prefixes(self) -> tuple[str, ...]:
        """An offered subprotocol that begins with one of these carries a token and is no subprotocol."""

    @property
    def files(self) -> Sequence[Reloading]:
        """The files that it reads again when they change."""

    def authenticate(self, request: Candidate) -> Outcome:
        """The client's identity; None if it shows no credential of this kind. An awaitable only if the check takes time.

        Raises Denied, at once or when awaited, for a bad credential, and Foreign for one that another issuer made. Cancelling the awaitable
        gives up the answer and leaves nothing behind.
        """

    def refresh(self) -> None:
        """Read changed files now (SIGHUP). A bad file is logged, and the old content stays. Never raises."""

    async def close(self) -> None:
        """Let go of threads and connections."""
