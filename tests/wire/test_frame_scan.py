"""wire/frame_scan.py: frames are found in whatever pieces the bytes come in, and no more is kept of them than was asked for."""

from __future__ import annotations

import pytest

from tests.support.watched import frame
from wsdaemon.core.seen_frame import SeenFrame
from wsdaemon.wire.frame_scan import FrameScan

KEEP = 64

STREAM = [(1, b"hello"), (2, b""), (9, b"p"), (1, b"x" * 130), (2, bytes(70_000)), (8, b"\x03\xe8bye")]


@pytest.mark.parametrize("piece", [1, 2, 7, 1000, 1_000_000])
@pytest.mark.parametrize("masked", [False, True])
def test_frames_are_found_in_any_pieces(piece: int, masked: bool) -> None:
    data = b"".join(frame(opcode, payload, masked=masked) for opcode, payload in STREAM)
    seen: list[SeenFrame] = []
    scan = FrameScan(seen.append, KEEP)
    for start in range(0, len(data), piece):
        scan.feed(data[start : start + piece])
        assert len(scan._payload) <= KEEP
        assert len(scan._header) < 14
    assert [(each.opcode, each.size, each.beginning) for each in seen] == [(op, len(data), data[:KEEP]) for op, data in STREAM]


@pytest.mark.parametrize("piece", [1, 1000])
def test_frames_follow_the_head_of_an_answer(piece: int) -> None:
    seen: list[SeenFrame] = []
    scan = FrameScan(seen.append, KEEP, after_head=True)
    data = b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\n" + frame(1, b"hello")
    for start in range(0, len(data), piece):
        scan.feed(data[start : start + piece])
    assert [each.beginning for each in seen] == [b"hello"]


@pytest.mark.parametrize("head", [b"HTTP/1.1 403 Forbidden\r\n\r\n", b"x" * 70_000])
def test_nothing_follows_a_refusal_or_an_endless_head(head: bytes) -> None:
    seen: list[SeenFrame] = []
    scan = FrameScan(seen.append, KEEP, after_head=True)
    scan.feed(head)
    scan.feed(frame(1, b"hello") * 10)
    assert seen == []
    assert not scan._before


