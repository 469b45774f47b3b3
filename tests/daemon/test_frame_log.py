"""daemon/frame_log.py: the frames of a connection as lines."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.watched import Reader, Transport, frame
from wsdaemon.core.seen_frame import SeenFrame
from wsdaemon.daemon.frame_log import LINES_PER_SECOND, FrameLog, payload_text


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
