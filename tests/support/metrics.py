"""Connections that are counted, and the page of their numbers."""

from __future__ import annotations

from dataclasses import dataclass

from wsdaemon.core.connection import Connection, Counts

PLACE = ("/chat", "here")


@dataclass
class Shown:
    """The part of a handshake that the page needs."""

    mount: str = PLACE[0]
    listener: str = PLACE[1]


@dataclass
class FakeWire:
    messages_in: int = 0
    messages_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    waiting: int = 0
    live: bool = True

    def unsent(self) -> int:
        return self.waiting

    def counts(self) -> Counts:
        return Counts(self.messages_in, self.messages_out, self.bytes_in, self.bytes_out)

    @property
    def writer(self) -> FakeWire:
        return self


def connection(wire: FakeWire, number: str = "1") -> Connection:
    return Connection(wire, Shown(), number)  # type: ignore[arg-type]
