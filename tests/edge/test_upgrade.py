"""edge/upgrade.py: the opening handshake in a request head."""

from __future__ import annotations

import base64

import pytest

from tests.support.requests import BROWSER, KEY, read, request
from wsdaemon.edge.request import BadRequest
from wsdaemon.edge.upgrade import upgrade, wants_upgrade


def opening(*changed: bytes, without: bytes = b"", line: bytes = b"GET / HTTP/1.1") -> bytes:
    """An opening handshake; `without` names a header to leave out, `changed` are lines to add."""
    lines = [b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + KEY]
    return request(*(each for each in lines if not without or not each.startswith(without + b":")), *changed, line=line)


def test_an_opening_handshake() -> None:
    head = read(BROWSER)
    assert wants_upgrade(head)
    wanted = upgrade(head)
    assert (wanted.key, wanted.version, wanted.subprotocols, wanted.origin) == (KEY.decode(), 13, (), "https://example.com")
    assert wanted.extensions == "permessage-deflate; client_max_window_bits"


def test_lists_over_several_lines() -> None:
    wanted = upgrade(
        read(
            opening(
                b"Sec-WebSocket-Protocol: a, b",
                b"Sec-WebSocket-Protocol:c ,,",
                b"Sec-WebSocket-Extensions: x; y=1",
                b"Sec-WebSocket-Extensions: z",
            )
        )
    )
    assert wanted.subprotocols == ("a", "b", "c")
    assert wanted.extensions == "x; y=1, z"
    assert wanted.origin is None


@pytest.mark.parametrize("lines", [(b"Sec-WebSocket-Protocol:",), (b"Sec-WebSocket-Protocol: , ,",), (b"Sec-WebSocket-Protocol: ",) * 2])
def test_an_empty_list_of_subprotocols_is_as_none(lines: tuple[bytes, ...]) -> None:
    """`websockets` 17 sends an empty header."""
    assert upgrade(read(opening(*lines))).subprotocols == ()


def test_tokens_of_upgrade_and_connection_in_any_case_and_place() -> None:
    lines = [b"UPGRADE: h2c, WebSocket", b"Connection: keep-alive", b"connection: x , uPGRADE"]
    assert upgrade(read(request(*lines, b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + KEY))).key == KEY.decode()


def refused_opening(data: bytes) -> BadRequest:
    head = read(data, 100)
    with pytest.raises(BadRequest) as caught:
        upgrade(head)
    return caught.value


@pytest.mark.parametrize(
    "data",
    [
        request(),
        opening(without=b"Upgrade"),
        opening(without=b"Connection"),
        opening(b"Upgrade: h2c", without=b"Upgrade"),
        opening(b"Upgrade: websockets", without=b"Upgrade"),
        opening(b"Connection: keep-alive", without=b"Connection"),
    ],
)
def test_plain_http_gets_426_that_says_what_to_ask_for(data: bytes) -> None:
    assert not wants_upgrade(read(data))
    error = refused_opening(data)
    assert (error.status, error.reason) == (426, "upgrade")
    assert dict(error.headers) == {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}


@pytest.mark.parametrize(
    "changed", [(), (b"Sec-WebSocket-Version: 8",), (b"Sec-WebSocket-Version: 13, 8",), (b"Sec-WebSocket-Version: 013",)]
)
def test_another_version_gets_426_that_names_ours(changed: tuple[bytes, ...]) -> None:
    error = refused_opening(opening(*changed, without=b"Sec-WebSocket-Version"))
    assert (error.status, dict(error.headers)["Sec-WebSocket-Version"]) == (426, "13")


def test_other_methods_get_405() -> None:
    error = refused_opening(opening(line=b"POST / HTTP/1.1"))
    assert (error.status, error.headers) == (405, (("Allow", "GET"),))
    assert refused_opening(opening(line=b"get / HTTP/1.1")).status == 405


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"abc",
        base64.b64encode(b"x" * 15),
        base64.b64encode(b"x" * 17),
        KEY + b"=",
        KEY[:-1],
        KEY.replace(b"M", b"-"),
        KEY + b", " + KEY,
        b" " * 24,
    ],
)
def test_a_key_is_16_bytes_in_base64(key: bytes) -> None:
    assert refused_opening(opening(b"Sec-WebSocket-Key: " + key, without=b"Sec-WebSocket-Key")).reason == "key"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"Sec-WebSocket-Key: " + KEY, "key"),
        (b"Sec-WebSocket-Version: 13", "duplicate"),
        (b"Origin: https://a.example\r\nOrigin: https://a.example", "duplicate"),
        (b"Sec-WebSocket-Protocol: a, a", "subprotocol"),
        (b"Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: a", "subprotocol"),
        (b"Sec-WebSocket-Protocol: a b", "subprotocol"),
        (b"Sec-WebSocket-Protocol: a/b", "subprotocol"),
        (b"Content-Length: 5", "body"),
    ],
)
def test_what_else_is_wrong_gets_400(line: bytes, reason: str) -> None:
    error = refused_opening(opening(line))
    assert (error.status, error.reason) == (400, reason)


def test_no_key_at_all() -> None:
    assert refused_opening(opening(without=b"Sec-WebSocket-Key")).reason == "key"
