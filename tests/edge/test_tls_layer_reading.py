"""edge/tls_layer.py with tls_reader.py: what is delivered, when, and how much at once."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from tests.support.admission import Door
from tests.support.fake_loop import Loop
from tests.support.fakes import LOCAL, PEER, Frame, binary, house, request, server_frames
from tests.support.tls import Keys, Upper, World, authority, open_world
from wsdaemon.apps.echo import EchoApp
from wsdaemon.core.slices import SLICE_SECONDS
from wsdaemon.edge.arrival import Arrival
from wsdaemon.edge.tls_records import BURST, EMPTY_COST, PER_SECOND
from wsdaemon.edge.tls_state import GONE, OPEN, SERVER_ENDED, TlsError

# -- pause and resume


def test_nothing_is_delivered_while_paused_nor_inside_resume(loop: Loop) -> None:
    world = open_world(loop)
    world.upper.on_data = world.layer.pause_reading
    world.plain.receive(world.encrypt(b"a" * 70_000) + world.encrypt(b"b"))
    first = len(world.upper.data)
    assert 0 < first < 70_001
    loop.settle()
    assert len(world.upper.data) == first
    world.layer.resume_reading()
    assert len(world.upper.data) == first
    world.upper.on_data = lambda: None
    loop.settle()
    assert world.upper.data == b"a" * 70_000 + b"b"


def test_later_bytes_do_not_overtake(loop: Loop) -> None:
    world = open_world(loop)
    world.upper.on_data = world.layer.pause_reading
    world.plain.receive(world.encrypt(b"1" * 100_000))
    world.plain.receive(world.encrypt(b"2" * 100_000))
    world.upper.on_data = lambda: None
    world.layer.resume_reading()
    world.plain.receive(world.encrypt(b"3"))
    loop.settle()
    assert world.upper.data == b"1" * 100_000 + b"2" * 100_000 + b"3"


def test_the_plain_transport_is_not_read_while_something_waits(loop: Loop) -> None:
    world = open_world(loop)
    world.upper.on_data = world.layer.pause_reading
    world.plain.receive(world.encrypt(b"1" * 100_000))
    world.layer.resume_reading()
    assert world.plain.paused
    world.upper.on_data = lambda: None
    loop.settle()
    assert not world.plain.paused


def test_what_waits_is_one_read_and_no_more_than_is_left_of_it(loop: Loop) -> None:
    """docs/slow-clients.md: the part of TLS in its formula."""
    world = open_world(loop)
    world.upper.on_data = world.layer.pause_reading
    stream = world.encrypt(b"x" * 2_000_000)
    world.plain.receive(*(stream[at : at + 262_144] for at in range(0, len(stream), 262_144)))
    while len(world.upper.data) < 2_000_000:
        assert len(world.layer._reader._rest) <= 262_144 and world.layer._reader._at * 2 <= len(world.layer._reader._rest)
        world.layer.resume_reading()
        loop.settle()
    assert world.upper.data == b"x" * 2_000_000


class Buffered(asyncio.BufferedProtocol):
    """Takes so many bytes into its own buffer, then gives way to another protocol; the way of wire/body.py."""

    def __init__(self, upper: Upper, wanted: int, room: int, after: Any) -> None:
        self.upper = upper
        self.wanted = wanted
        self.room = room
        self.after = after
        self.buffer = bytearray()

    def get_buffer(self, sizehint: int) -> bytearray:
        self.buffer = bytearray(min(self.room, self.wanted))
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        assert 0 < nbytes <= len(self.buffer)
        self.wanted -= nbytes
        data = bytes(self.buffer[:nbytes])
        if not self.wanted:
            self.upper.transport.set_protocol(self.after or self.upper)
        self.upper.data_received(data)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.upper.connection_lost(exc)


def test_a_buffer_smaller_than_a_record(loop: Loop) -> None:
    world = open_world(loop)
    world.layer.set_protocol(Buffered(world.upper, 30_000, 1_000, None))
    data = bytes(range(256)) * 300
    world.send(data)
    loop.settle()
    assert world.upper.data == data


def test_large_data_goes_into_a_buffer_in_one_go(loop: Loop) -> None:
    world = open_world(loop)
    world.layer.set_protocol(Buffered(world.upper, 200_000, 200_000, None))
    world.send(b"x" * 200_000)
    assert world.upper.reads == [200_000]


SIZES = st.one_of(st.integers(1, 40), st.integers(1, 5_000), st.integers(16_300, 16_500), st.integers(30_000, 80_000))


@settings(max_examples=150, deadline=None)
@given(
    writes=st.lists(SIZES, min_size=1, max_size=12),
    cuts=st.lists(st.integers(1, 100_000), max_size=12),
    pauses=st.lists(st.integers(0, 3), max_size=30),
    protocols=st.lists(st.tuples(st.booleans(), st.integers(1, 40_000), st.integers(1, 40_000)), max_size=6),
    step=st.sampled_from([0.0, SLICE_SECONDS / 3, SLICE_SECONDS * 2]),
    version=st.sampled_from([ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]),
    ends=st.booleans(),
)
def test_all_that_was_sent_is_delivered_in_order(
    writes: list[int], cuts: list[int], pauses: list[int], protocols: list[tuple[bool, int, int]], step: float,
    version: ssl.TLSVersion, ends: bool,
) -> None:  # fmt: skip
    """Any sizes, cut anywhere, pauses anywhere, any protocol above: and never another byte from the network for what came already."""
    with Loop() as loop:
        world = open_world(loop, client=authority().client(version=version))
        world.clock_step = step
        expected = b"".join(bytes([65 + number % 26]) * size for number, size in enumerate(writes))
        upper, layer, plan = world.upper, world.layer, list(pauses)
        paused = False

        def on_data() -> None:
            nonlocal paused
            assert not paused
            if plan and (choice := plan.pop()) > 1:
                paused = True
                layer.pause_reading()
                if choice == 3:  # it is ready again before it returns
                    resume()

        def resume() -> None:
            nonlocal paused
            paused = False
            before = len(upper.data)
            layer.resume_reading()
            assert len(upper.data) == before

        upper.on_data = on_data
        after: Any = upper
        for buffered, wanted, room in protocols:
            if buffered:  # at most a hundred buffers of each: with a slow clock each of them takes a turn of the loop
                after = Buffered(upper, wanted, max(room, wanted // 100), after)
        layer.set_protocol(after)
        stream = b"".join(world.encrypt(bytes([65 + number % 26]) * size) for number, size in enumerate(writes))
        if ends:
            stream += world.close_notify()
        for cut in cuts:
            world.plain.receive(stream[:cut])
            stream = stream[cut:]
        world.plain.receive(stream)
        for _ in range(200 + len(pauses)):
            loop.settle()
            if not paused:
                break
            resume()
        loop.settle()
        assert upper.data == expected
        if ends and any(buffered for buffered, *_ in protocols):  # the last protocol above may be one that answers for itself
            assert upper.events in (["made", "lost"], ["made", "eof", "lost"])
        else:
            assert upper.events == (["made", "eof", "lost"] if ends else ["made"])
        assert (layer.state is OPEN) is not ends
        assert loop.problems == [] and world.refused == []


# -- turns


def test_one_read_takes_a_slice_and_then_others_have_their_turn(loop: Loop) -> None:
    world = open_world(loop)
    world.clock_step = SLICE_SECONDS
    data = world.encrypt(b"x" * 250_000)
    world.plain.receive(data)
    assert 0 < len(world.upper.data) <= 65_536 + 16_384 and len(world.turns) == 1 and world.plain.paused
    turns = 0
    while len(world.upper.data) < 250_000:
        before = len(world.upper.data)
        loop.turn()
        turns += 1
        assert len(world.upper.data) - before <= 65_536 + 16_384
    assert turns >= 3
    loop.settle()
    assert not world.plain.paused


def test_where_a_turn_is_used_up_a_long_read_waits(loop: Loop) -> None:
    world = open_world(loop)
    data = world.encrypt(b"x" * 250_000)
    world.turns.spend(1.0)
    world.plain.receive(data)
    assert world.upper.data == b""
    world.plain.receive(b"")
    loop.settle()
    assert world.upper.data == b"x" * 250_000


def test_a_fault_of_the_protocol_above_in_a_later_turn_ends_the_connection(loop: Loop) -> None:
    world = open_world(loop)
    world.turns.spend(1.0)
    world.plain.receive(world.encrypt(b"x" * 250_000))

    def fail() -> None:
        raise RuntimeError("ours")

    world.upper.on_data = fail
    loop.settle()
    assert world.layer.state is GONE and world.upper.events == ["made", "lost"]
    assert [str(problem["exception"]) for problem in loop.problems] == ["ours"]
    loop.problems.clear()


def test_handshakes_are_charged_to_the_turn(loop: Loop) -> None:
    world = World(loop)
    hello = world.flight()
    world.clock_step = 0.01
    world.plain.receive(hello)
    assert world.turns.used_up
    late = World(loop)
    late.turns = late.layer._turns = world.turns
    late.plain.receive(late.flight())
    assert late.plain.sent == b"" and late.plain.paused
    loop.settle()
    assert late.plain.sent != b""


def test_a_burst_of_handshakes_is_spread_over_turns(loop: Loop) -> None:
    """Three hundred ClientHellos in one turn: the loop looks after everything else in between, and each is answered."""
    first = World(loop)
    worlds = [first, *(World(loop) for _ in range(299))]
    first.clock_step = SLICE_SECONDS / 10  # for each look at the clock
    for world in worlds:
        world.turns = world.layer._turns = first.turns
        hello = world.flight()
        world.plain.receive(hello)
    answered = sum(world.plain.sent != b"" for world in worlds)
    assert 0 < answered < 30
    turns = 0
    while answered < 300:
        before, answered = answered, -1
        loop.turn()
        turns += 1
        answered = sum(world.plain.sent != b"" for world in worlds)
        assert before < answered <= before + 30
    assert turns >= 10


def test_a_short_message_is_always_taken(loop: Loop) -> None:
    world = open_world(loop)
    world.turns.spend(1.0)
    world.send(b"ping")
    assert world.upper.data == b"ping"


# -- records without data


def forging(loop: Loop, tmp_path: Path) -> tuple[World, Keys]:
    world = open_world(loop, keylog=tmp_path / "keys")
    cipher = world.client.cipher()
    assert cipher is not None
    return world, Keys(tmp_path / "keys", cipher[0])


KINDS = ["key_update", "key_update_unanswered", "empty", "padded", "tiny", "warning"]


def useless(keys: Keys, kind: str) -> bytes:
    if kind == "warning":
        return keys.record(b"\x01\x5a", 21)  # user_canceled
    if kind.startswith("key_update"):
        return keys.key_update(kind == "key_update")
    return keys.record(b"x" if kind == "tiny" else b"", padding=100 if kind == "padded" else 0)


def most(kind: str) -> int:
    return BURST // (1 if kind == "tiny" else EMPTY_COST)


@pytest.mark.parametrize("together", [True, False], ids=["in_one_read", "each_by_itself"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_flood_of_records_without_data_ends_the_connection(loop: Loop, tmp_path: Path, kind: str, together: bool) -> None:
    world, keys = forging(loop, tmp_path)
    records = [useless(keys, kind) for _ in range(most(kind) + 1)]
    world.plain.receive(*([b"".join(records)] if together else records))
    loop.settle()
    assert world.layer.state is GONE and isinstance(world.upper.error, TlsError)
    assert [reason for reason, _ in world.refused] == ["tls_records"]


@pytest.mark.parametrize("kind", KINDS)
def test_data_between_them_earns_nothing(loop: Loop, tmp_path: Path, kind: str) -> None:
    world, keys = forging(loop, tmp_path)
    for number in range(most(kind) + 1):
        assert world.layer.state is OPEN, number
        world.plain.receive(useless(keys, kind), keys.record(b"data"))
    loop.settle()
    assert world.layer.state is GONE and [reason for reason, _ in world.refused] == ["tls_records"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_rate_of_them_is_allowed(loop: Loop, tmp_path: Path, kind: str) -> None:
    world, keys = forging(loop, tmp_path)
    for _ in range(3 * most(kind)):
        world.now += (1 if kind == "tiny" else EMPTY_COST) / PER_SECOND
        world.plain.receive(useless(keys, kind), keys.record(b"data"))
    assert world.layer.state is OPEN and world.upper.data.count(b"data") == 3 * most(kind)


def test_a_flood_takes_only_so_much_at_once(loop: Loop, tmp_path: Path) -> None:
    """However much lies in one read: a slice of it in each turn of the loop, and the connection is ended before a tenth of it."""
    world, keys = forging(loop, tmp_path)
    flood = b"".join(keys.key_update() for _ in range(11_000))
    world.clock_step = SLICE_SECONDS / 10  # for each look at the clock
    world.looks, began = 0, world.now
    world.plain.receive(flood[:260_000])
    assert world.layer.state is OPEN and len(world.turns) == 1 and world.now - began < 2 * SLICE_SECONDS
    assert len(flood[:260_000]) - len(world.layer._reader._rest) + world.layer._reader._at < 100 * 30
    loop.settle()
    assert world.layer.state is GONE and world.plain.aborted and world.looks < 4 * BURST // EMPTY_COST


def test_answers_that_are_not_read_gather_no_further(loop: Loop, tmp_path: Path) -> None:
    world, keys = forging(loop, tmp_path)
    world.plain.stuck = True
    waiting = 0
    while world.layer.state is OPEN:
        world.plain.receive(keys.key_update())
        waiting = max(waiting, len(world.plain.waiting))
    assert 0 < waiting < 100 * most("key_update")


def test_the_handshake_has_the_same_allowance(loop: Loop) -> None:
    world = World(loop)
    hello = world.flight()
    fragments = b"".join(b"\x16\x03\x01\x00\x01" + bytes([byte]) for byte in hello[5:])
    world.plain.receive(fragments)
    assert world.refused == [] and world.plain.sent != b""
    world = World(loop)
    world.plain.receive(b"\x16\x03\x01\x00\x04\x01\x00\x40\x00" + b"\x16\x03\x01\x00\x01\x00" * 2_000)
    loop.settle()
    assert [reason for reason, _ in world.refused] == ["tls_records"]


def test_renegotiation_is_refused(loop: Loop) -> None:
    """TLS 1.2; by pyOpenSSL, because the standard library's client cannot ask for it."""
    world = World(loop)
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    client = SSL.Connection(context, None)
    client.set_connect_state()

    def pump() -> None:
        with suppress(SSL.WantReadError):
            client.do_handshake()
        with suppress(SSL.WantReadError):
            world.plain.receive(client.bio_read(100_000))
        if sent := world.take():
            client.bio_write(sent)

    for _ in range(4):
        pump()
    assert world.layer.state is OPEN
    assert client.renegotiate()
    pump()
    with pytest.raises(SSL.Error, match="no renegotiation"):
        pump()
    assert world.layer.state is OPEN and world.layer._allowance is not None  # it was counted


# -- with a wire above it


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.one_of(st.integers(0, 300), st.integers(60_000, 400_000)), min_size=1, max_size=5),
    cuts=st.lists(st.integers(1, 262_144), max_size=6),
    step=st.sampled_from([0.0, SLICE_SECONDS / 3]),
)
def test_echoes_of_any_size(sizes: list[int], cuts: list[int], step: float) -> None:
    """From the request on, and large messages by way of the wire's Body, which is a BufferedProtocol."""
    with house() as made:
        door = Door(made, app=EchoApp(), secure=True)
        arrival = Arrival(door.gate, door, PEER, LOCAL, -1)
        world = World(made.loop, upper=arrival).greet()
        world.clock_step = step
        stream = world.encrypt(request("/chat"))
        stream += b"".join(world.encrypt(binary(bytes([65 + number]) * size)) for number, size in enumerate(sizes))
        for cut in cuts:
            world.plain.receive(stream[:cut])
            stream = stream[cut:]
        world.plain.receive(stream)
        made.loop.settle()
        head, _, frames = world.hear().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert list(server_frames(frames)) == [Frame(2, bytes([65 + number]) * size) for number, size in enumerate(sizes)]
        world.layer.abort()


def test_a_refusal_is_read_to_its_end(loop: Loop) -> None:
    """Our side ends first, and the client is read meanwhile: a socket with unread bytes would end in a reset."""
    with house() as made:
        door = Door(made, secure=True)
        world = World(made.loop, upper=Arrival(door.gate, door, PEER, LOCAL, -1)).greet()
        world.send(request("/nowhere"))
        assert world.layer.state is SERVER_ENDED and world.plain.eof_written and not world.plain.closing
        world.send(b"more of it" * 10_000)
        assert world.hear().startswith(b"HTTP/1.1 404 ")
        world.plain.receive(world.close_notify())
        made.loop.settle()
        assert world.layer.state is GONE and not door.arrivals
