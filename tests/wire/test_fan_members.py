"""wire/fan.py with members of every kind: in order for each, and no member delays another.

test_fan_compressed.py has the tests with compression.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fake_members import PLENTY, Members
from tests.support.fakes import Frame, House, closing, request, text
from wsdaemon.wire.deflate.negotiation import DeflateOptions
from wsdaemon.wire.fan import send_to_all
from wsdaemon.wire.shelf import FRAME_COST_BYTES

OFFER = request(sec_websocket_extensions="permessage-deflate; client_max_window_bits")


# -- to all

pytestmark = pytest.mark.readers("python", "c")


def test_everybody_gets_it(made: House) -> None:
    members = Members(made)
    members.publish("hello")
    assert members.all_got() == [["hello"]] * 6
    assert [writer.messages_out for writer in members.writers] == [1] * 6
    members.publish(b"\x00\xff")
    made.loop.settle()
    assert [client.frames() for client in members.clients] == [[Frame(2, b"\x00\xff")]] * 6


def test_who_has_a_free_socket_has_it_at_once(made: House) -> None:
    members = Members(made, 2)
    members.publish("hello")
    assert members.clients[0].frames() == [Frame(1, b"hello")]
    assert members.clients[1].frames() == [], "the others in the loop's next turn"
    assert members.got(1) == ["hello"]


def test_a_burst_is_one_write(made: House) -> None:
    members = Members(made)
    before = [len(client.transport.writes) for client in members.clients]
    sizes = [writer.bytes_out for writer in members.writers]
    members.publish("1", "2", "3")
    made.loop.settle()
    assert [len(client.transport.writes) for client in members.clients] == [count + 1 for count in before]
    assert members.all_got() == [["1", "2", "3"]] * 6
    assert [writer.messages_out for writer in members.writers] == [3] * 6
    assert [writer.bytes_out for writer in members.writers] == [size + 9 for size in sizes]


def test_bursts_in_one_turn_leave_together_where_there_is_no_free_socket(made: House) -> None:
    members = Members(made, 2)
    before = len(members.clients[1].transport.writes)
    for number in range(10):
        members.publish(str(number))
    assert members.all_got() == [list("0123456789")] * 2
    assert len(members.clients[1].transport.writes) == before + 1


def test_a_message_of_any_size(made: House) -> None:
    members = Members(made, 2)
    for size in (0, 125, 126, 65535, 65536, 200_000):
        members.publish("x" * size)
        assert members.all_got() == [["x" * size]] * 2


def test_to_nobody(made: House) -> None:
    members = Members(made, 1)
    send_to_all([], [members.prepare("hello")])
    assert members.got(0) == []


# -- order


def test_it_comes_after_what_was_sent_before(made: House) -> None:
    members = Members(made, 2)
    for app in members.apps:
        app.connection.send("1")
    members.publish("2")
    for app in members.apps:
        app.connection.send("3")
    members.publish("4")
    assert members.all_got() == [["1", "2", "3", "4"]] * 2


def test_within_a_read_it_comes_after_the_replies_so_far(made: House) -> None:
    members = Members(made, 2)

    def received(connection: Any, message: Any) -> None:
        connection.send("before")
        members.publish("to all")
        connection.send("after")

    for app in members.apps:
        app._received = received
    members.clients[0].send(text("go"))
    assert members.all_got() == [["before", "to all", "after"], ["to all"]]


def test_it_comes_after_what_waits_in_the_transport(made: House) -> None:
    members = Members(made, 2)
    for client in members.clients:
        client.transport.stuck = True
    members.sockets.room[0] = 3
    members.publish("one")
    assert members.clients[0].transport.unsent == 2
    made.loop.settle()
    members.sockets.room[0] = PLENTY
    members.publish("two")
    assert members.clients[0].writer.unsent() == 2 + 5
    made.loop.settle()
    for client in members.clients:
        client.transport.drain()
    members.publish("three")
    assert members.all_got() == [["one", "two", "three"]] * 2


# -- one is not like the others


@pytest.mark.parametrize("room", [0, 1, 4, -1])
def test_a_socket_that_does_not_take_it_all(made: House, room: int) -> None:
    """The transport finds out the cause."""
    members = Members(made)
    members.sockets.room[2] = room
    members.publish("hello")
    members.sockets.room[2] = PLENTY
    members.publish("again")
    assert members.all_got() == [["hello", "again"]] * 6
    assert members.writers[2].bytes_out == members.writers[0].bytes_out


def test_whoever_is_closing_is_passed_over(made: House) -> None:
    members = Members(made, 8)
    for number in (0, 1):
        members.apps[number].connection.close(1000)
        members.clients[number + 2].vanish()
        members.apps[number + 4].connection.abort()
    members.publish("hello")
    made.loop.settle()
    assert [members.clients[number].frames() for number in (0, 1)] == [[closing(1000)]] * 2
    assert [members.clients[number].frames() for number in (2, 3, 4, 5)] == [[]] * 4
    assert [members.got(number) for number in (6, 7)] == [["hello"]] * 2
    assert [writer.messages_out for writer in members.writers] == [0] * 6 + [1, 1]


def test_one_that_is_closed_in_the_middle(made: House) -> None:
    members = Members(made)

    def close_two() -> None:
        for number in (3, 4):
            members.apps[number].connection.close(1000)

    members.sockets.before[2] = close_two
    members.publish("1", "2")
    made.loop.settle()
    assert [members.clients[number].frames() for number in (3, 4)] == [[closing(1000)]] * 2
    assert [members.got(number) for number in (0, 1, 2, 5)] == [["1", "2"]] * 4


def test_one_that_is_gone_in_the_middle(made: House) -> None:
    members = Members(made)

    def vanish() -> None:
        for number in (2, 3, 4):
            members.clients[number].vanish()

    members.sockets.before[2] = vanish
    members.sockets.room[2] = 1
    members.publish("hello")
    assert [members.got(number) for number in (0, 1, 5)] == [["hello"]] * 3
    assert [members.clients[number].sent for number in (3, 4)] == [b""] * 2


def test_one_on_which_something_goes_wrong_is_broken_off_alone(made: House) -> None:
    members = Members(made)

    def fail() -> None:
        raise RuntimeError("mine")

    members.sockets.before[2] = fail
    members.publish("hello")
    made.loop.settle()
    assert [members.got(number) for number in (0, 1, 3, 4, 5)] == [["hello"]] * 5
    client = members.clients[2]
    assert [(doing, str(error)) for doing, error in client.watcher.failures] == [("reading", "mine")]
    assert (client.transport.aborted, client.ended[0]) == (True, 1006)
    assert members.apps[2].ends == [(1006, client.ended[1])]


def test_one_that_is_too_slow_is_closed_and_the_others_do_not_notice(made: House) -> None:
    members = Members(made, 4, send_backlog=1000)
    for number in (2, 3):
        members.clients[number].transport.stuck = True
    members.sockets.room[2] = 0
    for _ in range(20):
        members.publish("x" * 100)
        made.loop.settle()
    for number in (2, 3):
        got = members.clients[number].frames()
        assert got[-1] == closing(1013, "client reads too slowly")
        assert len(got) == 12, "the first to wait, 1,000 bytes more, and the end"
    assert [members.got(number) for number in (0, 1)] == [["x" * 100] * 20] * 2


# -- where messages are dropped


def stuck(members: Members) -> None:
    for client in members.clients:
        client.transport.stuck = True
    for descriptor in members.sockets.written:
        members.sockets.room[descriptor] = 0
    members.publish("first")
    members.loop.settle()
    for descriptor in members.sockets.written:
        members.sockets.room[descriptor] = PLENTY


@pytest.mark.parametrize("opening", [request(), OFFER], ids=["plain", "compressed"])
def test_messages_of_one_burst_are_dropped_one_by_one(made: House, opening: bytes) -> None:
    deflate = DeflateOptions(threshold=1000, server_context_takeover=False)
    members = Members(made, 2, slow_client="drop_oldest", send_backlog=3 * (100 + FRAME_COST_BYTES), opening=opening, deflate=deflate)
    stuck(members)
    members.publish(*(f"{number:098}" for number in range(4)))
    assert [writer.shelf.dropped for writer in members.writers] == [1, 1]
    for client in members.clients:
        client.transport.drain()
    assert members.all_got() == [["first", *(f"{number:098}" for number in range(1, 4))]] * 2


@pytest.mark.parametrize("opening", [request(), OFFER], ids=["plain", "compressed"])
def test_of_each_room_in_a_burst_the_latest(made: House, opening: bytes) -> None:
    deflate = DeflateOptions(threshold=1000, server_context_takeover=False)
    members = Members(made, 2, slow_client="latest", opening=opening, deflate=deflate)
    stuck(members)
    send_to_all(members.writers, [members.prepare(f"{key}{number}", key) for number in range(3) for key in ("red", "blue")])
    send_to_all(members.writers, [members.prepare("red3", "red"), members.prepare("green0", "green")])
    for client in members.clients:
        client.transport.drain()
    assert members.all_got() == [["first", "blue2", "red3", "green0"]] * 2


def test_nothing_is_put_aside_for_one_that_became_too_slow_just_then(made: House) -> None:
    members = Members(made, 2, slow_client="drop_oldest", send_backlog=1000)
    stuck(members)
    for client in members.clients:
        client.writer.write((bytes([0x8A, 100]) + bytes(100)) * 20)
    members.publish("1", "2", "3")
    for client in members.clients:
        client.transport.drain()
    made.loop.settle()
    for client in members.clients:
        opcodes = [one.opcode for one in client.frames()]
        assert opcodes == [1, *[10] * 20, 8]
