"""The client that a rooms policy decides about, and the policy's refusal."""

from __future__ import annotations

from ...core.handshake import Handshake, Peer
from ...core.identity import Identity


class Refused(Exception):
    """A hook refuses. The client is sent the text."""


class Visitor:
    """The client that a hook decides about. Its `handshake` is whole for as long as the connection is open."""

    __slots__ = ("handshake", "id")

    def __init__(self, id: str, handshake: Handshake) -> None:
        self.id = id
        """The id of its connection, which is its id as a member too."""
        self.handshake = handshake

    @property
    def identity(self) -> Identity | None:
        """The authenticated user; None on a mount without `auth`."""
        return self.handshake.identity

    @property
    def peer(self) -> Peer:
        return self.handshake.peer

    def __repr__(self) -> str:
        return f"<Visitor {self.id} {self.peer}>"
