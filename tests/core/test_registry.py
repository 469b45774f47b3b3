"""core/registry.py: places in counts, and the drain."""

from __future__ import annotations

import asyncio

from tests.support.fakes import App, Client, Loop, Watcher, closing, house, request
from wsdaemon.core.drain import restart
from wsdaemon.core.registry import Connections, Count, Place

ENDING = restart((5.0, 5.0))


def test_a_place_is_taken_in_all_counts() -> None:
    wide, narrow = Count(), Count(1)
    place = Place((wide, narrow))
    assert (wide.now, narrow.now, narrow.full, wide.full) == (1, 1, True, False)
    place.leave()
    assert (wide.now, narrow.now, narrow.full, narrow.total) == (0, 0, False, 1)


def test_a_place_is_given_back_once() -> None:
    count = Count(5)
    place, _other = Place((count,)), Place((count,))
    place.leave()
    place.leave()
    assert count.now == 1


def test_ids_are_unique_and_differ_with_each_start() -> None:
    one, other = Connections(), Connections()
    names = [one.next_id() for _ in range(3)]
    assert len(set(names)) == 3
    assert names[0].endswith("-1")
    assert names[0].partition("-")[0] == names[1].partition("-")[0]
    assert len(other.next_id()) == len(names[0])


def test_ids_carry_64_random_bits() -> None:
    boots = {Connections().next_id().partition("-")[0] for _ in range(100)}
    assert len(boots) == 100
    assert all(len(boot) == 16 for boot in boots)
    assert len({int(boot, 16) >> 48 for boot in boots}) > 50  # the first 16 bits are as random as the rest


def test_the_registry_of_open_connections() -> None:
    with house() as made:
        clients = [made.make_wire(App()) for _ in range(3)]
        connections = Connections()
        for client in clients:
            connections.add(client.connection)
        first = clients[0].connection
        assert len(connections) == 3
        assert first in connections
        assert connections.get(first.id) is first
        connections.remove(first)
        connections.remove(first)
        assert first not in connections
        assert connections.get(first.id) is None
        assert len(connections) == 2
        for connection in connections:  # may change while it is walked
            connections.remove(connection)
        assert len(connections) == 0


def test_draining_nothing_waits_for_nothing() -> None:
    with Loop() as loop:
        task = loop.create_task(Connections().drain(10, ENDING))
        loop.settle()
        assert task.result() == 0


def test_who_opens_while_all_are_closed_is_closed_too() -> None:
    """A mounted class may take its time to let a client in, and the drain may begin meanwhile."""
    with house() as made:
        connections = Connections()
        task = made.loop.create_task(connections.drain(10, ENDING))
        made.loop.settle()
        app = App()
        client = made.make_wire(app)
        connections.add(client.connection)
        assert client.frames() == [closing(1012, "restart; retry=5")]
        client.answer_close()
        assert app.ends == [(1012, "restart; retry=5")]
        assert task.done()


def test_who_opens_late_and_does_not_answer_is_dropped_in_time() -> None:
    """The app does not see it, and no ping takes the place of the deadline."""
    with house() as made:
        connections = Connections()
        made.loop.create_task(connections.drain(10, ENDING))
        made.loop.settle()
        app, watcher = App(), Watcher()
        watcher.opened = connections.add  # type: ignore[method-assign]
        wire = made.make_wires(app, watcher, ping_interval=25.0, close_timeout=1.0)
        client = Client(made.loop, wire, watcher, wire.policy.wheel, request(), -1)
        assert client.frames() == [closing(1012, "restart; retry=5")]
        made.loop.advance(1.1)
        assert client.transport.aborted
        assert app.connections == []


def test_a_drain_ends_with_the_last_close() -> None:
    with house() as made:
        connections = Connections()
        clients = [made.make_wire(App()) for _ in range(2)]
        for client in clients:
            client.watcher.closed = lambda connection, counts: connections.remove(connection)  # type: ignore[method-assign]
            connections.add(client.connection)
        task = made.loop.create_task(connections.drain(10, ENDING))
        made.loop.settle()
        for client in clients:
            assert client.frames() == [closing(1012, "restart; retry=5")]
        clients[0].answer_close()
        assert not task.done()
        clients[1].answer_close()
        assert task.result() == 0


def test_a_drain_drops_those_that_do_not_close() -> None:
    with house() as made:
        connections = Connections()
        client = made.make_wire(App(), close_timeout=60.0)
        client.watcher.closed = lambda connection, counts: connections.remove(connection)  # type: ignore[method-assign]
        connections.add(client.connection)
        task = asyncio.ensure_future(connections.drain(3, ENDING))
        made.loop.advance(2.9)
        assert not task.done()
        made.loop.advance(0.2)
        assert task.result() == 1
        assert client.transport.aborted
        assert client.frames() == [closing(1012, "restart; retry=5")]
        assert client.count.now == 0
