"""daemon/frame_log.py: the frames of a connection as lines, whatever pieces the bytes come in."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from wsdaemon.daemon.frame_log import LINES_PER_SECOND, SHOWN_BYTES, FrameLog, FrameScan, SeenFrame, payload_text

MASK = b"\x01\x02\x03\x04"


def frame(opcode: int, payload: bytes, *, masked: bool = False, first: int = 0x80) -> bytes:
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2) if size < 65536 else b"\x7f" + size.to_bytes(8)
    if not masked:
        return bytes([first | opcode]) + length + payload
    return bytes([first | opcode, length[0] | 0x80]) + length[1:] + MASK + bytes(b ^ MASK[i % 4] for i, b in enumerate(payload))


STREAM = [(1, b"hello"), (2, b""), (9, b"p"), (1, b"x" * 130), (2, bytes(70_000)), (8, b"\x03\xe8bye")]


@pytest.mark.parametrize("piece", [1, 2, 7, 1000, 1_000_000])
@pytest.mark.parametrize("masked", [False, True])
def test_frames_are_found_in_any_pieces(piece: int, masked: bool) -> None:
    data = b"".join(frame(opcode, payload, masked=masked) for opcode, payload in STREAM)
    seen: list[SeenFrame] = []
    scan = FrameScan(seen.append)
    for start in range(0, len(data), piece):
        scan.feed(data[start : start + piece])
        assert len(scan._payload) <= SHOWN_BYTES
        assert len(scan._header) < 14
    assert [(each.opcode, each.size, each.beginning) for each in seen] == [(op, len(data), data[:SHOWN_BYTES]) for op, data in STREAM]


@pytest.mark.parametrize("piece", [1, 1000])
def test_frames_follow_the_head_of_an_answer(piece: int) -> None:
    seen: list[SeenFrame] = []
    scan = FrameScan(seen.append, after_head=True)
    data = b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\n" + frame(1, b"hello")
    for start in range(0, len(data), piece):
        scan.feed(data[start : start + piece])
    assert [each.beginning for each in seen] == [b"hello"]


@pytest.mark.parametrize("head", [b"HTTP/1.1 403 Forbidden\r\n\r\n", b"x" * 70_000])
def test_nothing_follows_a_refusal_or_an_endless_head(head: bytes) -> None:
    seen: list[SeenFrame] = []
    scan = FrameScan(seen.append, after_head=True)
    scan.feed(head)
    scan.feed(frame(1, b"hello") * 10)
    assert seen == []
    assert not scan._before


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        (SeenFrame(1, 5, b"hello"), "hello"),
        (SeenFrame(1, 500, b"hello"), "hello..."),
        (SeenFrame(1, 5, b"\x1b[2J\xc2\x9b\xe2\x80\xae"), "\\x1b[2J\\x9b\\u202e"),
        (SeenFrame(1, 3, b"\xc3"), "\\xc3..."),
        (SeenFrame(2, 2, b"\x00\x1b"), "00 1b"),
        (SeenFrame(8, 5, b"\x03\xe8bye"), "1000 bye"),
        (SeenFrame(8, 0, b""), ""),
        (SeenFrame(9, 2, b"\x1b["), "1b 5b"),
        (SeenFrame(10, 1, b"p"), "p"),
        (SeenFrame(1, 2, b"\x1b\x00", compressed=True), "compressed 1b 00"),
    ],
)
def test_payloads_are_printable(seen: SeenFrame, text: str) -> None:
    assert payload_text(seen) == text


class Transport:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.protocol: Any = None
        self.paused = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def writelines(self, data: list[bytes]) -> None:
        self.written += data

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def pause_reading(self) -> None:
        self.paused = True


class Reader:
    def __init__(self) -> None:
        self.calls: list[object] = []

    def data_received(self, data: bytes) -> None:
        self.calls.append(data)

    def eof_received(self) -> None:
        self.calls.append("eof")

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append("lost")


class Body(asyncio.BufferedProtocol):
    """Takes three bytes in buffers of two, and then gives the connection back to its reader."""

    def __init__(self, transport: Any, reader: Reader) -> None:
        self.transport, self.reader, self.taken = transport, reader, 0
        self.buffer = bytearray(2)

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self.buffer)

    def buffer_updated(self, nbytes: int) -> None:
        self.taken += nbytes
        if self.taken >= 3:
            self.transport.set_protocol(self.reader)


def watched(colours: bool = False, early: bytes = b"") -> tuple[Transport, Any, list[str]]:
    lines: list[str] = []
    transport: Any = Transport()
    log = FrameLog(lambda data: lines.append(data.decode()), colours, now=lambda: 10.0)
    return transport, log.watch(transport, "x-1", "/chat", early), lines


def test_a_line_has_direction_opcode_size_and_beginning() -> None:
    transport, native, lines = watched(early=frame(1, b"early", masked=True))
    reader = Reader()
    native.set_protocol(reader)
    native.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    transport.protocol.data_received(frame(1, b"\x1b[31mred", masked=True, first=0))
    native.writelines([frame(2, b"\x00\x01"), frame(9, b"")])
    assert lines == [
        "x-1 /chat in  text 5 B early\n",
        "x-1 /chat in  text, to be continued 8 B \\x1b[31mred\n",
        "x-1 /chat out binary 2 B 00 01\n",
        "x-1 /chat out ping 0 B\n",
    ]
    assert len(transport.written) == 3
    assert reader.calls == [frame(1, b"\x1b[31mred", masked=True, first=0)]


def test_colours_stand_around_our_own_words_alone() -> None:
    transport, native, lines = watched(colours=True)
    native.set_protocol(Reader())
    transport.protocol.data_received(frame(1, b"\x1b[0mhello", masked=True) + frame(8, b"\x03\xe8", masked=True))
    assert lines == ["\x1b[36mx-1 /chat in  text 9 B\x1b[0m \\x1b[0mhello\n", "\x1b[31mx-1 /chat in  close 2 B\x1b[0m 1000\n"]


def test_a_reader_and_a_body_receive_all_that_comes() -> None:
    transport, native, _ = watched()
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


def test_a_flood_is_counted_and_not_shown() -> None:
    lines: list[bytes] = []
    now = 10.0
    transport: Any = Transport()
    native = FrameLog(lines.append, False, now=lambda: now).watch(transport, "x-1", "/chat", b"")
    native.set_protocol(Reader())
    transport.protocol.data_received(frame(1, b"a") * (LINES_PER_SECOND + 50))
    assert len(lines) == LINES_PER_SECOND
    now = 11.5
    transport.protocol.data_received(frame(1, b"b"))
    assert lines[LINES_PER_SECOND:] == [b"50 frames were not shown\n", b"x-1 /chat in  text 1 B b\n"]


def test_a_stopped_terminal_holds_nothing_up() -> None:
    def refuse(data: bytes) -> None:
        raise BlockingIOError

    transport: Any = Transport()
    native = FrameLog(refuse, False).watch(transport, "x-1", "/chat", b"")
    reader = Reader()
    native.set_protocol(reader)
    transport.protocol.data_received(frame(1, b"a"))
    assert reader.calls == [frame(1, b"a")]
