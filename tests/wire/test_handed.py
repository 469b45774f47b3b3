"""wire/handed.py: the format of a connection that goes to another process."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.core.handshake import Handshake, Headers, Peer
from wsdaemon.core.identity import Identity
from wsdaemon.core.wire_halves import Counts
from wsdaemon.wire.deadlines import PingState
from wsdaemon.wire.handed import (
    MAX_HANDED_BYTES,
    Agreed,
    HandedOver,
    HeldMessage,
    NotHandedOver,
    can_be_carried,
    decode,
    encode,
)
from wsdaemon.wire.meter import MeterTokens

HANDSHAKE = Handshake(
    target="/a%20b?x=1", path="/a b", raw_path=b"/a%20b", query_string=b"x=1&y=\xff", headers=Headers([(b"Host", b"a"), (b"X", b"\xe9")]),
    params={"room": "grün"}, peer=Peer("2001:db8::1", 5), local=Peer("192.0.2.1", 80), secure=True,
    identity=Identity("ada", "jwt:staff", {"roles": ["a", "b"], "n": 1.5}, 2e9), subprotocols=("a", "b"), subprotocol="b", listener="main",
    mount="/{room}",
)  # fmt: skip


def handed(**changes: Any) -> HandedOver:
    fields: dict[str, Any] = {"id": "ab-1", "age": 3.25, "handshake": HANDSHAKE, "traffic": Counts(1, 2, 3, 4, 5)}
    return HandedOver(**(fields | changes))


def test_all_fields_come_back() -> None:
    one = handed(
        pings=PingState(1, 0.5, None, True, 12, 2, 7, 30.0), agreed=Agreed(11, 15, True, False), tokens=MeterTokens(-2.5, 100.0, 0.0),
        app="echo", fragments=3, warned=True, window=b"window", state=b"\0state", unread=b"\x81", unsent=b"\x82",
        held=(HeldMessage(1, b"a"), HeldMessage(2, b"")),
    )  # fmt: skip
    back = decode(encode(one))
    assert back == one
    assert back.handshake.headers.raw == HANDSHAKE.headers.raw
    assert back.handshake.query == HANDSHAKE.query
    assert back.handshake.identity == HANDSHAKE.identity


@given(st.lists(st.binary(max_size=40), min_size=4, max_size=4), st.lists(st.tuples(st.integers(1, 255), st.binary(max_size=9))))
def test_byte_strings_come_back_as_they_are(strings: list[bytes], held: list[tuple[int, bytes]]) -> None:
    window, state, unread, unsent = strings
    one = handed(window=window, state=state, unread=unread, unsent=unsent, held=tuple(HeldMessage(*each) for each in held))
    assert decode(encode(one)) == one


def test_a_handshake_that_was_let_go_stays_so_and_keeps_the_user_agent() -> None:
    trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = Headers([(b"User-Agent", b"wscat"), (b"traceparent", trace)])
    handshake = Handshake(target="/", path="/", raw_path=b"/", headers=headers, local="/run/ws.sock")
    handshake.let_go()
    back = decode(encode(handed(handshake=handshake))).handshake
    assert back.was_let_go
    assert (back.user_agent, back.traceparent) == ("wscat", trace.decode())
    assert back.local == "/run/ws.sock"
    with pytest.raises(RuntimeError):
        _ = back.headers


def test_another_version_and_anything_else_are_malformed() -> None:
    content = encode(handed(state=b"abc"))
    with pytest.raises(NotHandedOver, match="version 7"):
        decode(content[:2] + b"\0\7" + content[4:])
    for broken in (b"", b"XX" + content[2:], content[:-1], content + b"x", content[:20], content[:8] + b"[" + content[9:]):
        with pytest.raises(NotHandedOver):
            decode(broken)


@given(st.data())
def test_a_damaged_content_is_malformed_or_a_connection(data: st.DataObject) -> None:
    content = bytearray(encode(handed(state=b"abc")))
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(NotHandedOver):
        decode(bytes(content))


def test_a_content_has_a_bound() -> None:
    encode(handed(unread=bytes(MAX_HANDED_BYTES - 5000)))
    with pytest.raises(ValueError, match="are allowed"):
        encode(handed(unread=bytes(MAX_HANDED_BYTES)))


def test_claims_that_are_no_json_cannot_be_carried() -> None:
    assert can_be_carried(HANDSHAKE)
    assert can_be_carried(Handshake(target="/", path="/", raw_path=b"/"))
    for claims in ({"x": object()}, {"x": float("nan")}):
        assert not can_be_carried(Handshake(target="/", path="/", raw_path=b"/", identity=Identity("a", "b", claims)))


def test_the_repr_shows_no_secret() -> None:
    assert "roles" not in repr(handed(state=b"secret"))
    assert "secret" not in repr(handed(state=b"secret"))
