"""The identity of a client that authentication recognised, as an app sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

NO_CLAIMS: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Identity:
    """A client that was recognised. Its text and repr give its name and show no claim, because claims may be personal."""

    name: str
    """One line without control characters. It is empty only for an [auth:NAME] of kind http without `identity_header`."""
    method: str
    """The kind and the NAME of the [auth:NAME] section that recognised the client, such as "jwt:staff"."""
    claims: Mapping[str, object] = field(default_factory=lambda: NO_CLAIMS, repr=False, hash=False)
    """The other statements of the credential; read-only."""
    expires: float | None = None
    """Seconds since 1970 at which the credential ends, the leeway for clocks included; None: never."""

    def __post_init__(self) -> None:
        if not isinstance(self.claims, MappingProxyType):
            object.__setattr__(self, "claims", MappingProxyType(dict(self.claims)))

    def __str__(self) -> str:
        return f"{self.name} ({self.method})"
