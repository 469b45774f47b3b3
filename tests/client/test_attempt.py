"""One attempt: the reader of an answer as a protocol, and the request that a client makes. test_life.py has whole attempts."""

from __future__ import annotations

from typing import Any

from tests.support.fake_loop import Loop, Transport
from tests.support.fake_server import story
from wsdaemon.client.attempt import Opening
from wsdaemon.client.errors import BadHandshake, ConnectFailed
from wsdaemon.client.opening import MAX_BODY_BYTES


def opening(loop: Loop) -> tuple[Opening, Transport]:
    made, transport = Opening(b"GET"), Transport(loop)
    transport.protocol = made
    made.connection_made(transport)  # type: ignore[arg-type]
    return made, transport


def test_the_request_is_written_and_bytes_behind_the_answer_are_kept() -> None:
    with Loop() as loop:
        made, transport = opening(loop)
        assert transport.writes == [b"GET"]
        transport.receive(b"HTTP/1.1 101 x\r\n")
        transport.receive(b"\r\nab")
        transport.receive(b"cd")
        task = loop.create_task(made.answer())
        loop.settle()
        assert task.result().status == 101
        assert made.rest == b"abcd"


def test_a_server_that_floods_an_opening_is_not_read() -> None:
    with Loop() as loop:
        made, transport = opening(loop)
        transport.receive(b"HTTP/1.1 101 x\r\n\r\n")
        for _ in range(100):
            transport.receive(b"x" * 1000)
        assert len(made.rest) <= 2 * MAX_BODY_BYTES
        assert not transport.reading


def test_a_connection_that_ends_is_a_failure() -> None:
    with Loop() as loop:
        made, transport = opening(loop)
        task = loop.create_task(made.answer())
        transport.lose(ConnectionResetError("reset"))
        loop.settle()
        error = task.exception()
        assert isinstance(error, ConnectFailed)
        assert isinstance(error.__cause__, ConnectionResetError)


def test_bytes_that_are_no_http_are_a_bad_handshake() -> None:
    with Loop() as loop:
        made, transport = opening(loop)
        transport.receive(b"220 smtp.example ESMTP\r\n")
        task = loop.create_task(made.answer())
        loop.settle()
        assert isinstance(task.exception(), BadHandshake)


def test_the_request_has_the_headers_of_the_client() -> None:
    options: dict[str, Any] = {
        "origin": "https://app.example", "headers": {"X-Team": "blue"}, "cookies": {"a": "b"}, "subprotocols": "v1, v2", "token": "t",
    }  # fmt: skip
    with story(**options) as here:
        end = here.begin()
        wanted = {
            "Origin": "https://app.example", "X-Team": "blue", "Cookie": "a=b", "Sec-WebSocket-Protocol": "v1, v2",
            "Authorization": "Bearer t", "Host": "server.example",
        }  # fmt: skip
        assert {name: end.header(name) for name in wanted} == wanted
        end.accept("v2")
        assert here.client.subprotocol == "v2"


def test_cookies_of_an_answer_are_sent_with_the_next_request() -> None:
    with story(cookies={"a": "b"}) as here:
        end = here.begin()
        end.accept(Set_Cookie="node=7; Path=/")
        end.lose()
        assert set((here.wait_for_end().header("Cookie") or "").split("; ")) == {"a=b", "node=7"}


def test_a_slow_body_of_a_refusal_does_not_hold_the_client() -> None:
    with story() as here:
        end = here.begin()
        end.give(b"HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\nhalf")
        assert here.heard.errors == []
        here.loop.advance(2.1)
        assert "503" in str(here.heard.errors[0])
