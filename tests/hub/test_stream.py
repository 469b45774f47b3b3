"""Frames over a socketpair: whole, in order, coalesced, and bounded when the other side does not read."""

from __future__ import annotations

import asyncio
import random
import socket

import pytest

from tests.support.inside import until
from tests.support.links import End, ShiftedLoop, read_frames, run
from wsdaemon.hub import stream as stream_module
from wsdaemon.hub.protocol import HEADER, MAX_BACKLOG_BYTES, MAX_BEHIND_SECONDS, MAX_BODY, frame
from wsdaemon.hub.stream import CLOSED_BY_OTHER_SIDE, FramedStream


class CountingSocket(socket.socket):
    sends = 0

    def send(self, data: object, flags: int = 0) -> int:
        self.sends += 1
        return super().send(data, flags)  # type: ignore[arg-type]


def test_frames_of_all_sizes_arrive_in_order_in_both_directions() -> None:
    async def work(loop: ShiftedLoop) -> None:
        left, right = (End(end, loop) for end in socket.socketpair())
        pick = random.Random(7)
        sizes = [pick.choice((0, 1, 8, 9, 200, 65_535, 65_536, 300_000)) for _ in range(300)]
        frames = [(number % 250, number, bytes([number % 256]) * size) for number, size in enumerate(sizes)]
        for each in frames:
            left.stream.send(frame(*each))
            right.stream.send(frame(*each))
        await until(lambda: len(left.frames) == len(right.frames) == 300)
        assert left.frames == right.frames == frames
        assert left.stream.sent == left.stream.queued == sum(len(frame(*each)) for each in frames)
        left.stream.close()
        right.stream.close()

    run(work)


def test_a_frame_that_comes_byte_by_byte_is_read() -> None:
    async def work(loop: ShiftedLoop) -> None:
        ours, theirs = socket.socketpair()
        end = End(ours, loop)
        for byte in frame(9, 1, b"slow") + frame(10, 2, b""):
            theirs.send(bytes([byte]))
            await asyncio.sleep(0)
        await until(lambda: len(end.frames) == 2)
        assert end.frames == [(9, 1, b"slow"), (10, 2, b"")]
        theirs.close()
        end.stream.close()

    run(work)


def test_the_frames_of_one_turn_leave_in_one_write() -> None:
    async def work(loop: ShiftedLoop) -> None:
        ours, theirs = socket.socketpair()
        counting = CountingSocket(fileno=ours.detach())
        end = End(counting, loop)
        for number in range(50):
            end.stream.send(frame(1, number, b"x" * 100))
        assert counting.sends == 0
        await until(lambda: end.stream.sent)
        assert counting.sends == 1
        assert len(read_frames(theirs.recv(100_000))) == 50
        theirs.close()
        end.stream.close()

    run(work)


def test_a_side_that_does_not_read_is_behind_by_bytes() -> None:
    async def work(loop: ShiftedLoop) -> None:
        ours, theirs = socket.socketpair()
        end = End(ours, loop)
        big = frame(1, 0, bytes(1 << 20))
        while end.stream.queued - end.stream.sent <= MAX_BACKLOG_BYTES:
            assert not end.stream.behind()
            end.stream.send(big)
            end.stream.flush()
        assert "bytes" in end.stream.behind()
        theirs.close()
        end.stream.close()

    run(work)


def test_a_side_that_does_not_read_is_behind_by_time_and_one_that_reads_slowly_is_not() -> None:
    async def work(loop: ShiftedLoop) -> None:
        ours, theirs = socket.socketpair()
        end = End(ours, loop)
        for _ in range(20):
            end.stream.send(frame(1, 0, bytes(1 << 16)))
        end.stream.flush()
        for _ in range(3):  # it reads, but never all
            loop.shift += MAX_BEHIND_SECONDS * 0.9
            assert not end.stream.behind()
            goal = end.stream.queued
            for _ in range(20):
                end.stream.send(frame(1, 0, bytes(1 << 16)))
            while end.stream.sent < goal:
                theirs.recv(1 << 16)
                await asyncio.sleep(0)
            assert not end.stream.behind()
        loop.shift += MAX_BEHIND_SECONDS + 0.1
        assert "5 s" in end.stream.behind()
        theirs.close()
        end.stream.close()

    run(work)


def test_after_a_drop_the_other_side_still_finds_whole_frames() -> None:
    async def work(loop: ShiftedLoop) -> None:
        ours, theirs = socket.socketpair()
        end = End(ours, loop)
        for number in range(40):
            end.stream.send(frame(1, number, bytes([number]) * 100_000))
        end.stream.flush()
        end.stream.drop(frame(2, 99, b"resync"))
        end.stream.send(frame(3, 0, b"dropped too"))
        other = End(theirs, loop)
        await until(lambda: other.bodies(2))
        *before, last = other.frames
        assert last == (2, 99, b"resync")
        assert 0 < len(before) < 40
        assert before == [(1, number, bytes([number]) * 100_000) for number in range(len(before))]
        assert end.stream.sent == end.stream.queued
        end.stream.resume()
        end.stream.send(frame(4, 0, b"again"))
        await until(lambda: other.bodies(4))
        assert not other.bodies(3)
        other.stream.close()
        end.stream.close()

    run(work)


def test_what_was_sent_before_the_end_is_read_before_the_end_is_told() -> None:
    async def work(loop: ShiftedLoop) -> None:
        left, right = (End(end, loop) for end in socket.socketpair())
        right.stream.send(frame(1, 0, b"the last words"))
        right.stream.close()
        left.stream.send(frame(1, 0, bytes(1000)))  # the other side has ended
        left.stream.flush()
        await until(lambda: left.ends)
        assert left.bodies(1) == [b"the last words"]
        assert left.ends == [CLOSED_BY_OTHER_SIDE]
        left.stream.send(frame(1, 0, b"too late"))
        assert not left.stream.is_open

    run(work)


def test_an_end_that_had_not_read_all_is_an_end_like_others() -> None:
    async def work(loop: ShiftedLoop) -> None:
        ours, theirs = socket.socketpair()
        end = End(ours, loop)
        end.stream.send(frame(1, 0, b"never read"))
        end.stream.flush()
        for number in range(3):
            theirs.send(frame(2, number, bytes(50_000)))
        theirs.close()
        await until(lambda: end.ends)
        assert end.ends == [CLOSED_BY_OTHER_SIDE]
        assert len(end.bodies(2)) == 3

    run(work)


def test_a_frame_above_the_limit_ends_the_link() -> None:
    async def work(loop: ShiftedLoop) -> None:
        ours, theirs = socket.socketpair()
        end = End(ours, loop)
        theirs.send(HEADER.pack(MAX_BODY + 1, 1, 0))
        await until(lambda: end.ends)
        assert f"{MAX_BODY + 1} bytes" in end.ends[0]
        theirs.close()

    run(work)


def test_a_frame_that_cannot_be_handled_ends_the_link_with_the_error() -> None:
    async def work(loop: ShiftedLoop) -> None:
        ours, theirs = socket.socketpair()
        ends: list[tuple[str, BaseException | None]] = []
        problem = ValueError("no")

        def received(kind: int, request: int, body: bytes) -> None:
            raise problem

        FramedStream(ours, loop, received, lambda *end: ends.append(end))
        theirs.send(frame(1, 0, b""))
        await until(lambda: ends)
        assert ends == [("a frame could not be handled: ValueError: no", problem)]
        theirs.close()

    run(work)


def test_an_owner_that_flushes_itself_is_woken_once_a_turn() -> None:
    async def work(loop: ShiftedLoop) -> None:
        ours, theirs = socket.socketpair()
        wakes: list[None] = []
        stream = FramedStream(ours, loop, lambda *frame: None, lambda *end: None, lambda: wakes.append(None))
        stream.send(frame(1, 0, b"a"))
        stream.send(frame(1, 0, b"b"))
        await asyncio.sleep(0)
        assert len(wakes) == 1
        assert stream.sent == 0
        stream.flush()
        assert stream.sent == stream.queued
        stream.send(frame(1, 0, b"c"))
        assert len(wakes) == 2
        theirs.close()
        stream.close()

    run(work)


@pytest.mark.parametrize("size", [1, 1000, stream_module.WRITE_BYTES])
def test_a_backlog_leaves_whole_when_the_other_side_reads_again(size: int) -> None:
    async def work(loop: ShiftedLoop) -> None:
        ours, theirs = socket.socketpair()
        end = End(ours, loop)
        count = 2_000_000 // (size + HEADER.size)
        for number in range(count):
            end.stream.send(frame(1, number, b"x" * size))
        end.stream.flush()
        assert end.stream.sent < end.stream.queued
        other = End(theirs, loop)
        await until(lambda: len(other.frames) == count)
        assert [request for _, request, _ in other.frames] == list(range(count))
        other.stream.close()
        end.stream.close()

    run(work)


def test_the_rest_is_read_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "MAX_BACKLOG_BYTES", 2 * stream_module.READ_BYTES)

    async def work(loop: ShiftedLoop) -> None:
        ours, theirs = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        end = End(ours, loop)
        one = frame(9, 1, bytes(stream_module.READ_BYTES - HEADER.size))
        for _ in range(5):
            theirs.sendall(one[: len(one) // 2])
            theirs.sendall(one[len(one) // 2 :])
        end.stream.read_rest()
        assert 0 < len(end.frames) < 5
        theirs.close()
        while len(end.frames) < 5:
            end.stream.read_rest()
        end.stream.read_rest()
        assert end.ends == [CLOSED_BY_OTHER_SIDE]
        end.stream.read_rest()

    run(work)
