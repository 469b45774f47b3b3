"""apps/process/framing.py: messages on standard input and output, in pieces of any size."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.apps.process.framing import (
    Close,
    Event,
    Framing,
    FramingError,
    JsonLines,
    LineCutter,
    Lines,
    Netstrings,
    Plain,
    ProgramMessage,
    RefusedMessage,
)


def read(framing: Framing, *pieces: bytes) -> list[Event]:
    found = [event for piece in pieces for event in framing.feed(piece)]
    return [*found, *framing.finish()]


def texts(*lines: str) -> list[Event]:
    return [ProgramMessage(line.encode(), True) for line in lines]


def test_lines() -> None:
    assert read(Lines(100, False), b"one\ntwo\r\n\nthree\r\r\nfour") == texts("one", "two", "", "three\r", "four")
    assert Lines(100, False).encode(b"hello", True) == b"hello\n"


def test_the_unfinished_last_line_is_a_message() -> None:
    assert read(Lines(100, False), b"a\nb") == texts("a", "b")
    assert read(Lines(100, False), b"a\n") == texts("a")


def test_lines_that_are_no_utf8_are_replaced_or_binary() -> None:
    assert read(Lines(100, False), b"\xff\xc3\xa4\n") == texts("\N{REPLACEMENT CHARACTER}ä")
    assert read(Lines(100, False, text=False), b"\xff\n") == [ProgramMessage(b"\xff", False)]


@pytest.mark.parametrize("message", [b"a\nb", b"a\rb", b"a\n", b"\n"])
def test_a_newline_in_a_message_is_refused(message: bytes) -> None:
    with pytest.raises(RefusedMessage, match="one line"):
        Lines(100, False).encode(message, True)


def test_or_escaped_so_that_it_can_be_told_from_its_text() -> None:
    framing = Lines(100, True)
    assert framing.encode(b"a\nb\rc\\n", True) == b"a\\nb\\rc\\\\n\n"


def test_a_line_has_a_longest_length() -> None:
    cutter = LineCutter(5)
    assert list(cutter.feed(b"12345\r\n12345")) == [b"12345"]
    with pytest.raises(FramingError, match="5 bytes"):
        list(cutter.feed(b"67"))
    with pytest.raises(FramingError):
        list(LineCutter(5).feed(b"1234567\n"))


def test_plain_bytes() -> None:
    assert read(Plain(), b"\xff", b"a\nb") == [ProgramMessage(b"\xff", False), ProgramMessage(b"a\nb", False)]
    assert read(Plain(text=True), b"a\xff") == texts("a\N{REPLACEMENT CHARACTER}")
    assert Plain().encode(b"x\ny", False) == b"x\ny"


def test_netstrings() -> None:
    assert Netstrings(100).encode(b"a\nb", True) == b"3:a\nb,"
    assert read(Netstrings(100), b"3:a\nb,0:,1", b":\xff,") == [
        ProgramMessage(b"a\nb", False),
        ProgramMessage(b"", False),
        ProgramMessage(b"\xff", False),
    ]
    assert read(Netstrings(100, text=True), b"2:\xc3\xa4,") == texts("ä")


@pytest.mark.parametrize("data", [b"x", b"3:abcd", b":,", b"-1:,", b"101:", b"1234567890123", b"3:ab", b"3", b" 1:a,"])
def test_bytes_that_are_no_netstring(data: bytes) -> None:
    with pytest.raises(FramingError):
        read(Netstrings(100), data)


def test_json_in_both_directions() -> None:
    framing = JsonLines(100)
    assert json.loads(framing.encode("ä\n".encode(), True)) == {"text": "ä\n"}
    assert json.loads(framing.encode(b"\xff", False)) == {"binary": base64.b64encode(b"\xff").decode()}
    assert framing.encode(b"a\nb", True).count(b"\n") == 1
    lines = b'{"text":"\xc3\xa4\\n"}\n{"binary":"/w=="}\n{"close":4000,"reason":"bye"}\n{"close":1000}'
    assert read(framing, lines) == [
        ProgramMessage("ä\n".encode(), True),
        ProgramMessage(b"\xff", False),
        Close(4000, "bye"),
        Close(1000, ""),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"x", b"[]", b"{}", b'{"text":1}', b'{"binary":"?"}', b'{"close":1006}', b'{"close":true}', b'{"close":"1000"}', b"[" * 100_000,
        b'{"close":' + b"9" * 5000 + b"}", b"\xff\n", b"",
    ],
)  # fmt: skip
def test_lines_that_are_no_message_in_json(line: bytes) -> None:
    with pytest.raises(FramingError):
        read(JsonLines(100_000), line + b"\n")


def test_text_that_no_utf8_can_hold_is_replaced() -> None:
    assert read(JsonLines(100), b'{"text":"\\ud800"}') == [ProgramMessage(b"?", True)]


MAKERS: list[tuple[Callable[[], Framing], str]] = [
    (lambda: Lines(1000, False, text=False), "[^\r\n]*"),
    (lambda: Netstrings(1000), "(?s).*"),
    (lambda: JsonLines(1000), "(?s).*"),
]


@pytest.mark.parametrize(("make", "pattern"), MAKERS)
@given(data=st.data())
def test_messages_come_back_however_their_bytes_are_cut(make: Callable[[], Framing], pattern: str, data: st.DataObject) -> None:
    messages = [text.encode("utf-8", "replace") for text in data.draw(st.lists(st.from_regex(pattern, fullmatch=True), max_size=4))]
    stream = b"".join(make().encode(message, False) for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(make(), *pieces) == [ProgramMessage(message, False) for message in messages]
