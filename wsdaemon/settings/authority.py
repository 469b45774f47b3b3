"""The server in a ws or wss URL: whether TLS is spoken, host and port."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PORTS: Final = {"ws": 80, "wss": 443}
"""The port of a URL that names none."""


@dataclass(frozen=True, slots=True)
class Authority:
    """One server. `host` is a name in ASCII (IDNA) or an address without brackets."""

    secure: bool
    host: str
    port: int

    @property
    def scheme(self) -> str:
        return "wss" if self.secure else "ws"

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"
