"""The names that clients call a listener by: the check of the Host header.

A hostile name can be made to lead to this machine after its page was loaded (DNS rebinding). For the browser the page and the daemon then
are the same site: the page's Origin and the request's Host agree, and the page may reach a daemon in the visitor's own network. The
hostile name in the Host header of each request gives the page away.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .origins import host_of

LOOPBACK_HOSTS = ("localhost", "*.localhost", "127.0.0.1", "[::1]")
"""The names by which clients of this machine call it."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """The names and addresses of a listener."""

    exact: frozenset[str] = frozenset()
    below: tuple[str, ...] = ()
    """Ends of names, each with a dot first: `.example.com`."""

    @classmethod
    def parse(cls, values: Iterable[str]) -> Hosts:
        """From the members of a listener's `hosts`, in the spelling that the settings give them."""
        listed = tuple(values)
        return cls(
            frozenset(value for value in listed if not value.startswith("*.")),
            tuple(value[1:] for value in listed if value.startswith("*.")),
        )

    def serves(self, host: str) -> bool:
        """Whether a request with this Host header is meant for the listener. Neither its port nor case make a difference."""
        name = host_of(host)
        return name is not None and (name in self.exact or (bool(self.below) and name.endswith(self.below)))
