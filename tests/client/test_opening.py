"""The client's request, and its strict reader of the answer."""

from __future__ import annotations

from email.utils import formatdate
from time import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import ACCEPT, KEY
from wsdaemon.client.errors import BadHandshake
from wsdaemon.client.opening import AnswerReader, ServerAnswer, checked_headers, new_key, request, retry_after
from wsdaemon.client.target import parse
from wsdaemon.core.handshake import Headers
from wsdaemon.edge.request import parse_head
from wsdaemon.edge.upgrade import upgrade

GOOD = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: "
    + ACCEPT.encode()
    + b"\r\n"
)


def read(data: bytes) -> ServerAnswer:
    answer = AnswerReader().feed(data)
    assert answer is not None
    return answer


def test_our_own_strict_reader_takes_the_request() -> None:
    sent = request(
        parse("ws://ada:lovelace@example.com:81/a?b=c"), new_key(), subprotocols=("x", "y"), extensions="permessage-deflate",
        headers=[("Origin", "https://example.com")],
    )  # fmt: skip
    head = parse_head(sent)
    wanted = upgrade(head)
    assert (head.target, head.headers["host"], wanted.subprotocols) == ("/a?b=c", "example.com:81", ("x", "y"))
    assert head.headers["authorization"] == "Basic YWRhOmxvdmVsYWNl"
    assert head.headers["user-agent"].startswith("wsdaemon/")
    assert wanted.extensions == "permessage-deflate"


def test_each_request_has_a_key_of_its_own() -> None:
    assert len({new_key() for _ in range(100)}) == 100
    assert all(len(new_key()) == 24 for _ in range(10))


@pytest.mark.parametrize(
    "given_headers",
    [{"X-A": "b\r\nC: d"}, {"X A": "b"}, {"Upgrade": "h2c"}, {"sec-websocket-key": "x"}, {"": "x"}, {"X-A": "snow \u2603"}],
    ids=repr,
)
def test_headers_that_may_not_be_sent_are_refused(given_headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="header"):
        checked_headers(given_headers.items())


def test_the_program_may_set_host_and_user_agent() -> None:
    sent = request(parse("ws://127.0.0.1/"), KEY, headers=checked_headers([("Host", "example.com"), ("User-Agent", "me")]))
    assert sent.count(b"Host: example.com\r\n") == sent.lower().count(b"host:") == 1
    assert sent.count(b"User-Agent: ") == 1


def test_a_good_answer_is_accepted() -> None:
    answer = read(GOOD + b"\r\n\x81\x01x")
    assert answer.accepted(KEY, ()) is None
    assert answer.rest == b"\x81\x01x"
    assert read(GOOD + b"Sec-WebSocket-Protocol: y\r\n\r\n").accepted(KEY, ("x", "y")) == "y"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ((b"Upgrade: WebSocket", b"Upgrade: h2c"), "Upgrade"),
        ((b"keep-alive, Upgrade", b"keep-alive"), "Connection"),
        ((ACCEPT.encode(), b"AAAAAAAAAAAAAAAAAAAAAAAAAAA="), "Accept"),
        ((b"Sec-WebSocket-Accept: " + ACCEPT.encode() + b"\r\n", b""), "Accept"),
        ((b"Upgrade: WebSocket", b"Upgrade: websocket\r\nSec-WebSocket-Protocol: z"), "subprotocol"),
    ],
)
def test_an_answer_that_breaks_a_rule_is_refused(change: tuple[bytes, bytes], words: str) -> None:
    with pytest.raises(BadHandshake, match=words):
        read(GOOD.replace(*change) + b"\r\n").accepted(KEY, ("x",))


@pytest.mark.parametrize(
    "head",
    [
        b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.0 101 x\r\n\r\n", b"HTTP/1.1 1O1 x\r\n\r\n", b"HTTP/1.1 101 x\r\nA : b\r\n\r\n",
        b"HTTP/1.1 101 x\r\nA: b\r\n folded\r\n\r\n", b"HTTP/1.1 101 x\r\nA: b\nC: d\r\n\r\n", b"HTTP/1.1 101 x\r\nno colon\r\n\r\n",
        b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000,
    ],
    ids=repr,
)  # fmt: skip
def test_bytes_that_are_no_head_are_refused(head: bytes) -> None:
    with pytest.raises(BadHandshake):
        AnswerReader().feed(head)


@given(st.integers(1, len(GOOD) + 1))
def test_an_answer_may_come_in_pieces(cut: int) -> None:
    reader, whole = AnswerReader(), GOOD + b"\r\n"
    assert reader.feed(whole[:cut]) is None
    answer = reader.feed(whole[cut:])
    assert answer is not None
    assert answer.status == 101


def test_retry_after_is_read_in_both_forms() -> None:
    def seconds(value: str) -> float | None:
        return retry_after(Headers([(b"Retry-After", value.encode())]))

    assert seconds("12") == 12.0
    assert seconds("99999999999") == 3600.0
    assert seconds("soon") is None
    assert seconds("-1") is None
    assert retry_after(Headers()) is None
    assert seconds(formatdate(time() - 100, usegmt=True)) == 0.0
    assert seconds(formatdate(time() + 1_000_000, usegmt=True)) == 3600.0


def test_a_refusal_has_the_whole_answer() -> None:
    error = read(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n\r\n").refusal(b"x" * 5000)
    assert (error.status, error.retry_after, len(error.body), error.final) == (503, 7.0, 4096, False)
    assert str(error) == "the server answered the opening handshake with 503 Busy"
