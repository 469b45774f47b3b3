"""edge/request.py: any cut of any bytes gives the same head or the same refusal."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tests.support.requests import BROWSER, outcome, read, written_again

tokens = st.text("abcXYZ019-_.~!#$%&'*+^`|", min_size=1, max_size=12).map(str.encode)
values = st.binary(max_size=24).filter(lambda value: not any(byte < 32 or byte in (0x7F, 0x85) for byte in value))
reserved = (b"host", b"content-length", b"transfer-encoding")
header_lines = st.tuples(tokens.filter(lambda name: name.lower() not in reserved), st.sampled_from([b"", b" ", b"\t "]), values).map(
    lambda parts: parts[0] + b":" + parts[1] + parts[2]
)
targets = st.text("/abc09-._~%4:@!$&'()*+,;=?", max_size=20).map(lambda text: ("/" + text.replace("%", "%41")).encode())
heads = st.builds(
    lambda method, target, host, lines, position: b"\r\n".join(
        [method + b" " + target + b" HTTP/1.1", *lines[:position], b"hOst: " + host, *lines[position:], b"", b""]
    ),
    tokens,
    targets,
    st.sampled_from([b"a.example", b"[::1]:80"]),
    st.lists(header_lines, max_size=6),
    st.integers(0, 6),
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(heads, st.binary(max_size=20), st.lists(st.integers(0), max_size=6))
def test_any_cut_gives_the_same_head(head: bytes, rest: bytes, places: list[int]) -> None:
    whole = outcome([head + rest])
    assert isinstance(whole, tuple)
    assert whole[1] == rest
    assert outcome(cut(head + rest, places)) == whole


def test_every_single_cut_of_a_browsers_head() -> None:
    data = BROWSER + b"rest"
    whole = outcome([data])
    assert all(outcome([data[:place], data[place:]]) == whole for place in range(1, len(data)))
    assert outcome([data[i : i + 1] for i in range(len(data))]) == whole


@given(heads)
def test_an_accepted_head_written_out_again_is_an_equal_head(data: bytes) -> None:
    head = read(data)
    again = read(written_again(head))
    assert (again.method, again.target, again.path, again.headers) == (head.method, head.target, head.path, head.headers)
    assert written_again(again) == written_again(head)


@given(heads, st.data())
def test_a_smuggling_character_anywhere_is_never_accepted(head: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(head) - 4))
    smuggler = data.draw(st.sampled_from([b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e", b"\0", b"\x7f", b"\xc2\x85", b"\r", b"\n"]))
    assert outcome([head[:place] + smuggler + head[place:]]) == 400


scraps = st.one_of(st.binary(max_size=12), st.sampled_from([b"GET / HTTP/1.1", b"\r\n", b"Host: a", b"\n", b"X:", b" "]))


@given(st.lists(scraps, max_size=14), st.lists(st.integers(0)))
def test_bytes_of_any_kind_are_read_or_refused_alike_however_cut(parts: list[bytes], places: list[int]) -> None:
    data = b"".join(parts)
    whole, pieces = outcome([data]), outcome(cut(data, places))
    assert type(whole) is type(pieces)
    if isinstance(whole, tuple):
        assert whole == pieces
