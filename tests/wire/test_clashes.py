"""A mounted Autobahn class that takes a name of the wire is refused when it is mounted, not when the first client comes."""

from __future__ import annotations

from autobahn.twisted.websocket import WebSocketServerProtocol

from wsdaemon.wire.clashes import OURS, clashes


class Good(WebSocketServerProtocol):
    def __init__(self) -> None:
        super().__init__()
        self.session, self.name, self.connection = 1, "x", None

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.state_of_mine = payload
        self.sendMessage(payload, isBinary)


class Base(WebSocketServerProtocol):
    def flush(self) -> None:
        """Ours has this name too."""


class Bad(Base):
    def onOpen(self) -> None:
        self.count, self.out = 0, ()
        self.factory.meter = 1  # on another object: none of our business


def test_classes_that_get_along_with_the_wire() -> None:
    assert clashes(WebSocketServerProtocol) == []
    assert clashes(Good) == []


def test_methods_and_attributes_that_do_not() -> None:
    assert clashes(Bad) == ["flush", "out"]


def test_nothing_of_autobahns_is_called_ours() -> None:
    assert not OURS & set(dir(WebSocketServerProtocol))
    assert {"send_payload", "native", "wire_session", "in_background", "_offered"} <= OURS
    assert {"held", "unread", "meter", "wire_waiting", "wire_go_on", "ping_at", "bytes_in", "shelf"} <= OURS, "from whichever base"
    assert "onExpiring" not in OURS, "a class may have it"
