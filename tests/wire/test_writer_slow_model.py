"""wire/output.py and wire/protocol.py: whatever a slow client does, by each policy, what it gets is in order, whole and within bounds."""

from __future__ import annotations

import random
import zlib

from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import App, Client, Frame, frame, house, request
from tests.wire.test_writer_slow import read_some
from wsdaemon.wire.deflate.negotiation import DeflateOptions

OFFER = request(sec_websocket_extensions="permessage-deflate; client_max_window_bits")
NOISE = random.Random(3).randbytes(400)
ALONE = DeflateOptions(threshold=0, server_context_takeover=False)

steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 400), st.sampled_from(["own", "red", "blue"])),
        st.tuples(st.sampled_from(["settle", "read", "stick", "drain", "ping"]), st.just(0), st.just("")),
    ),
    max_size=60,
)


class Reader:
    """Inflates what a client gets, in order: it keeps its window, as RFC 7692 section 7.2.2 wants it to."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(-15)

    def payload(self, frame: Frame) -> bytes:
        return self._decoder.decompress(frame.payload + b"\x00\x00\xff\xff") if frame.rsv == 4 else frame.payload


@given(steps=steps, policy=st.sampled_from(["close", "drop_oldest", "latest", "wait"]), deflate=st.booleans())
def test_in_order_within_bounds_and_to_the_last(steps: list[tuple[str, int, str]], policy: str, deflate: bool) -> None:
    backlog, largest, key = 1800, 430, {"own": None, "red": "red", "blue": "blue"}
    with house() as made:
        app = App()
        client = made.make_wire(app, opening=OFFER, slow_client=policy, send_backlog=backlog, deflate=ALONE if deflate else None)
        assert ("permessage-deflate" in client.head) is deflate
        sent: list[tuple[str, bytes]] = []
        pings = 0
        for doing, size, room in steps:
            if not client.writer.live:
                break
            if doing == "send":
                payload = b"%s %d " % (room.encode(), len(sent)) + NOISE[:size]
                sent.append((room, payload))
                client.writer.send_prepared(client.writer.prepare(payload, False, key[room])) if key[room] else app.connection.send(payload)
            elif doing == "read":
                read_some(client) if client.transport.writing_paused else None
            elif doing == "stick":
                client.transport.stuck = True
            elif doing == "drain":
                client.transport.drain()
            elif doing == "ping":
                client.send(frame(9, b"%d" % pings))
                pings += 1
            made.loop.settle()
            assert client.writer.unsent() <= 2 * backlog + 2 * largest
        ended = not client.writer.live
        client.transport.drain()
        made.loop.settle()
        check(client, sent, pings, policy, ended)


def check(client: Client, sent: list[tuple[str, bytes]], pings: int, policy: str, ended: bool) -> None:
    reader = Reader()
    frames = client.frames()
    got = [reader.payload(one) for one in frames if one.opcode == 2]
    numbers = [int(payload.split()[1]) for payload in got]
    assert got == [sent[number][1] for number in numbers], "nothing is garbled"
    assert numbers == sorted(set(numbers)), "nothing comes twice or out of order"
    pongs = [one.payload for one in frames if one.opcode == 10]
    assert pongs == [b"%d" % number for number in range(len(pongs))]
    assert [one.code for one in frames if one.opcode == 8] == [1013] * ended
    if ended:
        assert frames[-1].opcode == 8
    else:
        assert len(pongs) == pings
        assert not sent or numbers[-1] == len(sent) - 1, "the newest always arrives"
        if policy in ("close", "wait"):
            assert len(got) == len(sent)
        if policy == "latest":
            newest = {room: number for number, (room, _) in enumerate(sent)}
            assert set(newest.values()) <= set(numbers), "and that of each room"
