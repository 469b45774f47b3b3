"""The frame fast path's second half: frames that come in pieces, and frames that are sent."""

from __future__ import annotations

import gc
import socket
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from autobahn.websocket.utf8validator import Utf8Validator
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.frames.test_twin_reading import BAD_TEXT, BOTH, EURO, MASK, MAXIMUM, both, client, needs_c, unmasked
from wsdaemon.wire.frames import COMPRESSED, RSV1, TEXT, Frames, Partial


def begin(frames: Frames, data: bytes, flags: int = 0, maximum: int = MAXIMUM) -> Partial:
    partial = frames.begin(data, 0, maximum, flags)
    assert partial is not None
    return partial


# -- Partial


@both
@pytest.mark.parametrize("flags", [0, TEXT])
@pytest.mark.parametrize("step", [1, 3, 8, 13, 1000])
def test_a_partial_puts_any_pieces_together(frames: Frames, flags: int, step: int) -> None:
    text = "größer €😀, and then plain words for a while. " * 9
    data = client(1, text.encode())
    partial, position = begin(frames, data[:9], flags), 9
    while partial.missing:
        assert partial.missing == len(data) - position
        with pytest.raises(ValueError):
            partial.message()
        piece = data[position : position + step] + (b"the next frame" if position + step >= len(data) else b"")
        position += partial.feed(b"!" + piece, 1) - 1
        assert partial.valid
    assert position == len(data)
    assert partial.opcode == 1
    assert partial.message() == (text if flags else text.encode())
    assert partial.feed(b"more", 1) == 1
    assert partial.replay() == data


@both
def test_a_partial_of_a_compressed_frame_is_not_checked(frames: Frames) -> None:
    data = client(1, b"\xff\xfe\xfd", reserved=4)
    partial = begin(frames, data[:7], RSV1 | TEXT)
    partial.feed(data, 7)
    assert (partial.opcode, partial.valid, partial.message()) == (1 | COMPRESSED, True, b"\xff\xfe\xfd")


@both
@settings(deadline=None)
@given(payload=st.one_of(st.binary(min_size=1, max_size=12), st.text(min_size=1, max_size=8).map(str.encode), st.sampled_from(BAD_TEXT)))
def test_text_fails_at_the_very_byte_at_which_it_fails_in_autobahn(frames: Frames, payload: bytes) -> None:
    data = client(1, payload + b"x" * 9)
    partial, validator = begin(frames, data[:6]), Utf8Validator()
    for index, byte in enumerate(payload):
        partial.feed(data[: 7 + index], 6 + index)
        assert partial.valid == validator.validate(bytes([byte]))[0]
        if not partial.valid:
            break
    assert partial.replay() == data[: 7 + index]


@both
@pytest.mark.parametrize("bad", BAD_TEXT)
@pytest.mark.parametrize("flags", [0, TEXT])
def test_a_partial_begun_or_ended_with_bad_text_is_not_valid(frames: Frames, bad: bytes, flags: int) -> None:
    data = client(1, b"0123456789" + bad)
    partial = begin(frames, data[:12], flags)
    assert partial.feed(data, 12) == len(data)
    assert not partial.valid
    assert partial.replay() == data
    with pytest.raises(ValueError):
        partial.message()
    if bad != EURO[:2]:  # which may still become a text
        assert frames.begin(client(1, bad + b"0123456789")[:-3], 0, MAXIMUM, flags) is None


@both
def test_begin_leaves_whole_frames_and_control_frames(frames: Frames) -> None:
    assert frames.begin(client(2, b"whole"), 0, MAXIMUM, 0) is None
    assert frames.begin(client(2, b"whole") + b"more", 0, MAXIMUM, 0) is None
    assert frames.begin(client(2), 0, MAXIMUM, 0) is None
    assert frames.begin(client(9, b"ping")[:-1], 0, MAXIMUM, 0) is None
    assert frames.begin(client(2, b"12345")[:-1], 0, 4, 0) is None
    assert begin(frames, client(2, b"12345")[:-1], maximum=5).missing == 1


@both
def test_a_length_beyond_all_memory_is_left_to_the_parser(frames: Frames) -> None:
    for length in (1 << 62, sys.maxsize - 1, sys.maxsize):
        for opcode in (1, 2):
            assert frames.begin(client(opcode, length=length), 0, sys.maxsize, TEXT) is None


@both
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("flags", [0, TEXT])
def test_memory_that_nothing_was_received_into_costs_nothing(frames: Frames, flags: int) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    before = resident()
    partials = [begin(frames, client(1, b"x", length=1 << 28), flags, maximum=1 << 28) for _ in range(4)]
    assert resident() - before < 1 << 25
    assert [partial.missing for partial in partials] == [(1 << 28) - 1] * 4


# -- receiving straight into a partial


@both
@pytest.mark.parametrize("flags", [0, TEXT])
@pytest.mark.parametrize("payload", [b"plain " * 20_000, EURO * 30_000], ids=["ascii", "euro"])
def test_what_is_received_into_the_room_is_unmasked_in_place(frames: Frames, flags: int, payload: bytes) -> None:
    data = client(1, payload)
    partial, position = begin(frames, data[:101], flags, maximum=1 << 20), 101
    for size in (1, 2, 3, 50_001, 1 << 20):
        room = partial.room(5)
        assert len(room) == max(len(data) - position - 5, 0) and not room.readonly
        count = min(size, len(room))
        room[:count] = data[position : position + count]
        partial.received(count)  # while the room is held, as an event loop does
        position += count
    room = partial.room(5)
    assert len(room) == 0  # so that it does not matter that it is held
    assert partial.missing == 5 and partial.feed(data, position) == len(data)
    message = partial.message()
    assert message == (payload.decode() if flags else payload)
    if frames.name == "c" and not flags:
        assert partial.message() is message  # it was not copied at all


@both
@pytest.mark.parametrize("flags", [0, TEXT])
def test_nobody_writes_into_a_message_through_an_old_room(frames: Frames, flags: int) -> None:
    data = client(1, b"0123456789")
    partial = begin(frames, data[:8], flags)
    room = partial.room()
    room[:] = data[8:]
    partial.received(8)
    message = partial.message()
    room[:] = b"\xff" * 8
    assert message == ("0123456789" if flags else b"0123456789")
    assert len(partial.room()) == 0
    room.release()
    if flags:  # nor does a text become one that lies about being ASCII
        with pytest.raises(UnicodeDecodeError):
            partial.message()


@both
def test_a_room_outlives_its_partial(frames: Frames) -> None:
    room = begin(frames, client(2, b"x" * 100_000)[:50], maximum=1 << 20).room()
    room[:] = b"y" * len(room)
    assert bytes(room[-3:]) == b"yyy"


@both
def test_a_partial_refuses_wrong_arguments(frames: Frames) -> None:
    partial = begin(frames, client(2, b"12345")[:-2])
    for count in (-1, 3, 1 << 70):
        with pytest.raises(ValueError):
            partial.received(count)
    for keep in (-1, 1 << 70):
        with pytest.raises(ValueError):
            partial.room(keep)
        assert len(partial.room()) == 2
    assert len(partial.room(sys.maxsize)) == 0
    with pytest.raises(ValueError):
        partial.feed(b"123", 4)
    with pytest.raises(TypeError):
        partial.feed("123", 0)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        partial.received("1")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        partial.room(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        type(partial)()
    assert partial.missing == 2
    with pytest.raises(AttributeError):
        partial.unknown = 1  # type: ignore[attr-defined]


# -- arguments and leaks


@both
@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (TypeError, (bytearray(8), 0, 1, 0, 1)),
        (TypeError, ("text", 0, 1, 0, 1)),
        (TypeError, (None, 0, 1, 0, 1)),
        (TypeError, (b"", 0.0, 1, 0, 1)),
        (TypeError, (b"", 0, None, 0, 1)),
        (ValueError, (b"12345678", 9, 1, 0, 1)),
        (ValueError, (b"12345678", -1, 1, 0, 1)),
        (ValueError, (b"", 1 << 70, 1, 0, 1)),
        (ValueError, (b"", 0, -1, 0, 1)),
        (ValueError, (b"", 0, 1 << 63, 0, 1)),
        (ValueError, (b"", 0, 1, 4, 1)),
        (ValueError, (b"", 0, 1, -1, 1)),
        (ValueError, (b"", 0, 1, 0, -1)),
        (TypeError, (b"",)),
    ],
)
def test_wrong_arguments_are_refused(frames: Frames, error: type[Exception], arguments: tuple[Any, ...]) -> None:
    with pytest.raises(error):
        frames.take(*arguments)
    if arguments[-1] != -1:
        with pytest.raises(error):
            frames.begin(*arguments[:4])


def exercise(frames: Frames) -> None:
    frames.take((client(1, b"text") + client(2, EURO * 30) + client(9)) * 20 + client(1, b"\xff"), 0, 1000, TEXT, 1000)
    frames.take(b"", 0, 1000, 0, 1000)
    for flags, payload in ((0, b"x" * 500), (TEXT, b"x" * 500), (TEXT, EURO * 100), (TEXT, b"x" * 400 + b"\xff" * 9)):
        partial = begin(frames, client(1, payload)[:50], flags)
        with partial.room() as room:
            room[0] = 0
        partial.feed(client(1, payload), 50)
        if partial.valid:
            held = partial.room()
            assert partial.message() and held is not None
        partial.replay()
    frames.begin(client(1, b"\xff" * 40)[:30], 0, 100, 0)
    frames.frame(1, b"x" * 200, rsv1=True)
    frames.header(1, 70_000)
    with pytest.raises(TypeError):
        frames.take(None, 0, 0, 0, 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        frames.take(b"", 5, 0, 0, 0)


@needs_c
def test_the_c_module_keeps_no_memory() -> None:
    frames = BOTH[0]
    for _ in range(20):
        exercise(frames)
    tracemalloc.start()
    try:
        exercise(frames)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(200):
            exercise(frames)
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert kept < 200 * 16  # one leaked object per round would be more than twice that


@needs_c
def test_the_c_module_gives_every_reference_away_once() -> None:
    frames = BOTH[0]
    partial = begin(frames, client(2, b"abc" * 100)[:50])
    partial.feed(client(2, b"abc" * 100), 50)
    message = partial.message()
    held = sys.getrefcount(message)
    del partial
    assert sys.getrefcount(message) == held - 1
    taken, plain = frames.take(client(2, b"abc") * 2, 0, 10, 0, 2)[0], [2, bytes([97, 98, 99]), 2, bytes([97, 98, 99])]
    assert [sys.getrefcount(item) for item in taken[1::2]] == [sys.getrefcount(item) for item in plain[1::2]]
    assert sys.getrefcount(taken) == sys.getrefcount(plain)


# -- sending


@both
@pytest.mark.parametrize(
    ("opcode", "length", "rsv1", "expected"),
    [
        (1, 0, False, "8100"),
        (1, 125, True, "c17d"),
        (2, 126, False, "827e007e"),
        (2, 65535, False, "827effff"),
        (10, 65536, False, "8a7f0000000000010000"),
    ],
)
def test_server_frames_have_the_shortest_header(frames: Frames, opcode: int, length: int, rsv1: bool, expected: str) -> None:
    payload = bytes(length)
    assert frames.header(opcode, length, rsv1).hex() == expected
    assert frames.frame(opcode, payload, rsv1) == bytes.fromhex(expected) + payload
    assert frames.frame(opcode, payload, rsv1=rsv1) == frames.frame(opcode, payload, rsv1)
    assert frames.header(opcode, length, rsv1=rsv1) == frames.header(opcode, length, rsv1)


@both
def test_wrong_frames_are_not_made(frames: Frames) -> None:
    for opcode in (-1, 16, 1 << 70):
        with pytest.raises(ValueError):
            frames.frame(opcode, b"")
        with pytest.raises(ValueError):
            frames.header(opcode, 0)
    for length in (-1, 1 << 63):
        with pytest.raises(ValueError):
            frames.header(1, length)
    with pytest.raises(TypeError):
        frames.frame(1, "text")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        frames.frame("1", b"")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        frames.frame(1, b"", rsv2=True)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        frames.header(1)  # type: ignore[call-arg]


@both
def test_send_never_waits_and_never_closes(frames: Frames) -> None:
    ours, theirs = socket.socketpair()  # blocking ones: it is send() that must not wait
    with ours, theirs:
        assert frames.send(ours.fileno(), b"hello") == 5
        assert theirs.recv(9) == b"hello"
        assert frames.send(ours.fileno(), b"") == 0
        total, sent = 0, 1
        while sent:
            sent = frames.send(ours.fileno(), b"x" * 50_000)
            assert 0 <= sent <= 50_000
            total += sent
        assert total > 0
        theirs.close()
        assert frames.send(ours.fileno(), b"hello") == -1
        assert ours.getsockname() is not None
    assert frames.send((1 << 31) - 1, b"hello") == -1
    for descriptor in (-1, 1 << 31):
        with pytest.raises(ValueError):
            frames.send(descriptor, b"")
    with pytest.raises(TypeError):
        frames.send(1, "text")  # type: ignore[arg-type]


@both
def test_send_to_what_is_no_socket_is_an_error(frames: Frames, tmp_path: Path) -> None:
    with Path(tmp_path, "file").open("wb") as file:
        assert frames.send(file.fileno(), b"hello") == -1


def test_the_test_masks_like_a_client() -> None:
    assert client(1, b"Hello").hex() == "818537fa213d7f9f4d5158"  # RFC 6455 section 5.7
    assert unmasked(unmasked(b"Hello", MASK), MASK) == b"Hello"
