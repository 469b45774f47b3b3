"""edge/request.py, head_reader: the compiled reader of most heads finds what the strict one finds, or leaves the head to it."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.requests import BROWSER, KEY, request
from tests.wire.frames.test_twin_reading import needs_c
from wsdaemon.edge.request import MAX_HEAD, MAX_HEADERS, MAX_LINE, BadRequest, head_reader, read_head
from wsdaemon.wire.frames import load, twin

PLAIN = load("auto").head
BRIEF = request(b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Key: " + KEY, b"Sec-WebSocket-Version: 13")


def outcome(read: Any, data: bytes, max_body: int, chunks: bool) -> object:
    """All that a reader finds in these bytes, or all of its refusal."""
    try:
        found = read(data, max_body, chunks)
    except BadRequest as error:
        return error.status, error.reason, error.detail, error.headers
    if found is None:
        return None
    head, rest = found
    picked = {name: list(values) for name, values in head.picked.items()}
    return (
        head.method, head.target, head.version, head.path, head.raw_path, head.query_string, head.content_length, head.raw, head.chunked,
        head.headers.block, picked, rest,
    )  # fmt: skip


def same(data: bytes, max_body: int = 0, chunks: bool = False) -> object:
    """The outcome, which has to be that of both readers."""
    found = outcome(head_reader(PLAIN), data, max_body, chunks)
    assert found == outcome(read_head, data, max_body, chunks)
    return found


NAMES = [
    b"Host", b"origin", b"UPGRADE", b"Connection", b"Sec-WebSocket-Key", b"sec-websocket-version", b"Sec-WebSocket-Protocol",
    b"Sec-WebSocket-Extensions", b"User-Agent", b"X", b"Cookie", b"Sec-WebSocket-Kez", b"hos", b"Content-Length", b"Transfer-Encoding",
]  # fmt: skip
VALUES = [
    b"a.example", b"[::1]:8080", b"127.0.0.1:65535", b"a:65536", b"a:", b"[:]", b"[", b"a b", b"websocket", b"keep-alive, Upgrade", b"13",
    KEY, b"", b" ", b"\t x \t", b"caf\xc3\xa9", b"\xe5\x85", b"x\x85", b"x\x0by", b"x\ry", b"x\ny", b"x\0", b"0", b"5", b"chunked",
]  # fmt: skip
TARGETS = [
    b"/", b"/a/b", b"/a?b=c", b"/a?", b"/?a?b", b"/%41", b"/%4", b"/a#b", b"/|[]^", b'/a"', b"/a?\"<>%{}", b"*", b"http://a.example/x",
    b"a", b"",
]  # fmt: skip
names = st.one_of(st.sampled_from(NAMES), st.binary(max_size=8))
values = st.one_of(st.sampled_from(VALUES), st.binary(max_size=12))
colons = st.sampled_from([b":", b": ", b" :", b""])
lines = st.lists(st.builds(lambda name, colon, value: name + colon + value, names, colons, values), max_size=6)
versions = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"http/1.1"])
targets = st.one_of(st.sampled_from(TARGETS), st.text("/ab%?#[]|^~\"\\{}`é \t", max_size=6).map(str.encode))
first_lines = st.builds(
    lambda method, target, version: b" ".join([method, target, version]),
    st.sampled_from([b"GET", b"POST", b"get", b"G", b"HEAD"]), targets, versions,
)  # fmt: skip
hosts = st.sampled_from([b"Host: a.example", b"host:a:80", b""])
bodies = st.sampled_from([(0, False), (10, False), (10, True)])
ends = st.sampled_from([b"", b"\r\n", b"\x81\x80abcd", b"GET / HTTP/1.1\r\n\r\n"])


@given(first_lines, hosts, lines, ends, bodies)
def test_any_lines(first: bytes, host: bytes, more: list[bytes], rest: bytes, body: tuple[int, bool]) -> None:
    same(b"\r\n".join([first, *([host] if host else []), *more, b"", b""]) + rest, *body)


@given(st.sampled_from([BROWSER, BRIEF]), st.data())
def test_good_heads_with_some_bytes_changed(good: bytes, data: st.DataObject) -> None:
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(changed)))
        changed[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    same(bytes(changed))


@pytest.mark.parametrize("good", [BROWSER, BRIEF])
def test_each_byte_replaced_by_each_other_of_note(good: bytes) -> None:
    for at in range(len(good)):
        for other in b"\0\t\n\r \"#%:?[]\x7f\x80\x85aA":
            same(good[:at] + bytes([other]) + good[at + 1 :])


@pytest.mark.parametrize("good", [BROWSER, BRIEF])
def test_cut_anywhere(good: bytes) -> None:
    assert [same(good[:end]) for end in range(len(good))] == [None] * len(good)


@example(b"")
@given(st.binary(max_size=40))
def test_any_bytes(data: bytes) -> None:
    same(data)
    same(b"GET / HTTP/1.1\r\n" + data)


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_the_sizes(over: int) -> None:
    line = b"GET /%s HTTP/1.1"
    same(request(line=line % (b"a" * (MAX_LINE + over - len(line) + 2))))
    same(request(line=line % (b"?" + b"a" * (MAX_LINE + over - len(line) + 1))))
    same(request(b"x: " + b"y" * (MAX_HEAD + over - len(request(b"x: ")))) + b"rest")
    same(request(*[b"x: y"] * (MAX_HEADERS - 1 + over)))
    same(request(host=b"Host: " + b"a" * (255 + over)))
    same(request(host=b"Host: [" + b"1" * (45 + over) + b"]"))
    same(request(host=b"Host: [" + b"1" * (2 + over) + b"]"))
    same(request(host=b"Host: a:%d" % (65535 + over)))


@needs_c
@pytest.mark.parametrize("good", [BROWSER, BRIEF, request(), request(line=b"GET /?x HTTP/1.1")])
def test_usual_heads_are_taken(good: bytes) -> None:
    """Or all of these tests would compare the strict reader with itself."""
    assert PLAIN(good) is not None
    assert PLAIN(good + b"\x81\x80") == PLAIN(good)


@needs_c
@pytest.mark.parametrize(
    "left",
    [
        request(b"Content-Length: 0"), request(b"transfer-encoding: chunked"), request(line=b"POST / HTTP/1.1"), request(b"x: \x80"),
        request(line=b"GET /%41 HTTP/1.1"), request(line=b"GET http://a.example/ HTTP/1.1"), b"\r\n" + request(), request(host=None),
    ],
)  # fmt: skip
def test_the_rest_is_left(left: bytes) -> None:
    assert PLAIN(left) is None


@pytest.mark.parametrize("head", [twin.head, PLAIN])
def test_what_is_no_bytes_is_an_error(head: Any) -> None:
    with pytest.raises(TypeError, match="data must be bytes, not bytearray"):
        head(bytearray(BROWSER))


@needs_c
def test_nothing_is_kept() -> None:
    heads = [BROWSER, BROWSER[:-2], request(host=None), request(b"Host: b"), b"", BROWSER * 2]
    for _ in range(2):
        before = sys.getallocatedblocks()
        for _ in range(2000):
            for head in heads:
                PLAIN(head)
        after = sys.getallocatedblocks()
    assert after - before < 200
