"""wire/writer.py: a client that does not read, with each policy."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fakes import App, Client, Frame, House, close, closing, frame, text
from wsdaemon.core.connection import Connection
from wsdaemon.daemon.mounts import _deflate
from wsdaemon.settings.model import MountSettings
from wsdaemon.settings.slow_client import SlowClient
from wsdaemon.wire.fan import send_to_all
from wsdaemon.wire.shelf import FRAME_COST_BYTES
from wsdaemon.wire.writer import JOINED_BYTES

SLOW = closing(1013, "client reads too slowly")
DROPPING = pytest.mark.parametrize("policy", ["drop_oldest", "latest"])


def slow(made: House, **options: Any) -> tuple[Client, App]:
    """A connection whose client has stopped to read; one message waits in the transport already."""
    app = App()
    client = made.make_wire(app, **options)
    client.transport.stuck = True
    app.connection.send("first")
    made.loop.settle()
    assert client.writer.queued
    return client, app


def read_some(client: Client) -> None:
    """The client takes all that the transport holds, and then nothing again."""
    transport = client.transport
    transport.unsent, transport.writing_paused = 0, False
    transport.protocol.resume_writing()


def messages(client: Client) -> list[str]:
    """The text messages that the client was sent since the last time; as a rule all that it will ever get."""
    return [frame.payload.decode() for frame in client.frames() if frame.opcode == 1]


# -- close


def test_at_the_limit_it_stays_and_one_byte_over_it_is_closed(made: House) -> None:
    client, app = slow(made, send_backlog=1000)
    first = client.writer.unsent()
    app.connection.send(b"x" * (1000 - 4))
    made.loop.settle()
    assert client.writer.unsent() == first + 1000
    assert client.writer.live
    client.writer.write(b"\x8a\x00")
    made.loop.settle()
    assert client.frames()[-1] == SLOW
    assert not client.writer.live
    client.transport.drain()
    client.answer_close()
    assert client.ended == (1013, "client reads too slowly", "server")


@pytest.mark.parametrize("code", [4013, 1008])
def test_the_mount_chooses_the_code_of_a_slow_client(made: House, code: int) -> None:
    client, app = slow(made, send_backlog=1000, slow_client_code=code)
    app.connection.send(b"x" * 2000)
    made.loop.settle()
    assert client.frames()[-1] == closing(code, "client reads too slowly")
    client.transport.drain()
    client.answer_close()
    assert client.ended == (code, "client reads too slowly", "server")


def test_the_mount_chooses_the_code_for_data_that_waits_too_long(made: House) -> None:
    client, _ = slow(made, send_backlog_age=10.0, ping_interval=0.0, slow_client_code=4013)
    made.loop.advance(21.0)
    assert client.frames()[-1] == closing(4013, "client reads too slowly")


LATE = 0.1
"""Seconds: how much later than that the wheel may be, at most."""


def test_what_waits_for_too_long_closes_too(made: House) -> None:
    """Also where nothing more is sent, and no ping is."""
    client, _ = slow(made, send_backlog_age=10.0, ping_interval=0.0)
    made.loop.advance(9.9)
    assert client.writer.live
    made.loop.advance(0.1 + LATE)
    assert client.frames()[-1] == SLOW
    client.transport.drain()
    client.answer_close()
    assert client.ended == (1013, "client reads too slowly", "server")


def test_its_age_is_that_of_the_first_that_waits(made: House) -> None:
    client, app = slow(made, send_backlog_age=10.0)
    made.loop.advance(9.0)
    app.connection.send("younger")
    made.loop.advance(1.0 + LATE)
    assert client.frames()[-1] == SLOW


def test_a_client_that_sends_but_does_not_read_is_too_slow_in_time(made: House) -> None:
    """Whatever comes from a client shows that it lives, so the pings alone would never end this."""
    client, _ = slow(made)
    for _ in range(5):
        made.loop.advance(11.0)
        client.send(text("I am here"))
        assert client.writer.live
    made.loop.advance(5.0 + LATE)
    assert client.frames()[-1] == SLOW


def test_a_client_that_takes_everything_now_and_then_may_stay(made: House) -> None:
    client, app = slow(made, send_backlog_age=10.0, ping_interval=0.0)
    for number in range(10):
        made.loop.advance(9.0)
        app.connection.send(str(number))
        made.loop.settle()
        read_some(client)
    assert messages(client) == ["first", *map(str, range(10))]
    made.loop.advance(1e6)
    assert client.writer.live


def test_a_client_that_keeps_up_may_stay_though_something_always_waits(made: House) -> None:
    """It takes what waited, while more is sent: nothing waits for long."""
    client, app = slow(made, send_backlog_age=10.0, ping_interval=0.0)
    for _ in range(10):
        before = client.writer.unsent()
        app.connection.send("x" * 1000)
        made.loop.settle()
        client.transport.unsent -= before
        made.loop.advance(5.0)
        assert client.writer.queued and client.writer.live
    made.loop.advance(20.0 + 2 * LATE)
    assert client.frames()[-1] == SLOW


def test_without_an_age_only_bytes_count(made: House) -> None:
    client, app = slow(made, send_backlog_age=0.0, ping_interval=0.0)
    made.loop.advance(1e6)
    app.connection.send("still there")
    made.loop.settle()
    assert client.writer.live


@DROPPING
def test_where_messages_are_dropped_none_is_too_old(made: House, policy: str) -> None:
    client, app = slow(made, send_backlog_age=10.0, slow_client=policy, ping_interval=0.0)
    made.loop.advance(1e6)
    client.send(frame(9, b"a ping"))
    app.connection.send("still there")
    made.loop.settle()
    assert client.writer.live


# -- drop_oldest


def test_the_newest_are_kept(made: House) -> None:
    client, app = slow(made, slow_client="drop_oldest", send_backlog=10 * (1000 + FRAME_COST_BYTES))
    for number in range(1000):
        app.connection.send(f"{number:0996}")
        made.loop.settle()
        assert client.writer.unsent() <= 10 * 1000 + 7
    assert client.writer.live
    client.transport.drain()
    assert messages(client) == ["first", *(f"{number:0996}" for number in range(990, 1000))]
    assert client.writer.shelf.dropped == 990
    app.connection.send("and now it goes on")
    made.loop.settle()
    assert messages(client) == ["and now it goes on"]


def test_a_client_that_catches_up_gets_all_and_nothing_overtakes(made: House) -> None:
    """More waits than is written at once, and the transport takes that at once: it says nothing then."""
    client, app = slow(made, slow_client="drop_oldest", send_backlog=10 * JOINED_BYTES)
    sent = [f"{number:01000}" for number in range(5 * JOINED_BYTES // 1000)]
    for message in sent:
        app.connection.send(message)
    client.transport.drain()
    assert client.writer.unsent() == 0
    app.connection.send("last")
    made.loop.settle()
    assert messages(client) == ["first", *sent, "last"]


def test_a_client_that_reads_a_little_gets_a_little(made: House) -> None:
    client, app = slow(made, slow_client="drop_oldest", send_backlog=10 * JOINED_BYTES)
    sent = [f"{number:01000}" for number in range(3 * JOINED_BYTES // 1000)]
    for message in sent:
        app.connection.send(message)
    assert messages(client) == ["first"]
    got = []
    for _ in range(5):
        read_some(client)
        assert client.transport.unsent < JOINED_BYTES + 2000, "the rest can still be dropped"
        got.append(messages(client))
    assert [message for part in got for message in part] == sent
    assert [len(part) > 0 for part in got] == [True, True, True, False, False]


def test_a_message_larger_than_the_backlog_is_kept_alone(made: House) -> None:
    client, app = slow(made, slow_client="drop_oldest", send_backlog=1000)
    app.connection.send("dropped")
    app.connection.send("x" * 100_000)
    client.transport.drain()
    assert messages(client) == ["first", "x" * 100_000]


def test_what_was_under_way_before_stays_in_front(made: House) -> None:
    """It was sent within a read, when nothing was known of the client being slow."""

    def replies(connection: Connection, message: Any) -> None:
        for part in ("1", "2"):
            connection.send(part)
        connection.send("3" * 2 * JOINED_BYTES)  # written at once
        for part in ("4", "5"):
            connection.send(part)

    app = App(replies)
    client = made.make_wire(app, slow_client="drop_oldest")
    client.transport.stuck = True
    client.send(text("go"))
    assert client.writer.queued
    client.transport.drain()
    assert messages(client) == ["1", "2", "3" * 2 * JOINED_BYTES, "4", "5"]


# -- latest


def test_of_each_room_the_latest(made: House) -> None:
    client, _ = slow(made, slow_client="latest")
    writer = client.writer
    for number in range(5):
        for room in ("red", "blue"):
            writer.send_prepared(writer.prepare(f"{room} {number}".encode(), True, room))
    writer.send_prepared(writer.prepare(b"red 5", True, "red"))
    client.transport.drain()
    assert messages(client) == ["first", "blue 4", "red 5"]
    assert writer.shelf.dropped == 9


def test_what_an_app_sends_itself_counts_as_one_room(made: House) -> None:
    client, app = slow(made, slow_client="latest")
    client.writer.send_prepared(client.writer.prepare(b"of a room", True, "room"))
    for number in range(5):
        app.connection.send(str(number))
    client.transport.drain()
    assert messages(client) == ["first", "of a room", "4"]


# -- control frames, and the end


@pytest.mark.readers
@DROPPING
def test_pongs_and_pings_are_never_dropped(made: House, policy: str) -> None:
    client, app = slow(made, slow_client=policy, send_backlog=1000, ping_interval=25.0, ping_timeout=10.0)
    for number in range(20):
        client.send(frame(9, b"%d" % number))
        app.connection.send(f"{number:0500}")
    made.loop.advance(25.1)
    client.transport.drain()
    got = client.frames()
    assert [one for one in got if one.opcode > 2] == [*(Frame(10, b"%d" % number) for number in range(20)), Frame(9, b"ping")]
    assert got[-1] == Frame(1, b"%0500d" % 19)


@pytest.mark.readers
@pytest.mark.parametrize("policy", ["close", "drop_oldest", "latest", "wait"])
def test_pongs_that_are_not_read_count(made: House, policy: str) -> None:
    client, _ = slow(made, slow_client=policy, send_backlog=5000)
    for _ in range(60):
        client.send(frame(9, b"x" * 100))
    assert client.frames()[-1] == SLOW
    assert client.transport.unsent < 5000 + 200 + len(SLOW.payload)


@pytest.mark.readers
@DROPPING
def test_the_close_frame_comes_after_what_waits(made: House, policy: str) -> None:
    client, app = slow(made, slow_client=policy)
    client.writer.send_prepared(client.writer.prepare(b"of a room", True, "room"))
    app.connection.send("last")
    app.connection.close(3000, "done")
    made.loop.settle()
    assert client.frames() == [Frame(1, b"first"), Frame(1, b"of a room"), Frame(1, b"last"), closing(3000, "done")]
    client.transport.drain()
    client.answer_close()
    assert client.ended == (3000, "done", "server")
    assert client.sent == b""


@pytest.mark.readers
@DROPPING
def test_the_answer_to_the_clients_close_too(made: House, policy: str) -> None:
    client, app = slow(made, slow_client=policy)
    app.connection.send("last")
    client.send(close(1000))
    client.transport.drain()
    made.loop.settle()
    assert client.frames() == [Frame(1, b"first"), Frame(1, b"last"), closing(1000)]
    assert client.ended == (1000, "", "client")


@pytest.mark.readers
@DROPPING
def test_nothing_follows_the_close_frame(made: House, policy: str) -> None:
    """One read: pings whose pongs are too much, and a message that is answered."""

    def answer(connection: Connection, message: Any) -> None:
        connection.send("too late")

    app = App(answer)
    client = made.make_wire(app, slow_client=policy, send_backlog=1000)
    client.transport.stuck = True
    app.connection.send("first")
    made.loop.settle()
    client.send(*[frame(9, b"x" * 100)] * 30, text("?"))
    client.transport.drain()
    made.loop.settle()
    got = client.frames()
    assert [one.opcode for one in got if one.opcode in (1, 8)] == [1, 8]
    assert got[-1] == SLOW


def test_what_waits_for_a_client_that_is_gone_is_let_go(made: House) -> None:
    client, app = slow(made, slow_client="drop_oldest")
    app.connection.send("x" * 1000)
    assert client.writer.unsent() > 1000
    client.vanish()
    assert client.writer.unsent() == 0
    assert app.ends == [(1006, "connection lost without a Close frame")]


# -- wait


def test_a_sender_that_awaits_waits_from_the_first_byte(made: House) -> None:
    client, app = slow(made, slow_client="wait")
    waiting = made.loop.create_task(writable(app.connection))
    made.loop.settle()
    assert not waiting.done()
    read_some(client)
    made.loop.settle()
    assert waiting.done()
    assert repr(app.connection.send("more")) == "<ready>"


async def writable(connection: Connection) -> None:
    await connection.writable()


def test_a_sender_that_does_not_wait_meets_the_limit(made: House) -> None:
    client, app = slow(made, slow_client="wait", send_backlog=1000)
    app.connection.send(b"x" * (1000 - 4))
    made.loop.settle()
    assert client.writer.live
    app.connection.send(b"")
    made.loop.settle()
    assert client.frames()[-1] == SLOW


def test_a_broadcast_does_not_wait_and_meets_the_limit(made: House) -> None:
    client, _ = slow(made, slow_client="wait", send_backlog=1000)
    prepared = client.writer.prepare(b"x" * 600, False)
    for _ in range(2):
        assert client.writer.live
        send_to_all([client.writer], [prepared])
        made.loop.settle()
    assert client.frames()[-1] == SLOW
    assert not client.writer.live


def test_nobody_waits_for_one_who_takes_nothing_for_long(made: House) -> None:
    client, app = slow(made, slow_client="wait", ping_interval=0.0)
    waiting = made.loop.create_task(writable(app.connection))
    made.loop.advance(59.9)
    assert not waiting.done()
    made.loop.advance(0.1 + LATE)
    assert waiting.done()
    assert client.frames()[-1] == SLOW


# -- senders, and what may be dropped


@DROPPING
def test_a_sender_that_awaits_never_waits_for_a_client_whose_messages_are_dropped(made: House, policy: str) -> None:
    _, app = slow(made, slow_client=policy, send_backlog=500_000)
    for _ in range(1000):
        assert repr(app.connection.send("x" * 1000)) == "<ready>"
    assert repr(app.connection.writable()) == "<ready>"


@pytest.mark.parametrize(("policy", "kept"), [("close", True), ("drop_oldest", False), ("latest", False), ("wait", True)])
def test_a_message_that_may_be_dropped_is_not_one_that_later_ones_refer_to(policy: Any, kept: bool) -> None:
    options = _deflate(MountSettings(path="/", app="echo", slow_client=SlowClient(policy), compression_server_context_takeover=True))
    assert options is not None
    assert options.server_context_takeover is kept
