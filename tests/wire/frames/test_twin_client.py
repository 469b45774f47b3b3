"""The frame reader's sisters for a client: both twins, and against those for a server."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_frames import frame
from tests.wire.frames.test_twin_reading import BOTH, both, needs_c
from wsdaemon.wire.frames import RSV1, TEXT, Frames, load, load_client

CLIENTS = [load_client(each.name) for each in BOTH]
each_client = pytest.mark.parametrize("frames", CLIENTS, ids=lambda frames: frames.name)

payloads = st.binary(max_size=300) | st.integers(60_000, 70_000).map(lambda size: b"x" * size)


@each_client
def test_a_masked_frame_is_read_by_the_server_and_not_by_the_client(frames: Frames) -> None:
    server = load(frames.name)
    for size in (0, 1, 125, 126, 65_535, 65_536):
        made = frames.frame(2, b"x" * size, False)
        assert server.take(made, 0, 1 << 20, 0, 10) == ([2, b"x" * size], len(made))
        assert frames.take(made, 0, 1 << 20, 0, 10) == ([], 0)
        assert frames.begin(made[:10], 0, 1 << 20, 0) is None
        plain = server.frame(2, b"x" * size, False)
        assert frames.take(plain, 0, 1 << 20, 0, 10) == ([2, b"x" * size], len(plain))
        assert (server.whole(made, 1 << 20, 0), server.whole(plain, 1 << 20, 0)) == (b"x" * size, None)
        assert (frames.whole(made, 1 << 20, 0), frames.whole(plain, 1 << 20, 0)) == (None, b"x" * size)


@needs_c
@given(st.data())
def test_the_twins_agree_about_the_frames_of_a_server(data: st.DataObject) -> None:
    c, python = CLIENTS
    stream = b"".join(
        frame(data.draw(st.sampled_from((0, 1, 2, 8, 9, 10))), data.draw(payloads), fin=data.draw(st.booleans()) or True,
              rsv=data.draw(st.sampled_from((0, 0, 0, 4))), mask=data.draw(st.sampled_from((None, None, None, b"mask"))))
        for _ in range(data.draw(st.integers(1, 4)))
    )  # fmt: skip
    stream = stream[: data.draw(st.integers(0, len(stream)))]
    flags, maximum = data.draw(st.sampled_from((0, RSV1, TEXT, RSV1 | TEXT))), data.draw(st.sampled_from((100, 1 << 20)))
    assert c.take(stream, 0, maximum, flags, 10) == python.take(stream, 0, maximum, flags, 10)
    assert c.whole(stream, maximum, flags) == python.whole(stream, maximum, flags)
    one, other = c.begin(stream, 0, maximum, flags), python.begin(stream, 0, maximum, flags)
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert (one.missing, one.opcode, one.valid, one.replay()) == (other.missing, other.opcode, other.valid, other.replay())
        rest = data.draw(st.sampled_from((b"a", b"\xff"))) * one.missing
        assert one.feed(rest, 0) == other.feed(rest, 0)
        assert one.valid == other.valid
        if one.valid:
            assert one.message() == other.message()


@both
def test_header_and_payload_go_side_by_side_at_a_server(frames: Frames) -> None:
    assert b"".join(frames.pieces(2, b"x" * 20_000, False)) == frames.frame(2, b"x" * 20_000, False)
    assert len(frames.pieces(2, b"x" * 20_000, False)) == 2
    assert not frames.client


@each_client
def test_a_client_masks_in_one_piece(frames: Frames) -> None:
    [piece] = frames.pieces(2, b"x" * 20_000, True)
    assert piece[:2] == b"\xc2\xfe"
    assert frames.client


@each_client
def test_arguments_of_masked_frame(frames: Frames) -> None:
    with pytest.raises(TypeError):
        frames.frame(1, "text")  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        frames.frame(16, b"x")


@needs_c
def test_a_child_process_has_masks_of_its_own() -> None:
    frames = CLIENTS[0]
    frames.frame(1, b"x")  # the pool is filled
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, frames.frame(1, b"x")[2:6])
        os._exit(0)
    theirs = os.read(reading, 4)
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)
    assert theirs not in {frames.frame(1, b"x")[2:6] for _ in range(64)}
