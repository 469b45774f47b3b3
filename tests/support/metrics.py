"""Connections that are counted, and the page of their numbers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from wsdaemon.core.connection import Connection
from wsdaemon.core.handshake import Peer
from wsdaemon.core.identity import Identity
from wsdaemon.core.wire_halves import Counts

PLACE = ("/chat", "here")


FAR = Peer("203.0.113.5", 40_000)


@dataclass
class Shown:
    """The part of a handshake that the pages need."""

    mount: str = PLACE[0]
    listener: str = PLACE[1]
    path: str = PLACE[0]
    peer: Peer = FAR
    secure: bool = False
    identity: Identity | None = None
    subprotocol: str | None = None
    user_agent: str | None = None
    params: dict[str, str] = field(default_factory=dict)
    traceparent: str | None = None


@dataclass
class FakeWire:
    messages_in: int = 0
    messages_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    waiting: int = 0
    live: bool = True

    def close(self, code: int, reason: str) -> None:
        self.live = False

    def unsent(self) -> int:
        return self.waiting

    def counts(self) -> Counts:
        return Counts(self.messages_in, self.messages_out, self.bytes_in, self.bytes_out)

    @property
    def writer(self) -> FakeWire:
        return self


NUMBERS = itertools.count(1)


def connection(wire: FakeWire, number: str | None = None, **shown: Any) -> Connection:
    """`shown` are fields of Shown. Without `number` the id differs from all others, as in a daemon."""
    return Connection(wire, Shown(**shown), number or f"fake-{next(NUMBERS)}")  # type: ignore[arg-type]
