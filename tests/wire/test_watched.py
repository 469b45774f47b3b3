"""wire/watched.py: watchers see each frame of an open connection, from any moment on, and the connection does not notice."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.deflate import sync_flushed
from tests.support.fakes import App, Client, Frame, House, binary, close, closing, frame, house, request, text
from tests.support.handover import Talker, Worker, run
from tests.support.mounted_classes import Echo
from tests.support.watched import Body, Reader, Transport, Viewer
from tests.support.watched import frame as bare
from wsdaemon.apps.echo import EchoApp
from wsdaemon.core.seen_frame import Inflated, SeenFrame
from wsdaemon.wire.deflate.negotiation import DeflateOptions
from wsdaemon.wire.handover import Parting
from wsdaemon.wire.watched import WatchedTransport, end_watching, unwatch, watch

SENT = [
    text("one"), frame(9, b"ping"), binary(bytes(300)), frame(1, b"frag", fin=False), frame(0, "mentiert: grün".encode()),
    text("x" * 70_000), frame(2, b"a", fin=False), frame(9, b"between"), frame(0, b"b"), text(""), text("last"),
]  # fmt: skip
KINDS = [(1, 3), (9, 4), (2, 300), (1, 4), (0, 15), (1, 70_000), (2, 1), (9, 7), (0, 1), (1, 0), (1, 4)]
ANSWERS = [(1, 3), (10, 4), (2, 300), (1, 19), (1, 70_000), (10, 7), (2, 2), (1, 0), (1, 4)]


@pytest.mark.parametrize("reader", ["c", "python", "off"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_watcher_sees_all_frames_that_begin_after_it_has_come(reader: str, data: st.DataObject) -> None:
    stream = b"".join(SENT)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), min_size=2, max_size=2)))
    begins = [sum(map(len, SENT[:number])) for number in range(len(SENT))]
    with house(reader) as made:
        client, viewer = made.make_wire(EchoApp(), ping_interval=0.0), Viewer()
        client.send(stream[: cuts[0]])
        assert watch(client.connection, viewer)
        client.send(stream[cuts[0] : cuts[1]])
        unwatch(client.connection, viewer)
        assert client.writer.native is client.transport
        client.send(stream[cuts[1] :])
        made.loop.settle()
        assert [(each.opcode, len(each.payload)) for each in client.frames()] == ANSWERS
    whole = [kind for kind, begin, size in zip(KINDS, begins, map(len, SENT), strict=True) if cuts[0] <= begin and begin + size <= cuts[1]]
    seen = viewer.sizes(True)
    assert seen[len(seen) - len(whole) :] == whole
    assert len(seen) - len(whole) <= 1  # of a frame whose header was not whole
    answers = viewer.sizes(False)
    assert answers == ANSWERS[: len(answers)] or any(answers == ANSWERS[start : start + len(answers)] for start in range(len(ANSWERS)))
    assert not any(frame.beginning for _, frame in viewer.frames)


def test_the_socket_is_written_to_again_after_the_last_watcher(made: House) -> None:
    near, far = socket.socketpair()
    with near, far:
        client = made.make_wire(EchoApp(), ping_interval=0.0, descriptor=near.fileno())
        one, other = Viewer(), Viewer(keep=3)
        assert watch(client.connection, one)
        assert watch(client.connection, other)
        client.send(text("hello"))
        assert client.frames() == [Frame(1, b"hello")]
        unwatch(client.connection, one)
        assert client.writer.descriptor == -1
        unwatch(client.connection, other)
        unwatch(client.connection, other)
        assert (client.writer.descriptor, client.writer.native) == (near.fileno(), client.transport)
        client.connection.send("direct")
        made.loop.settle()
        assert far.recv(1000).endswith(b"\r\n\r\n" + bare(1, b"direct"))
        assert other.frames == [(True, SeenFrame(1, 5, b"hel")), (False, SeenFrame(1, 5, b"hel"))]
        assert one.sizes(False) == other.sizes(False) == [(1, 5)]


def test_a_connection_that_closes_is_not_written_past_its_transport(made: House) -> None:
    client = made.make_wire(EchoApp(), ping_interval=0.0, descriptor=99)
    viewer = Viewer()
    watch(client.connection, viewer)
    client.connection.close(4001, "bye")
    unwatch(client.connection, viewer)
    assert client.writer.descriptor == -1
    client.answer_close()
    assert client.frames() == [closing(4001, "bye")]
    assert client.ended == (4001, "bye", "server")


def test_the_end_of_the_connection_is_told_once(made: House) -> None:
    client, viewer = made.make_wire(EchoApp(), ping_interval=0.0), Viewer()
    watch(client.connection, viewer)
    client.send(close(1000))
    made.loop.settle()
    assert viewer.sizes(True) == viewer.sizes(False) == [(8, 2)]
    assert int.from_bytes(viewer.frames[0][1].beginning) == 1000
    assert len(viewer.reasons) == 1
    assert not watch(client.connection, viewer)
    unwatch(client.connection, viewer)


def test_nothing_is_watched_in_the_midst_of_a_read(made: House) -> None:
    viewer, told = Viewer(), []
    client = made.make_wire(App(lambda connection, message: told.append(watch(connection, viewer))), ping_interval=0.0)
    client.send(text("now"))
    assert told == [False]


def test_a_frame_that_a_mounted_class_sends_in_pieces_is_passed_over(made: House) -> None:
    client, viewer = made.make_wire(mounted=Echo), Viewer()
    protocol: Any = client.protocol
    protocol.beginMessage(isBinary=True)
    protocol.beginMessageFrame(5)
    protocol.sendMessageFrameData(b"ab")
    assert watch(client.connection, viewer)
    protocol.sendMessageFrameData(b"cde")
    protocol.endMessage()
    protocol.sendMessage(b"next", isBinary=False)
    made.loop.settle()
    assert viewer.sizes(False) == [(0, 0), (1, 4)]


COMPRESSED = [(1, b"hello, hello, hello!"), (2, bytes(3000)), (1, b""), (1, b"hello, world! hello, hello!"), (1, "grün".encode() * 3)]

DEFLATE = DeflateOptions(threshold=0, window_bits=15)


def compressed_house(made: House, deflate: DeflateOptions, app: Any = None) -> Client:
    opening = request(sec_websocket_extensions="permessage-deflate; client_max_window_bits")
    return made.make_wire(app or EchoApp(), opening=opening, deflate=deflate, ping_interval=0.0)


def shown(viewer: Viewer, incoming: bool) -> list[bytes | None]:
    """Payloads of one direction as the viewer sees them; None for one that is not inflated."""
    seen = [each for coming, each in viewer.frames if coming == incoming]
    return [each.inflated.beginning if each.inflated is not None else None if each.compressed else each.beginning for each in seen]


@pytest.mark.parametrize("reader", ["c", "python", "off"])
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_compressed_frames_are_inflated_from_any_moment_on(reader: str, data: st.DataObject) -> None:
    takeover, bits = data.draw(st.booleans()), data.draw(st.sampled_from([11, 15]))
    options = DeflateOptions(threshold=0, window_bits=bits, server_context_takeover=takeover, client_context_takeover=takeover)
    parts = sync_flushed(*[payload for _, payload in COMPRESSED], bits=bits)
    if not takeover:
        parts = [sync_flushed(payload, bits=bits)[0] for _, payload in COMPRESSED]
    frames = [frame(opcode, part, rsv=4) for (opcode, _), part in zip(COMPRESSED, parts, strict=True)]
    cut = data.draw(st.integers(0, sum(map(len, frames))))
    stream = b"".join(frames)
    with house(reader) as made:
        client, viewer = compressed_house(made, options), Viewer(keep=4096)
        client.send(stream[:cut])
        assert watch(client.connection, viewer)
        for byte in range(cut, len(stream)):
            client.send(stream[byte : byte + 1])
        made.loop.settle()
    payloads = [payload for _, payload in COMPRESSED]
    begun = [number for number in range(len(frames)) if sum(map(len, frames[:number])) >= cut]
    seen = shown(viewer, True)
    assert seen[len(seen) - len(begun) :] == [payloads[number] for number in begun]
    answers = shown(viewer, False)
    assert answers == payloads[len(payloads) - len(answers) :] and len(answers) >= len(begun)


def test_a_read_that_waits_is_inflated_when_it_was_read_before_the_watcher_came(made: House) -> None:
    waiting = made.loop.create_future()
    app = App(lambda connection, message: waiting)
    client = compressed_house(made, DEFLATE, app)
    client.send(b"".join(frame(1, part, rsv=4) for part in sync_flushed(b"one, one", b"one, two, one", b"two, one, two")))
    viewer = Viewer(keep=4096)
    assert watch(client.connection, viewer)
    waiting.set_result(None)
    made.loop.settle()
    client.send(frame(1, sync_flushed(b"one, one", b"one, two, one", b"two, one, two", b"one, three")[3], rsv=4))
    assert shown(viewer, True)[-1] == b"one, three"
    assert app.messages[-1] == "one, three"


def test_a_watcher_that_wants_no_payload_costs_no_inflating(made: House) -> None:
    client, viewer, other = compressed_house(made, DEFLATE), Viewer(), Viewer(keep=9)
    assert watch(client.connection, viewer)
    [one, two] = sync_flushed(b"hello hello hello", b"hello again, hello")
    client.send(frame(1, one, rsv=4))
    made.loop.settle()
    assert [(seen.compressed, seen.final, seen.inflated, seen.beginning) for _, seen in viewer.frames] == [(True, True, None, b"")] * 2
    assert watch(client.connection, other)
    client.send(frame(1, two, rsv=4))
    made.loop.settle()
    assert [seen.inflated for _, seen in other.frames] == [Inflated(b"hello aga", True)] * 2
    unwatch(client.connection, other)
    native: Any = client.writer.native
    assert native.incoming.view is None


def test_a_message_that_is_not_inflated_costs_later_ones_nothing(made: House) -> None:
    client, viewer = compressed_house(made, DeflateOptions(threshold=0, window_bits=15, level=0)), Viewer(keep=9)
    assert watch(client.connection, viewer)
    large = bytes(range(256)) * 1000
    for part in sync_flushed(b"hello, hello", large, b"hello, hello, hello", b"hello, hello", level=0):
        client.send(frame(2, part, rsv=4))
        made.loop.settle()
    assert shown(viewer, True) == [b"hello, he", large[:9], b"hello, he", b"hello, he"]
    assert shown(viewer, False)[1:] == [large[:9], b"hello, he", b"hello, he"]


def test_the_frames_of_a_compressed_message_are_all_told_as_compressed(made: House) -> None:
    client, viewer = compressed_house(made, DEFLATE), Viewer(keep=9)
    [part] = sync_flushed(b"one two three four")
    assert watch(client.connection, viewer)
    client.send(frame(1, part[:5], rsv=4, fin=False) + frame(9, b"ping") + frame(0, part[5:]) + text("plain"))
    coming = [(seen.opcode, seen.compressed) for incoming, seen in viewer.frames if incoming]
    assert coming == [(1, True), (9, False), (0, True), (1, False)]


def test_the_rest_of_a_compressed_message_is_told_as_compressed_to_one_who_comes_in_its_midst(made: House) -> None:
    client, viewer = compressed_house(made, DEFLATE), Viewer(keep=9)
    [part] = sync_flushed(b"one two three four")
    begun = frame(0, part[5:9], fin=False)
    client.send(frame(1, part[:5], rsv=4, fin=False) + begun[:8])
    assert watch(client.connection, viewer)
    client.send(begun[8:] + frame(0, part[9:12], fin=False) + frame(0, part[12:]) + text("plain"))
    assert [(seen.opcode, seen.compressed) for incoming, seen in viewer.frames if incoming] == [(0, True), (0, True), (1, False)]
    assert shown(viewer, True) == [None, None, b"plain"]


@pytest.mark.parametrize("compressed", [True, False])
def test_the_rest_of_our_message_in_pieces_is_told_as_it_is(made: House, compressed: bool) -> None:
    opening = request(sec_websocket_extensions="permessage-deflate; client_max_window_bits")
    client, viewer = made.make_wire(mounted=Echo, opening=opening, deflate=DEFLATE), Viewer()
    protocol: Any = client.protocol
    protocol.beginMessage(isBinary=True, doNotCompress=not compressed)
    protocol.sendMessageFrame(b"first")
    assert watch(client.connection, viewer)
    protocol.sendMessageFrame(b"second")
    protocol.endMessage()
    protocol.sendMessage(b"whole", isBinary=True, doNotCompress=True)
    made.loop.settle()
    assert [(seen.opcode, seen.compressed) for incoming, seen in viewer.frames if not incoming] == [
        (0, compressed), (0, compressed), (2, False)
    ]  # fmt: skip


def test_a_hand_over_ends_the_watching() -> None:
    async def story() -> None:
        talker, old, new = Talker(), Worker(EchoApp()), Worker(EchoApp())
        await old.open(talker.far.dup())
        talker.far.close()
        viewer = Viewer()
        assert watch(old.wire.connection, viewer)
        talker.send(text("before"))
        assert await talker.hear(1) == [Frame(1, b"before")]
        parting = old.part()
        assert isinstance(parting, Parting)
        await new.take(parting)
        talker.send(text("after"))
        assert [each.payload for each in await talker.hear(2)] == [b"before", b"after"]
        assert viewer.sizes(True) == viewer.sizes(False) == [(1, 6)]
        assert viewer.reasons == ["an upgrade moves the connection to another process"]
        talker.close()

    run(story())


def test_watchers_can_be_sent_away(made: House) -> None:
    client, viewer = made.make_wire(EchoApp(), ping_interval=0.0), Viewer()
    end_watching(client.wire, "nothing to end")
    watch(client.connection, viewer)
    end_watching(client.wire, "enough")
    client.send(text("hello"))
    assert (viewer.frames, viewer.reasons, client.frames()) == ([], ["enough"], [Frame(1, b"hello")])


def test_a_reader_and_a_body_receive_all_that_comes() -> None:
    transport: Any = Transport()
    native: Any = WatchedTransport(transport, Viewer())
    reader = Reader()
    body = Body(native, reader)
    native.set_protocol(body)
    assert native.get_protocol() is body
    transport.protocol.data_received(b"abcdefg")
    assert body.taken == 4
    assert reader.calls == [b"efg"]
    assert native.get_protocol() is reader
    for name in ("eof_received", "pause_writing", "resume_writing"):
        getattr(transport.protocol, name)()
    transport.protocol.connection_lost(None)
    assert reader.calls[1:] == ["eof", "pause", "resume", "lost"]
    native.pause_reading()
    assert transport.paused
