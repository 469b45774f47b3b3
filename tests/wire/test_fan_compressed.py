"""wire/fan.py and wire/prepared.py: compressed once for all who agreed alike, and every client can inflate what it gets."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate as Peer
from websockets.frames import Frame as PeerFrame
from websockets.frames import Opcode

from tests.support.fake_members import PLENTY, Members
from tests.support.fakes import READERS, Client, Frame, House, house, request
from wsdaemon.wire.deflate.compressor import MESSAGE_SECONDS, DeflateBudget
from wsdaemon.wire.deflate.negotiation import DeflateOptions, DeflateParameters
from wsdaemon.wire.deflate.streams import deflate_message
from wsdaemon.wire.fan import send_to_all

OFFER = request(sec_websocket_extensions="permessage-deflate; client_max_window_bits")
NARROW_OFFER = request(sec_websocket_extensions="permessage-deflate; server_max_window_bits=9")

pytestmark = pytest.mark.readers("python", "c")


def inflated(client: Client, peer: Peer) -> list[bytes]:
    """The messages that a client was sent since the last time, as the library `websockets` understands them."""
    frames = [one for one in client.frames() if one.opcode in (1, 2)]
    return [bytes(peer.decode(PeerFrame(Opcode(one.opcode), one.payload, one.fin, one.rsv == 4)).data) for one in frames]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Payloads that were compressed for many."""
    made: list[bytes] = []

    def counted(payload: bytes, parameters: DeflateParameters, budget: DeflateBudget, taken: float) -> tuple[bytes, float]:
        made.append(payload)
        return deflate_message(payload, parameters, budget, taken)

    monkeypatch.setattr("wsdaemon.wire.prepared.deflate_message", counted)
    return made


def test_it_is_compressed_once_for_all_who_agreed_alike(made: House, calls: list[bytes]) -> None:
    narrow = Members(made, 4, opening=NARROW_OFFER, deflate=DeflateOptions())
    wide = Members(made, 4, opening=OFFER, deflate=DeflateOptions())
    without = Members(made, 2, deflate=DeflateOptions())
    message = wide.prepare(b"to everyone " * 50)
    writers = [writer for pair in zip(wide.writers, narrow.writers, strict=True) for writer in pair] + without.writers
    send_to_all(writers, [message])
    made.loop.settle()
    assert calls == [b"to everyone " * 50] * 2, "one for each window"
    for members, bits in ((narrow, 9), (wide, 11)):
        assert [inflated(client, Peer(False, False, bits, 15)) for client in members.clients] == [[b"to everyone " * 50]] * 4
    assert [client.frames() for client in without.clients] == [[Frame(2, b"to everyone " * 50)]] * 2
    send_to_all(wide.writers, [message])
    assert len(calls) == 2, "and it is kept"


def test_small_messages_of_a_burst_stay_plain(made: House) -> None:
    members = Members(made, 2, opening=OFFER, deflate=DeflateOptions(threshold=100))
    members.publish("small", "x" * 100)
    made.loop.settle()
    for client in members.clients:
        assert [(one.rsv, one.payload == b"small") for one in client.frames()] == [(0, True), (4, False)]


def test_a_prepared_message_to_one(made: House) -> None:
    members = Members(made, 2, opening=OFFER, deflate=DeflateOptions(threshold=100))
    peer = Peer(False, False, 11, 11)
    writer = members.writers[0]
    for payload in (b"small", b"large " * 50, b"large " * 50):
        writer.send_prepared(members.prepare(payload))
    assert inflated(members.clients[0], peer) == [b"small", b"large " * 50, b"large " * 50]
    assert writer.messages_out == 3
    members.apps[0].connection.abort()
    writer.send_prepared(members.prepare("too late"))
    assert (members.clients[0].frames(), writer.messages_out) == ([], 3)


@pytest.mark.parametrize("seed", range(10))
def test_own_messages_go_on_after_those_to_all(made: House, seed: int) -> None:
    """Each with context takeover: what goes to all moves the client's window, and ours must not refer past it."""
    chance = random.Random(seed)
    worked = itertools.accumulate(chance.random() * MESSAGE_SECONDS for _ in itertools.count())
    made.turns.deflating = DeflateBudget(lambda: 0.0, lambda: next(worked))  # long messages are stored from somewhere on
    members = Members(made, 2, opening=OFFER, deflate=DeflateOptions(threshold=100))
    peers = [Peer(False, False, 11, 11) for _ in range(2)]
    sent: list[list[bytes]] = [[], []]
    for step in range(60):
        payloads = [
            b"%d " % step + b"what is said again and again " * chance.choice([1, 5, 9, 900, 4000]) for _ in range(chance.randrange(1, 4))
        ]
        if chance.random() < 0.4:
            members.publish(*payloads)
            sent[0] += payloads
            sent[1] += payloads
        else:
            number = chance.randrange(2)
            sent[number].append(payloads[0])
            members.apps[number].connection.send(payloads[0])
        if chance.random() < 0.3:
            made.loop.settle()
    made.loop.settle()
    assert [inflated(client, peer) for client, peer in zip(members.clients, peers, strict=True)] == sent


words = st.lists(st.sampled_from([b"alpha ", b"beta ", b'{"id": 1}', bytes(range(60)), b"z" * 40]), min_size=1, max_size=8).map(b"".join)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("own"), st.integers(0, 3), words.map(lambda word: [word])),
        st.tuples(st.just("all"), st.integers(0, 3), st.lists(words, min_size=1, max_size=3)),
        st.tuples(st.sampled_from(["settle", "stick", "drain", "rest", "room"]), st.integers(0, 3), st.just([])),
    ),
    max_size=40,
)


@given(
    steps=steps, takeover=st.booleans(), policy=st.sampled_from(["close", "close", "drop_oldest", "latest"]), bits=st.integers(9, 15),
    threshold=st.sampled_from([0, 50, 150]), reader=st.sampled_from([name for name in READERS if name != "off"]),
)  # fmt: skip
def test_each_client_can_inflate_what_it_gets(
    steps: list[tuple[str, int, list[bytes]]], takeover: bool, policy: str, bits: int, threshold: int, reader: str
) -> None:
    """Own messages and those to all, in any order: by the decoder of another library, with one window for all of them.

    As on a mount, nothing is kept in the window where messages may be dropped.
    """
    options = DeflateOptions(window_bits=bits, threshold=threshold, server_context_takeover=takeover and policy == "close")
    bound = 1 << 20 if policy == "close" else 1500
    with house(reader) as made:
        members = Members(made, 4, opening=OFFER, deflate=options, slow_client=policy, send_backlog=bound, ping_interval=0.0)
        peers = [Peer(not options.server_context_takeover, False, bits, 15) for _ in members.clients]
        sent: list[list[bytes]] = [[] for _ in members.clients]
        for step, (doing, number, payloads) in enumerate(steps):
            client = members.clients[number]
            if doing == "own":
                payload = b"%d " % step + payloads[0]
                sent[number].append(payload)
                members.apps[number].connection.send(payload)
            elif doing == "all":
                numbered = [b"%d.%d " % (step, place) + payload for place, payload in enumerate(payloads)]
                for expected in sent:
                    expected.extend(numbered)
                members.publish(*numbered)
            elif doing == "stick":
                client.transport.stuck = True
                members.sockets.room[client.writer.descriptor] = 0
            elif doing == "room":
                members.sockets.room[client.writer.descriptor] = 50
            elif doing == "drain":
                members.sockets.room[client.writer.descriptor] = PLENTY
                client.transport.drain()
            elif doing == "rest":
                made.loop.advance(5.0)
            else:
                made.loop.settle()
        made.loop.settle()
        for client, peer, expected in zip(members.clients, peers, sent, strict=True):
            client.transport.drain()
            got = inflated(client, peer)
            if policy == "close":
                assert got == expected
            else:
                places = [expected.index(payload) for payload in got]
                assert places == sorted(set(places)), "in order, and each once"
                assert got[-1:] == expected[-1:], "the newest always arrives"
