"""edge/responses.py: whole answers, byte by byte."""

from __future__ import annotations

import http.client
import io
from types import SimpleNamespace
from typing import Any

import pytest

from wsdaemon.edge.request import BadRequest
from wsdaemon.edge.responses import error_response, http_response, phrase


def read_by_a_client(data: bytes, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
    sock: Any = SimpleNamespace(makefile=lambda mode: io.BytesIO(data))
    response = http.client.HTTPResponse(sock, method=method)
    response.begin()
    return response, response.read()


def test_a_whole_answer() -> None:
    assert http_response(200, [("X-Tag", "a")], "hello", close=False) == (
        b"HTTP/1.1 200 OK\r\nServer: wsdaemon\r\nX-Tag: a\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n\r\nhello"
    )


def test_closing_is_said() -> None:
    assert b"\r\nConnection: close\r\n" in http_response(200)
    assert b"\r\nConnection: Upgrade, close\r\n" in http_response(426, [("Connection", "Upgrade")])
    assert b"\r\nConnection: Upgrade\r\n" in http_response(426, [("Connection", "Upgrade")], close=False)


def test_length_is_that_of_the_bytes() -> None:
    assert b"\r\nContent-Length: 2\r\n" in http_response(200, body="å")
    assert b"\r\nContent-Length: 3\r\n" in http_response(200, body=b"abc", content_type="application/octet-stream")


def test_head_has_the_length_and_no_body() -> None:
    answer = http_response(200, body="hello", head_only=True)
    assert b"Content-Length: 5\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body(status: int) -> None:
    answer = http_response(status, body="ignored")
    assert b"Content-" not in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("name", "value"),
    [("X", "a\r\nSet-Cookie: b"), ("X", "a\nb"), ("X", "a\0"), ("X\r\nY", "a"), ("X Y", "a"), ("", "a"), ("X", "\u2028"),
     ("Content-Length", "5"), ("transfer-encoding", "chunked"), ("Server", "x")],
)  # fmt: skip
def test_a_bad_header_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"not a header|not the caller's"):
        http_response(200, [(name, value)])


@pytest.mark.parametrize("status", [101, 99, 600])
def test_a_status_that_is_no_full_answer_is_refused(status: int) -> None:
    with pytest.raises(ValueError, match="not the status"):
        http_response(status)


def test_a_content_type_cannot_break_out() -> None:
    with pytest.raises(ValueError, match="not a header"):
        http_response(200, content_type="text/html\r\nX: y")


def test_error_answer_from_a_bad_request() -> None:
    error = BadRequest(405, "method", "A WebSocket is opened with GET.", (("Allow", "GET"),))
    response, body = read_by_a_client(error_response(error, headers=[("X-Tag", "a")]))
    assert (response.status, response.reason) == (405, "Method Not Allowed")
    assert response.headers["Allow"] == "GET"
    assert response.headers["X-Tag"] == "a"
    assert response.headers["Connection"] == "close"
    assert response.headers["Cache-Control"] == "no-store"
    assert body == b"405 Method Not Allowed\nA WebSocket is opened with GET.\n"


def test_error_answer_from_a_number() -> None:
    _, body = read_by_a_client(error_response(404))
    assert body == b"404 Not Found\n"
    _, body = read_by_a_client(error_response(503, "Shutting down.", [("Retry-After", "5")]))
    assert body == b"503 Service Unavailable\nShutting down.\n"


def test_error_answer_to_head() -> None:
    _, body = read_by_a_client(error_response(404, head_only=True), "HEAD")
    assert body == b""


def test_phrases() -> None:
    assert phrase(426) == "Upgrade Required"
    assert phrase(599) == ""
    assert error_response(599).startswith(b"HTTP/1.1 599 \r\n")
