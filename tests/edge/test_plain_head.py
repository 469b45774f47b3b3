"""edge/plain_head.py: the head of an app's answer."""

from __future__ import annotations

import pytest

from wsdaemon.edge.plain_head import make_head


def test_lines_stay_as_they_are_and_in_their_order() -> None:
    head = make_head(200, [(b"X-One", b"1"), (b"Set-Cookie", b"a"), (b"x-one", b"caf\xe9")])
    assert head.render(False, b"D", 3, False).split(b"\r\n") == [
        b"HTTP/1.1 200 OK", b"server: wsdaemon", b"date: D", b"X-One: 1", b"Set-Cookie: a", b"x-one: caf\xe9", b"content-length: 3",
        b"", b"",
    ]  # fmt: skip


def test_the_apps_own_server_and_date_take_the_place_of_ours() -> None:
    rendered = make_head(599, [(b"Server", b"mine"), (b"DATE", b"now")]).render(True, b"D", None, True)
    assert rendered == b"HTTP/1.1 599 \r\nServer: mine\r\nDATE: now\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"


def test_headers_of_one_connection_are_the_daemons() -> None:
    head = make_head(200, [(b"Connection", b"keep-alive, X"), (b"Upgrade", b"h2c"), (b"Transfer-Encoding", b"gzip"), (b"X", b"1")])
    assert (head.lines, head.last) == ([b"X: 1"], False)
    assert make_head(200, [(b"connection", b"a , CLOSE")]).last


@pytest.mark.parametrize("values", [[b"5"], [b"5", b"5"]])
def test_a_length(values: list[bytes]) -> None:
    assert make_head(200, [(b"Content-Length", value) for value in values]).length == 5


@pytest.mark.parametrize("values", [[b"5", b"6"], [b"-1"], [b""], [b"5 "]])
def test_lengths_that_are_none(values: list[bytes]) -> None:
    with pytest.raises(ValueError, match="not a length"):
        make_head(200, [(b"content-length", value) for value in values])


@pytest.mark.parametrize(("name", "value"), [(b"", b""), (b"a b", b""), (b"a:", b""), (b"a", b"\r"), (b"a", b"\n"), (b"a", b"\0")])
def test_headers_that_are_none(name: bytes, value: bytes) -> None:
    with pytest.raises(ValueError, match="not a header"):
        make_head(200, [(name, value)])


@pytest.mark.parametrize("status", [0, 100, 101, 199, 600])
def test_a_status_that_is_no_whole_answer(status: int) -> None:
    with pytest.raises(ValueError, match="status"):
        make_head(status, [])


@pytest.mark.parametrize(("status", "expected"), [(200, True), (204, False), (304, False), (404, True)])
def test_which_answers_have_a_body(status: int, expected: bool) -> None:
    assert make_head(status, []).has_body == expected
