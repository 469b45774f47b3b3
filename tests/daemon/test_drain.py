"""daemon/drain.py: readiness before a stop and without one, and the messages to systemd while a drain lasts."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from tests.support.fakes import App, Client, House, Loop, closing, house
from wsdaemon.core.drain import restart
from wsdaemon.core.registry import Connections
from wsdaemon.daemon.control import Operations
from wsdaemon.daemon.drain import Drain, Leaving, StopExtension, add_drain, grace_of
from wsdaemon.daemon.parts import State
from wsdaemon.settings.build import build, section
from wsdaemon.settings.model import Settings

CLOSE = 8


class Systemd:
    """A notifier that keeps its messages."""

    def __init__(self, active: bool = True) -> None:
        self.active = active
        self.told: list[Any] = []

    def extend_timeout(self, seconds: float) -> None:
        self.told.append(seconds)

    def stopping(self, status: str) -> None:
        self.told.append(status)


def settings(admin: bool = True, **daemon: object) -> Settings:
    sections = [section("daemon", **daemon), section("listener:web", address="tcp:0"), section("mount:/", app="echo")]
    return build([*sections, *([section("admin", address="unix:admin.sock:mode=600")] if admin else [])], "test")


def leaving(loop: Any, connections: Connections, chosen: Settings, notifier: Any) -> Leaving:
    ending = restart(chosen.daemon.drain_retry)
    return Leaving(chosen, connections, ending, lambda: State.READY, notifier, StopExtension(notifier, loop))


def test_the_grace_is_five_seconds_with_admin_pages_and_none_without() -> None:
    assert (grace_of(settings()), grace_of(settings(drain_grace="2s")), grace_of(settings(admin=False))) == (5.0, 2.0, 0.0)


def test_during_the_grace_readiness_says_draining_and_no_connection_is_closed() -> None:
    with house() as made:
        connections, systemd = Connections(), Systemd()
        client = made.make_wire(App())
        connections.add(client.connection)
        step = leaving(made.loop, connections, settings(), systemd)
        assert step.state() is State.READY
        task = made.loop.create_task(step.grace())
        made.loop.settle()
        made.loop.advance(4.9)
        assert (step.state(), task.done(), client.frames()) == (State.DRAINING, False, [])
        made.loop.advance(0.2)
        assert task.done()
        assert systemd.told[0] == "draining" and systemd.told[1] >= 5.0


def test_without_grace_nothing_is_waited_for() -> None:
    with Loop() as loop:
        task = loop.create_task(leaving(loop, Connections(), settings(admin=False), Systemd()).grace())
        loop.settle()
        assert task.done()


def with_clients(made: House, count: int) -> tuple[Connections, list[Client]]:
    """Connections, and the clients of them."""
    connections, clients = Connections(), [made.make_wire(App()) for _ in range(count)]
    for client in clients:
        connections.add(client.connection)
    return connections, clients


def test_a_drain_without_a_stop_closes_those_that_are_there_and_resume_keeps_the_rest() -> None:
    with house() as made:
        connections, clients = with_clients(made, 10)
        step = leaving(made.loop, connections, settings(drain_retry="3s-3s"), Systemd())
        assert step.drain(over=10.0) == 10
        made.loop.settle()
        late = made.make_wire(App())
        connections.add(late.connection)
        for _ in range(9):
            made.loop.advance(0.5)
        closed = [client.frames() for client in clients]
        assert closed.count([closing(1012, "restart; retry=3")]) == 5 and closed.count([]) == 5
        assert step.state() is State.DRAINED
        step.resume()
        made.loop.advance(60)
        assert step.state() is State.READY
        left = [client for client in (*clients, late) if any(frame.opcode == CLOSE for frame in client.frames())]
        assert not left, "those that were left stay"


def test_a_second_drain_takes_the_place_of_the_first() -> None:
    with house() as made:
        connections, clients = with_clients(made, 4)
        step = leaving(made.loop, connections, settings(drain_over="1h"), Systemd())
        step.drain()
        made.loop.settle()
        closed = [client for client in clients if client.frames()]
        assert len(closed) == 1
        step.drain(over=0.0)
        made.loop.settle()
        assert all(client.frames() for client in clients if client not in closed)


def test_systemd_hears_while_the_drain_lasts_and_no_longer_than_the_settings_allow() -> None:
    with Loop() as loop:
        systemd: Any = Systemd()
        extension = StopExtension(systemd, loop)
        extension.begin(12.0)
        for _ in range(24):
            loop.advance(5.0)
        assert systemd.told == [20.0, 20.0, 17.0]
        extension.begin(30.0)
        extension.end()
        loop.advance(10.0)
        assert len(systemd.told) == 4 and loop.timers == 0


def test_without_systemd_no_timer_runs() -> None:
    with Loop() as loop:
        systemd: Any = Systemd(active=False)
        StopExtension(systemd, loop).begin(60.0)
        assert (systemd.told, loop.timers) == ([], 0)


@pytest.mark.parametrize("over", [0.0, 4.0])
def test_the_end_of_all_connections_is_counted_after_the_time_of_their_closes(over: float) -> None:
    with house() as made:
        connections, systemd = Connections(), Systemd()
        client = made.make_wire(App(), close_timeout=60.0)
        client.watcher.closed = lambda connection, counts: connections.remove(connection)  # type: ignore[method-assign]
        connections.add(client.connection)
        notifier: Any = systemd
        drain = Drain(connections, 3.0, over, restart((1.0, 1.0)), StopExtension(notifier, made.loop))
        task = made.loop.create_task(drain.stop())
        made.loop.settle()
        made.loop.advance(2.9)
        assert not task.done() and systemd.told[0] >= over + 3.0
        made.loop.advance(0.2)
        assert task.done() and client.transport.aborted


@pytest.mark.parametrize(("patience", "closed_after"), [(12.0, 7.0), (6.0, 3.0)])
def test_a_client_that_answers_no_close_leaves_the_work_of_apps_its_time(patience: float, closed_after: float) -> None:
    with house() as made:
        connections, notifier = Connections(), cast(Any, Systemd())
        client = made.make_wire(App(), close_timeout=60.0)
        client.watcher.closed = lambda connection, counts: connections.remove(connection)  # type: ignore[method-assign]
        connections.add(client.connection)
        work: asyncio.Future[None] = made.loop.create_future()
        connections.background.add(work, client.connection)
        task = made.loop.create_task(Drain(connections, patience, 0.0, restart((1.0, 1.0)), StopExtension(notifier, made.loop)).stop())
        made.loop.settle()
        made.loop.advance(closed_after - 0.1)
        assert not client.transport.aborted
        made.loop.advance(0.2)
        assert client.transport.aborted and not task.done()
        made.loop.advance(patience - closed_after - 0.2)
        assert not work.cancelled()
        work.set_result(None)
        made.loop.settle()
        assert task.done()


def test_the_commands_take_seconds_or_a_duration_and_resume_takes_them_back() -> None:
    called: list[Any] = []

    class Node:
        def drain(self, over: float | None = None) -> int:
            called.append(over)
            return 7

        def resume(self) -> None:
            called.append("resume")

    operations = Operations()
    add_drain(operations, Node)
    with Loop() as loop:
        answers = []
        asked: list[dict[str, Any]] = [{}, {"over": "2m"}, {"over": 1.5}, {"over": "soon"}]
        for command, arguments in [*(("drain", each) for each in asked), ("resume", {})]:
            task = loop.create_task(operations.run(command, arguments, lambda line: None))
            loop.settle()
            answers.append(task.result())
    assert called == [None, 120.0, 1.5, "resume"]
    assert answers[0] == {"status": 0, "problems": [], "connections": 7}
    assert answers[3] == {"status": 1, "problems": ["over = soon: expected a duration such as 500ms, 30s or 5m, or 0"]}


def test_nothing_makes_a_daemon_ready_again_that_drains_to_stop() -> None:
    with Loop() as loop:
        step = leaving(loop, Connections(), settings(), Systemd())
        task = loop.create_task(step.grace())
        loop.settle()
        step.resume()
        assert step.state() is State.DRAINING
        step.drain()
        assert step.state() is State.DRAINING
        task.cancel()
