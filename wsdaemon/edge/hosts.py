"""The names that clients call a listener by: the check of the Host header.

A hostile name can be made to lead to this machine after its page was loaded (DNS rebinding). For the browser the page and the daemon then
are the same site: the page's Origin and the request's Host agree, and the page may reach a daemon in the visitor's own network. The
hostile name in the Host header of each request gives the page away.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..core.handshake import Peer
from ..settings.origins import parse_host
from .origins import host_of

LOOPBACK_HOSTS = ("localhost", "*.localhost", "127.0.0.1", "[::1]")
"""The names by which clients of this machine call it."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """The names and addresses of a listener."""

    exact: frozenset[str] = frozenset()
    below: tuple[str, ...] = ()
    """Ends of names, each with a dot first: `.example.com`."""
    own: bool = False
    """Whether the address at which a client has arrived is among them."""

    @classmethod
    def parse(cls, values: Iterable[str], own: bool = False) -> Hosts:
        """From the members of a listener's `hosts`, in the spelling that the settings give them."""
        listed = tuple(values)
        return cls(
            frozenset(value for value in listed if not value.startswith("*.")),
            tuple(value[1:] for value in listed if value.startswith("*.")),
            own,
        )

    def serves(self, host: str, local: Peer | str = "") -> bool:
        """Whether a request with this Host header is meant for the listener. Neither its port nor case make a difference.

        `local` is the address at which the client has arrived.
        """
        name = host_of(host)
        if name is None:
            return False
        if name in self.exact or (bool(self.below) and name.endswith(self.below)):
            return True
        return self.own and isinstance(local, Peer) and name == parse_host(f"[{local.host}]" if ":" in local.host else local.host)
