"""edge/request_body.py: one body by its length or in chunks, whatever pieces it comes in, and the bytes behind it."""

from __future__ import annotations

import pytest

from wsdaemon.edge.chunks import CHUNKS_AT_ONCE
from wsdaemon.edge.request import BadRequest, Head, parse_head
from wsdaemon.edge.request_body import RequestBody, expects_continue, wants_close


def head_of(*lines: str) -> Head:
    return parse_head("\r\n".join(["POST / HTTP/1.1", "Host: h", *lines, "", ""]).encode(), 100, True)


LENGTH, CHUNKS = "Content-Length: 10", "Transfer-Encoding: chunked"


@pytest.mark.parametrize("piece", [1, 3, 100])
@pytest.mark.parametrize(("line", "sent"), [(LENGTH, b"0123456789"), (CHUNKS, b"4\r\n0123\r\n6;x=y\r\n456789\r\n0\r\n\r\n")])
def test_a_body_ends_where_it_says(line: str, sent: bytes, piece: int) -> None:
    body, found, data = RequestBody(head_of(line), 10), b"", sent + b"GET /next"
    assert not body.over
    more = True
    while more:
        taken, more = body.feed(data[:piece])
        found, data = found + taken, data[piece:]
    assert (found, body.rest + data, body.over, body.taken) == (b"0123456789", b"GET /next", True, 10)


@pytest.mark.parametrize("line", [LENGTH, CHUNKS])
def test_a_body_that_is_too_long_is_refused(line: str) -> None:
    with pytest.raises(BadRequest) as refused:
        RequestBody(head_of(line), 9).feed(b"0123456789" if line == LENGTH else b"a\r\n0123456789\r\n")
    assert refused.value.status == 413


def test_many_chunks_wait_for_their_turns() -> None:
    body = RequestBody(head_of(CHUNKS), 1000)
    assert body.feed(b"1\r\nx\r\n" * (CHUNKS_AT_ONCE + 5)) == (b"x" * CHUNKS_AT_ONCE, True)
    assert body.waiting
    body.hold(b"0\r\n\r\nrest")
    assert body.feed(b"") == (b"x" * 5, False)
    assert (body.rest, body.waiting, body.over) == (b"rest", False, True)


def test_no_body_is_over_at_once() -> None:
    assert RequestBody(head_of(), 10).over


@pytest.mark.parametrize(
    ("lines", "closes"),
    [((), False), (("Connection: keep-alive",), False), (("Connection: x, CLOSE",), True), (("Connection: enclosed",), False)],
)
def test_the_last_request_of_a_connection(lines: tuple[str, ...], closes: bool) -> None:
    assert wants_close(head_of(*lines)) == closes


@pytest.mark.parametrize(
    ("lines", "expects"), [((LENGTH, "Expect: 100-Continue"), True), ((LENGTH,), False), (("Expect: 100-continue",), False)]
)
def test_a_client_that_waits_before_its_body(lines: tuple[str, ...], expects: bool) -> None:
    assert expects_continue(head_of(*lines)) == expects
