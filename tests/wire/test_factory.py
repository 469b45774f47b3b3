"""wire/factory.py: Autobahn's options, every one of them set, and the class of a mount's connections."""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType

import pytest
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol

from tests.support.fakes import App, House, Watcher, close, house, text
from wsdaemon.wire.factory import is_autobahn_protocol, make_factory
from wsdaemon.wire.autobahn.mounted import AutobahnWire
from wsdaemon.wire.wire import Wire


@pytest.fixture
def made() -> Iterator[House]:
    with house() as made:
        yield made


class Mounted(WebSocketServerProtocol):
    """A class of the user's."""


def test_what_can_be_mounted_unchanged() -> None:
    assert is_autobahn_protocol(Mounted)
    assert not is_autobahn_protocol(Mounted())
    assert not is_autobahn_protocol(App)
    assert not is_autobahn_protocol(None)


def test_every_option_is_set_explicitly(made: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Autobahn's defaults are unsafe, and a default of a later version need not be safer."""
    given: list[set[str]] = []
    set_options = WebSocketServerFactory.setProtocolOptions

    def record(factory: WebSocketServerFactory, **options: object) -> None:
        given.append(set(options))
        set_options(factory, **options)

    monkeypatch.setattr(WebSocketServerFactory, "setProtocolOptions", record)
    make_factory(made.policy(App(), Watcher()), object())
    assert isinstance(set_options, FunctionType)
    code = set_options.__code__
    assert given == [set(code.co_varnames[1 : code.co_argcount])]


def test_the_web_status_redirect_is_off(made: House) -> None:
    """On, it serves an open redirect to anybody (?redirect=URL gives 303)."""
    assert make_factory(made.policy(App(), Watcher()), object()).webStatus is False


def test_fail_by_drop_is_off(made: House) -> None:
    """On, the client sees a reset and no close code."""
    assert make_factory(made.policy(App(), Watcher()), object()).failByDrop is False


def test_limits_and_timers(made: House) -> None:
    factory = make_factory(made.policy(App(), Watcher(), max_message=1234), object())
    assert (factory.maxMessagePayloadSize, factory.maxFramePayloadSize) == (1234, 1234)
    assert factory.requireMaskedClientFrames
    assert factory.utf8validateIncoming
    assert (factory.openHandshakeTimeout, factory.closeHandshakeTimeout, factory.autoPingInterval) == (0, 0, 0)


def test_options_are_class_attributes(made: House) -> None:
    """Autobahn would copy each of them into each connection."""
    client = made.make_wire(App(), max_message=77)
    wire = client.wire
    names = set(WebSocketServerProtocol.CONFIG_ATTRS)
    assert names <= set(vars(type(wire)))
    assert names.isdisjoint(vars(wire))
    assert type(wire).maxMessagePayloadSize == 77
    assert type(wire).maximum == 77


def test_what_one_idle_connection_holds(made: House) -> None:
    """A few names: the rest is its mount's. A longer list is memory for each of a hundred thousand connections."""
    client = made.make_wire(App())
    client.send(text("x"))
    assert len(vars(client.wire)) <= 6, sorted(vars(client.wire))


def test_two_mounts_do_not_share_their_options(made: House) -> None:
    one, other = made.make_wire(App(), max_message=10), made.make_wire(App(), max_message=20)
    for client, code in ((one, 1009), (other, None)):
        client.send(text("x" * 15))
        assert [answer.code for answer in client.frames()] == ([code] if code else [])
        client.send(close())


def test_the_class_of_a_mounted_protocol(made: House) -> None:
    wire = made.make_wires(None, mounted=Mounted)
    assert issubclass(wire, Mounted)
    assert issubclass(wire, AutobahnWire)
    assert wire.__name__ == "Mounted"
    assert wire.mro().index(Mounted) < wire.mro().index(Wire), "what the user overrides comes first"
    assert wire.factory.protocol is wire
    plain = made.make_wires(App())
    assert plain.__mro__[1] is Wire


def test_the_reactor_is_the_one_given(made: House) -> None:
    reactor = object()
    assert make_factory(made.policy(App(), Watcher()), reactor).reactor is reactor


def test_without_the_frame_reader_autobahn_reads_every_frame(made: House) -> None:
    assert made.make_wires(App(), reader="python").fast
    assert not made.make_wires(App(), reader="off").fast
