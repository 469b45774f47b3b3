"""Limits that a listener has beside its mounts': of two the lower one counts, on that listener alone."""

from __future__ import annotations

import socket
from dataclasses import fields
from typing import Any, Self

import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol
from hypothesis import given
from hypothesis import strategies as st

from tests.daemon.test_mounts import mount
from tests.support.admission import Chain, Visitor
from tests.support.fakes import LOCAL, PEER, PYTHON, App, Client, Frame, House, Watcher, frame, house, request, text
from wsdaemon.core.limits import Rate, Tally
from wsdaemon.core.registry import Count
from wsdaemon.daemon.listeners import ListenerMaker, entrances_by, make_entrance
from wsdaemon.edge.arrival import Arrival
from wsdaemon.edge.auth.contract import Identity
from wsdaemon.edge.candidate import Entrance
from wsdaemon.edge.crowd import Crowd
from wsdaemon.edge.listeners import Listener
from wsdaemon.server import WebSocketServer
from wsdaemon.settings.addresses import TcpAddress
from wsdaemon.settings.listener import CONNECTION_LIMITS
from wsdaemon.settings.model import ListenerSettings
from wsdaemon.wire.factory import Wires, lower
from wsdaemon.wire.policy import WirePolicy
from wsdaemon.wire.turns import Turns


def listener_settings(**values: Any) -> ListenerSettings:
    return ListenerSettings(name="web", address=TcpAddress(0), **values)


# -- the lower of two


limits = st.just(0) | st.integers(1, 1000) | st.floats(0.001, 1000)


@given(limits, limits)
def test_the_lower_of_two_counts_and_0_is_none(one: float, other: float) -> None:
    found = lower(one, other)
    assert found == lower(other, one)
    for each in (one, other):
        assert not each or 0 < found <= each, "whatever limit there is holds"
    assert found in (one, other)
    assert lower(one, 0) == lower(0, one) == one


of_connections = st.fixed_dictionaries(dict.fromkeys(CONNECTION_LIMITS, limits))


@given(of_connections, of_connections)
def test_each_limit_by_itself(of_mount: dict[str, Any], of_listener: dict[str, Any]) -> None:
    with house() as made:
        mounts = made.make_wires(App(), **of_mount)
        here = mounts.limited(of_listener)
        assert {name: getattr(here.policy.settings, name) for name in CONNECTION_LIMITS} == {
            name: lower(of_mount[name], of_listener[name]) for name in CONNECTION_LIMITS
        }
        assert {name: getattr(mounts.policy.settings, name) for name in CONNECTION_LIMITS} == of_mount
        others = {each.name for each in fields(WirePolicy)} - {"settings"}
        assert all(getattr(here.policy, name) is getattr(mounts.policy, name) for name in others)


def test_where_the_mounts_limits_are_lower_nothing_is_made(made: House) -> None:
    mounts = made.make_wires(App(), messages_per_second=5.0, max_fragments=10)
    assert mounts.limited(dict.fromkeys(CONNECTION_LIMITS, 0)) is mounts
    assert mounts.limited({"messages_per_second": 5.0, "max_fragments": 11}) is mounts


def test_a_connection_takes_no_more_memory_with_them(made: House) -> None:
    mounts = made.make_wires(App())
    here, there = connect(made, mounts.limited({"lifetime": 5.0})), connect(made, mounts)
    assert here.wire.policy is not there.wire.policy and here.protocol.factory is there.protocol.factory
    assert {type(here.wire), type(here.reader), type(here.protocol)} == {type(there.wire), type(there.reader), type(there.protocol)}


# -- each of them at work


class Echo(WebSocketServerProtocol):  # type: ignore[misc]
    """A class of a user's, which keeps what its connections share on the factory."""

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.factory.seen = [*getattr(self.factory, "seen", ()), payload]
        self.sendMessage(payload, isBinary)


@pytest.fixture(params=["app", "mounted class"])
def mount_class(made: House, request: pytest.FixtureRequest) -> Wires:
    """A mount whose own limits are far away."""
    options: dict[str, Any] = {"ping_interval": 0.0, "messages_per_second": 500, "over_rate": "close", "lifetime": 9000.0}
    return made.make_wires(App(), **options) if request.param == "app" else made.make_wires(None, mounted=Echo, **options)


def connect(made: House, wires: Wires) -> Client:
    return Client(made.loop, wires, Watcher(), wires.policy.wheel, request(), -1)


def close_code(client: Client) -> int:
    """0 as long as it is open."""
    last = client.frames()[-1:]
    return int.from_bytes(last[0].payload[:2], "big") if last and last[0].opcode == 8 else 0


FLOODS = [
    ({"messages_per_second": 5}, [text("x")] * 11, 1008),
    ({"bytes_per_second": 100}, [text("x" * 50)] * 5, 1008),
    ({"control_frames_per_second": 5}, [frame(9)] * 11, 1008),
    ({"max_fragments": 3}, [frame(1, b"x", fin=False)] + [frame(0, b"x", fin=False)] * 3, 1009),
]


@pytest.mark.parametrize(("limit", "sent", "code"), FLOODS)
def test_what_a_client_may_send(made: House, mount_class: Wires, limit: dict[str, float], sent: list[bytes], code: int) -> None:
    here, elsewhere = connect(made, mount_class.limited(limit)), connect(made, mount_class)
    for client in (here, elsewhere):
        client.send(*sent)
    assert (close_code(here), close_code(elsewhere)) == (code, 0)


@pytest.mark.parametrize("limit", ["idle_timeout", "lifetime"])
def test_how_long_it_may_stay(made: House, mount_class: Wires, limit: str) -> None:
    here, elsewhere = connect(made, mount_class.limited({limit: 20.0})), connect(made, mount_class)
    made.loop.advance(19)
    assert close_code(here) == 0
    made.loop.advance(7)
    assert (close_code(here), close_code(elsewhere)) == (1001, 0)


def test_what_becomes_of_a_fast_client_is_the_mounts_choice(made: House) -> None:
    app = App()
    client = connect(made, made.make_wires(app, ping_interval=0.0, over_rate="slow").limited({"messages_per_second": 5}))
    client.send(*[text("x")] * 11)
    assert not client.transport.reading and close_code(client) == 0
    made.loop.advance(1)
    assert client.transport.reading and len(app.messages) == 11


def test_a_mounted_class_shares_its_factory_between_listeners(made: House) -> None:
    mounts = made.make_wires(None, mounted=Echo)
    for client in (connect(made, mounts), connect(made, mounts.limited({"lifetime": 5.0}))):
        client.send(text("x"))
        assert client.frames() == [Frame(1, b"x")]
    factory: Any = mounts.protocols.factory
    assert factory.seen == [b"x", b"x"]


# -- a listener


def entrance(made: House, mount: str = "/chat", **options: Any) -> Entrance:
    return Entrance(mount, made.make_wires(App(), ping_interval=0.0), Count(), **options)


def test_a_mounts_limits_come_from_its_settings(made: House) -> None:
    values = {"connections_per_second_per_address": 2, "max_handshakes": 5, "max_connections_per_user": 3, "max_connections_per_address": 4}
    one = make_entrance(mount(made, "echo", **values), None)
    assert one.rate is not None and one.handshakes is not None and one.users is not None and one.addresses is not None
    assert [one.rate.take("a") for _ in range(7)] == [True] * 6 + [False], "three times as many after a pause"
    assert (one.handshakes.most, one.users.most, one.addresses.most) == (5, 3, 4)
    unlimited = make_entrance(mount(made, "echo"), None)
    assert {getattr(unlimited, name) for name in ("rate", "handshakes", "users", "addresses")} == {None}


def test_a_listener_has_its_own_classes_and_everybodys_counts(made: House) -> None:
    chat = entrance(made, users=Tally(1), addresses=Tally(1), rate=Rate(1, 3), handshakes=Count(1))
    [here] = entrances_by(listener_settings(idle_timeout=5.0), [chat])
    assert here.wires is not chat.wires and here.wires.policy.settings.idle_timeout == 5.0
    assert all(getattr(here, name) is getattr(chat, name) for name in ("count", "users", "addresses", "rate", "handshakes"))
    [there] = entrances_by(listener_settings(), [chat])
    assert there == chat
    assert entrances_by(listener_settings(mounts=("/other",)), [chat]) == []


class Served:
    """A listener as the daemon makes it, on a socket that no client can connect to, and arrivals at it."""

    def __init__(self, made: House, entrances: list[Entrance], **settings: Any) -> None:
        self.house = made
        maker = ListenerMaker(
            loop=made.loop, wheel=made.wheel(), count=Count(), retry_after=5.0, closed=lambda: False, turns=Turns(made.loop.call_soon),
            frames=PYTHON,
        )  # fmt: skip
        self._sock = socket.socket()
        self.listener: Listener = maker.make(listener_settings(**settings), self._sock, None, entrances)[0]
        self.gate = self.listener.gate

    def arrive(self, path: str) -> Visitor:
        key = self.gate.clients.limits.key(PEER) if self.gate.clients.limits is not None else None
        arrival = Arrival(self.gate, Crowd(self.gate, 10), PEER, LOCAL, 9, key)
        visitor = Visitor(self, arrival)  # type: ignore[arg-type]
        arrival.connection_made(visitor.transport)  # type: ignore[arg-type]
        visitor.transport.receive(request(path))
        return visitor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._sock.close()


def named(asked: Any) -> Identity:
    return Identity(asked.query("name")[0], "test:way")


def test_connections_of_a_user_on_all_mounts_of_a_listener(made: House) -> None:
    chat, news = (entrance(made, path, chain=Chain(named)) for path in ("/chat", "/news"))
    with Served(made, [chat, news], max_connections_per_user=2) as here, Served(made, [chat, news]) as there:
        first = here.arrive("/chat?name=ada")
        assert [here.arrive(f"/{path}").status for path in ("news?name=ada", "chat?name=ada", "chat?name=eve")] == [101, 429, 101]
        assert there.arrive("/chat?name=ada").status == 101, "another listener has no such limit"
        assert here.gate.refused == {"user_connections": 1}
        assert here.gate.refused_by_mount == {"/chat": {"user_connections": 1}}
        first.transport.lose()
        assert here.arrive("/chat?name=ada").status == 101


def test_the_lower_limit_on_users_counts(made: House) -> None:
    chat = entrance(made, chain=Chain(named), users=Tally(1))
    with Served(made, [chat], max_connections_per_user=2) as here, Served(made, [chat]) as there:
        assert [here.arrive("/chat?name=ada").status for _ in range(2)] == [101, 429]
        assert there.arrive("/chat?name=ada").status == 429, "a mount's is for all listeners"
        users = here.gate.admission.places.users
        assert users is not None and users.count("ada") == 1


def test_those_whom_nobody_knows_have_no_limit_as_users(made: House) -> None:
    with Served(made, [entrance(made)], max_connections_per_user=1) as here:
        assert [here.arrive("/chat").status for _ in range(3)] == [101] * 3


def test_a_mounts_rate_is_for_all_listeners_together_and_needs_none_of_theirs(made: House) -> None:
    chat, news = entrance(made, rate=Rate(1, 3, now=lambda: 5.0)), entrance(made, "/news")
    unlimited = {"max_connections_per_address": 0, "max_handshakes_per_address": 0, "connections_per_second_per_address": 0}
    with Served(made, [chat, news], **unlimited) as one, Served(made, [chat, news], **unlimited) as other:
        assert [each.arrive("/chat").status for each in (one, other, one, other)] == [101, 101, 101, 429]
        assert other.gate.refused_by_mount == {"/chat": {"address_rate": 1}}
        assert one.arrive("/news").status == 101


# -- the server in Python


def test_options_of_a_server_stay_those_of_its_routes() -> None:
    """A route may raise what all start from; a listener's limit it could not."""
    server = WebSocketServer(port=0, messages_per_second=5, idle_timeout="30s", max_connections_per_user=3, max_handshakes=7)
    server.mount("/slow", "echo")
    server.mount("/fast", "echo", messages_per_second=500)
    settings = server._check(server._routes)
    assert [mount.messages_per_second for mount in settings.mounts] == [5, 500]
    assert [mount.idle_timeout for mount in settings.mounts] == [30.0, 30.0]
    assert {mount.max_connections_per_user for mount in settings.mounts} == {3}
    [listener] = settings.listeners
    assert all(getattr(listener, name) == 0 for name in (*CONNECTION_LIMITS, "max_connections_per_user"))
    assert (listener.max_handshakes, settings.mounts[0].max_handshakes) == (7, 0)
