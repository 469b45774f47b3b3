"""wire/factory.py: Autobahn's options, every one of them set, the class of a mount's protocols, and factories of users."""

from __future__ import annotations

import gc
from types import FunctionType
from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol

from tests.support.fakes import App, Frame, House, Watcher, close, text
from tests.support.mounted_classes import Echo, Recording
from wsdaemon.wire.autobahn.slim import Slim
from wsdaemon.wire.autobahn.stage import Stage
from wsdaemon.wire.factory import NotServed, SlimFactory, is_autobahn_protocol, protocol_options


class Mounted(WebSocketServerProtocol):
    """A class of the user's."""


def test_what_can_be_mounted_unchanged() -> None:
    assert is_autobahn_protocol(Mounted)
    assert not is_autobahn_protocol(Mounted())
    assert not is_autobahn_protocol(App)
    assert not is_autobahn_protocol(None)


# -- options


def test_every_option_is_set_explicitly(made: House) -> None:
    """Autobahn's defaults are unsafe, and a default of a later version need not be safer."""
    set_options = WebSocketServerFactory.setProtocolOptions
    assert isinstance(set_options, FunctionType)
    code = set_options.__code__
    assert set(protocol_options(made.policy(App(), Watcher()))) == set(code.co_varnames[1 : code.co_argcount])


@pytest.mark.parametrize("mounted", [None, Mounted])
def test_the_web_status_redirect_and_fail_by_drop_are_off(made: House, mounted: Any) -> None:
    """On, one serves an open redirect to anybody (?redirect=URL gives 303), and with the other a client sees a reset and no close code."""
    protocol = made.make_wire(None if mounted else App(), mounted=mounted).protocol
    assert (protocol.webStatus, protocol.failByDrop) == (False, False)
    assert (protocol.factory.webStatus, protocol.factory.failByDrop) == (False, False)


def test_limits_and_timers(made: House) -> None:
    factory = made.make_wires(App(), max_message=1234).protocols.factory
    assert isinstance(factory, SlimFactory)
    assert (factory.maxMessagePayloadSize, factory.maxFramePayloadSize) == (1234, 1234)
    assert factory.requireMaskedClientFrames
    assert factory.utf8validateIncoming
    assert (factory.openHandshakeTimeout, factory.closeHandshakeTimeout, factory.autoPingInterval) == (0, 0, 0)


def test_options_are_class_attributes(made: House) -> None:
    """Autobahn would copy each of them into each connection."""
    protocol = made.make_wire(App(), max_message=77).protocol
    names = set(WebSocketServerProtocol.CONFIG_ATTRS)
    assert names <= set(vars(type(protocol)))
    assert names.isdisjoint(vars(protocol))
    assert type(protocol).maxMessagePayloadSize == 77


def test_what_one_idle_connection_holds(made: House) -> None:
    """A few names: the rest is its mount's. A longer list is memory for each of a hundred thousand connections."""
    client = made.make_wire(App())
    client.send(text("x"))
    assert set(vars(client.protocol)) <= {"_wsdaemon_wire", "state"}
    for part in (client.wire, client.reader, client.writer, client.wire.deadlines, client.connection):
        assert not hasattr(part, "__dict__"), part


def test_two_mounts_do_not_share_their_options(made: House) -> None:
    one, other = made.make_wire(App(), max_message=10), made.make_wire(App(), max_message=20)
    for client, code in ((one, 1009), (other, None)):
        client.send(text("x" * 15))
        assert [answer.code for answer in client.frames()] == ([code] if code else [])
        client.send(close())


def test_the_reactor_is_the_one_given(made: House) -> None:
    reactor = object()
    assert SlimFactory(made.policy(App(), Watcher()), reactor).reactor is reactor


def test_without_the_frame_reader_autobahn_reads_every_frame(made: House) -> None:
    assert made.make_wire(App(), reader="python").fast
    assert not made.make_wire(App(), reader="off").fast


# -- one protocol for each connection, made by the factory


def test_the_parts_are_of_the_same_classes_for_all_mounts(made: House) -> None:
    clients = [made.make_wire(App()), made.make_wire(App(), max_message=5), made.make_wire(mounted=Echo), made.make_wire(mounted=Recording)]
    for name in ("wire", "reader", "writer"):
        assert len({type(getattr(client, name)) for client in clients}) == 1


@pytest.mark.parametrize("mounted", [None, Echo])
def test_each_connection_has_one_autobahn_protocol_made_by_its_factory(made: House, mounted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wires = made.make_wires(None if mounted else App(), mounted=mounted)
    factory: Any = wires.protocols.factory
    built: list[Any] = []
    build = factory.buildProtocol

    def build_and_note(peer: object) -> object:
        built.append(build(peer))
        return built[-1]

    monkeypatch.setattr(factory, "buildProtocol", build_and_note)
    before = {id(each) for each in gc.get_objects() if isinstance(each, WebSocketServerProtocol)}
    client = made.connect(wires)
    there = [each for each in gc.get_objects() if isinstance(each, WebSocketServerProtocol) and id(each) not in before]
    assert there == built == [client.protocol]
    assert client.protocol.factory is factory
    assert isinstance(client.protocol, Stage if mounted else Slim)


def test_the_class_of_a_mounted_protocol(made: House) -> None:
    factory: Any = made.make_wires(None, mounted=Mounted).protocols.factory
    assert factory.protocol.__name__ == "Mounted"
    assert factory.protocol.__bases__ == (Mounted, Stage), "the user's class comes first"


# -- factories of users


class Chat(WebSocketServerFactory):
    """As Autobahn's examples write them: with a url, and options that a daemon does not follow."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.members: list[Any] = []
        self.setProtocolOptions(maxMessagePayloadSize=0, autoPingInterval=1, failByDrop=True, maxConnections=1)


class Member(WebSocketServerProtocol):
    factory: Chat

    def onOpen(self) -> None:
        self.factory.members.append(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        for member in self.factory.members:
            member.sendMessage(payload)


def test_what_the_connections_of_a_factory_share(made: House) -> None:
    wires = made.make_wires(None, mounted=Member, factory=Chat)
    clients = [made.connect(wires) for _ in range(3)]
    clients[0].send(text("hello"))
    made.loop.settle()
    assert [client.frames() for client in clients] == [[Frame(1, b"hello")]] * 3
    factory: Any = wires.protocols.factory
    assert (factory.url, factory.countConnections) == ("ws://localhost/", 3)
    clients[0].vanish()
    assert factory.countConnections == 2


def test_the_settings_win_over_the_factorys_options(made: House) -> None:
    client = made.make_wire(mounted=Member, factory=Chat, max_message=10)
    client.send(text("x" * 11))
    assert client.frames()[0].code == 1009
    assert client.wire.deadlines.ping_at == made.loop.time() + 25.0


def test_a_factory_that_takes_no_url(made: House) -> None:
    class Plain(WebSocketServerFactory):
        def __init__(self) -> None:
            super().__init__()

    assert type(made.make_wires(None, mounted=Member, factory=Plain).protocols.factory) is Plain
    with pytest.raises(TypeError, match=r"expected a WebSocketServerFactory, got \["):
        made.make_wires(None, mounted=Member, factory=list)


def test_a_factory_that_answers_no_protocol(made: House) -> None:
    class Full(Chat):
        def buildProtocol(self, addr: Any) -> Any:
            return None if len(self.members) == 1 else super().buildProtocol(addr)

    wires = made.make_wires(None, mounted=Member, factory=Full)
    made.connect(wires)
    with pytest.raises(NotServed):
        made.connect(wires)


def test_a_factory_that_makes_its_protocols_itself(made: House) -> None:
    class Own(Chat):
        def buildProtocol(self, addr: Any) -> Any:
            self.latest = Recording()
            return self.latest

    wires = made.make_wires(None, mounted=Member, factory=Own, max_message=10)
    client = made.connect(wires)
    factory: Any = wires.protocols.factory
    assert client.protocol is factory.latest and client.protocol.factory is factory
    client.send(text("a"), text("x" * 11))
    client.answer_close()
    assert client.protocol.events[:3] == ["connect", "open", (b"a", False)]
    assert client.ended[0] == 1009
    assert client.watcher.failures == []


def test_a_factory_that_makes_something_else(made: House) -> None:
    class Wrong(Chat):
        def buildProtocol(self, addr: Any) -> Any:
            return object()

    with pytest.raises(TypeError, match="not a WebSocketServerProtocol"):
        made.make_wire(mounted=Member, factory=Wrong)
