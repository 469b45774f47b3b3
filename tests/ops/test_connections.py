"""ops/connections.py: open connections described, filtered, in pages, and closed by their id."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import App, Loop, closing, house, request
from tests.support.metrics import FakeWire, connection
from wsdaemon.core.handshake import Peer
from wsdaemon.core.identity import Identity
from wsdaemon.core.registry import Connections
from wsdaemon.ops.connections import ConnectionPage, Filter, OwnConnections, described, merged, order
from wsdaemon.ops.metrics import CONNECTIONS_PER_LOOK

ANY = Filter()


def registry(*numbers: int, boot: str = "4f2a", **shown: Any) -> Connections:
    connections = Connections()
    for number in numbers:
        connections.add(connection(FakeWire(), f"{boot}-{number}", **shown))
    return connections


def page(connections: Connections, wanted: Filter = ANY, after: str = "", limit: int = 100) -> ConnectionPage:
    with Loop() as loop:
        task = loop.create_task(OwnConnections(connections).page(wanted, after, limit))
        loop.settle()
        return task.result()


def ids(found: ConnectionPage) -> list[str]:
    return [one["id"] for one in found.connections]


# -- one connection


def test_the_facts_about_a_connection_are_json_and_show_no_query() -> None:
    with house() as made:
        client = made.make_wire(App(), opening=request("/chat?ticket=secret", user_agent="x" * 300, authorization="Bearer secret"))
        facts = described(client.connection, 1000 - client.connection.opened_at)
        assert facts == json.loads(json.dumps(facts))
        assert "secret" not in json.dumps(facts)
        assert (facts["path"], facts["mount"], facts["listener"], facts["closing"]) == ("/chat", "/chat", "here", False)
        assert (facts["address"], facts["port"]) == (client.handshake.peer.host, client.handshake.peer.port)
        assert facts["opened_at"] == 1000
        assert len(facts["user_agent"]) < 300
        client.connection.close(4000, "over")
        assert described(client.connection)["closing"] is True


def test_counts_user_and_unix_clients() -> None:
    wire = FakeWire(messages_in=1, messages_out=2, bytes_in=3, bytes_out=4, waiting=5)
    facts = described(connection(wire, identity=Identity("ada", "basic:staff", {"role": "boss"}), peer=Peer("unix"), subprotocol="chat"))
    assert [facts[name] for name in ("messages_in", "messages_out", "bytes_in", "bytes_out", "backlog")] == [1, 2, 3, 4, 5]
    assert (facts["user"], facts["address"], facts["port"], facts["subprotocol"]) == ("ada", "unix", None, "chat")
    assert "boss" not in json.dumps(facts)
    assert described(connection(wire, identity=Identity("", "http:site")))["user"] is None


# -- pages


def test_pages_follow_the_numbers() -> None:
    connections = registry(10, 2, 9, 1)
    first = page(connections, limit=3)
    assert (ids(first), first.count, first.more) == (["4f2a-1", "4f2a-2", "4f2a-9"], 4, True)
    last = page(connections, after="4f2a-9", limit=3)
    assert (ids(last), last.count, last.more) == (["4f2a-10"], 4, False)
    assert ids(page(connections, after="4f2a-10")) == []


def test_the_connection_that_a_page_ended_with_may_be_over() -> None:
    assert ids(page(registry(1, 3), after="4f2a-2")) == ["4f2a-3"]


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (Filter(), [1, 2, 3]),
        (Filter(mount="/feed"), [2]),
        (Filter(listener="other"), [2]),
        (Filter(user="ada"), [3]),
        (Filter(user="bob"), []),
        (Filter(address="2001:db8::1"), [2]),
        (Filter(mount="/chat", address="203.0.113.5"), [1, 3]),
        (Filter(mount="/chat", address="2001:db8::1"), []),
    ],
)
def test_filters(wanted: Filter, numbers: list[int]) -> None:
    connections = registry(1)
    connections.add(connection(FakeWire(), "4f2a-2", mount="/feed", listener="other", peer=Peer("2001:db8::1", 1)))
    connections.add(connection(FakeWire(), "4f2a-3", identity=Identity("ada", "basic:staff")))
    found = page(connections, wanted)
    assert ids(found) == [f"4f2a-{number}" for number in numbers]
    assert found.count == len(numbers)


def test_the_loop_serves_others_while_many_are_looked_at() -> None:
    """A connection that ends meanwhile is not on the page."""
    connections = registry(*range(1, 3 * CONNECTIONS_PER_LOOK))
    ended = connections.get("4f2a-1")
    assert ended is not None
    ticks = iter(range(1000))
    with Loop() as loop:
        task = loop.create_task(OwnConnections(connections, clock=lambda: next(ticks)).page(ANY, "", 2))
        loop.call_soon(ended._ended, 1000, "", "client")
        loop.settle()
        assert ids(task.result()) == ["4f2a-2", "4f2a-3"]
        assert next(ticks) > 2


@given(
    st.dictionaries(st.sampled_from(["aa", "b", "c"]), st.sets(st.integers(1, 40), max_size=15)),
    st.integers(1, 7),
)
def test_pages_of_several_processes_are_those_of_one(numbers: dict[str, set[int]], limit: int) -> None:
    every = sorted(order(f"{boot}-{number}") for boot, found in numbers.items() for number in found)
    processes = [registry(*found, boot=boot) for boot, found in numbers.items()]
    seen: list[str] = []
    for _ in range(len(every) + 1):
        one = merged([page(process, after=seen[-1] if seen else "", limit=limit) for process in processes], limit)
        assert one.count == len(every)
        assert len(one.connections) <= limit
        seen += ids(one)
        if not one.more:
            break
    assert [order(id) for id in seen] == every


def test_an_id_of_another_form_has_a_place_too() -> None:
    assert sorted(["x-10", "x-9", "other", "a-1-2", "x-"], key=order) == ["a-1-2", "other", "x-9", "x-10", "x-"]


# -- closing


def test_a_connection_is_closed_by_its_id_and_no_other() -> None:
    with house() as made:
        one, other = made.make_wire(App()), made.make_wire(App())
        connections = Connections()
        connections.add(one.connection)
        connections.add(other.connection)
        own = OwnConnections(connections)
        task = made.loop.create_task(own.close(other.connection.id, 4403, "removed"))
        missing = made.loop.create_task(own.close("nothing-1", 4403, "removed"))
        made.loop.settle()
        assert task.result() is True
        assert missing.result() is False
        assert other.frames() == [closing(4403, "removed")]
        assert one.frames() == []
