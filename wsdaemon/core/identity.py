"""Who a client is, as the app gets to see it. No I/O and no cryptography."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

NO_CLAIMS: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Identity:
    """A client that authentication recognised. Its text and repr name it, and show no claim: claims may be personal."""

    name: str
    """Never empty but for the kind http without an identity_header; without control characters."""
    method: str
    """How it was proven: the kind and the NAME of its [auth:NAME] section, such as "jwt:staff"."""
    claims: Mapping[str, object] = field(default_factory=lambda: NO_CLAIMS, repr=False, hash=False)
    """The further claims of the proof; read-only."""
    expires: float | None = None
    """When it ends, in seconds since 1970, the leeway for clocks that differ included; None: never."""

    def __post_init__(self) -> None:
        if not isinstance(self.claims, MappingProxyType):
            object.__setattr__(self, "claims", MappingProxyType(dict(self.claims)))

    def __str__(self) -> str:
        return f"{self.name} ({self.method})"
