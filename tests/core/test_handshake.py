"""core/handshake.py: headers, cookies, addresses, the handshake."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.core.handshake import UNIX, ClientCertificate, Draft, Handshake, Headers, LetGoError, Peer, cookies

RAW = [(b"Host", b"a.example"), (b"X-Tag", b" one "), (b"cookie", b"a=1"), (b"X-TAG", b"two"), (b"Empty", b"")]

header_names = st.text("abcXYZ-09!#$%&'*+.^_`|~", min_size=1).map(str.encode)
header_values = st.binary().filter(lambda value: not set(value) & set(b"\r\n\0")).map(lambda value: value.strip(b" \t"))


def test_headers_are_case_insensitive_and_keep_order_and_duplicates() -> None:
    headers = Headers(RAW)
    assert headers["HOST"] == headers["host"] == "a.example"
    assert headers.get("x-tag") == "one"
    assert headers.get_all("X-Tag") == ["one", "two"]
    assert headers.joined("x-tag") == "one, two"
    assert headers.raw == ((b"host", b"a.example"), (b"x-tag", b"one"), (b"cookie", b"a=1"), (b"x-tag", b"two"), (b"empty", b""))
    assert headers["empty"] == ""


def test_headers_are_a_mapping_of_names() -> None:
    headers = Headers(RAW)
    assert list(headers) == ["host", "x-tag", "cookie", "empty"]
    assert len(headers) == 4
    assert dict(headers) == {"host": "a.example", "x-tag": "one", "cookie": "a=1", "empty": ""}
    assert "Cookie" in headers
    assert "cook" not in headers
    number: object = 7
    assert number not in headers


def test_what_is_not_there() -> None:
    headers = Headers(RAW)
    assert headers.get("nothing") is None
    assert headers.get("nothing", "x") == "x"
    assert headers.get_all("nothing") == []
    assert headers.joined("nothing") is None
    with pytest.raises(KeyError):
        headers["nothing"]
    assert not Headers()
    assert Headers().raw == ()


def test_a_name_cannot_reach_into_a_value() -> None:
    headers = Headers([(b"a", b"b:c"), (b"host", b"x")])
    assert headers.get("a:b") is None
    assert headers.get("b") is None
    assert headers.get("a:b:c\r\nhost") is None
    assert headers.get("h\u0142st") is None
    assert headers.get("") is None


@pytest.mark.parametrize(
    ("name", "value"),
    [(b"", b"x"), (b"a:b", b"x"), (b"a\r\nb", b"x"), (b"a", b"x\r\nb: c"), (b"a", b"x\nb"), (b"a", b"x\rb"), (b"a", b"x\0")],
)
def test_a_line_that_could_break_out_is_refused(name: bytes, value: bytes) -> None:
    with pytest.raises(ValueError, match="not a header line"):
        Headers([(name, value)])


def test_headers_are_values() -> None:
    assert Headers(RAW) == Headers(RAW)
    assert hash(Headers(RAW)) == hash(Headers(RAW))
    assert Headers(RAW) != Headers(RAW[:-1])
    assert Headers() != {}


def test_members_of_lists_can_be_left_out() -> None:
    lines = [(b"a", b"x"), (b"L", b"x,\ty , z,,x"), (b"b", b"x"), (b"l", b"z"), (b"l", b""), (b"ll", b"z")]
    assert Headers(lines).with_members("l", ("x", "y")).raw == ((b"a", b"x"), (b"l", b"x, y, x"), (b"b", b"x"), (b"ll", b"z"))
    assert "l" not in Headers(lines).with_members("L", ())
    assert Headers(lines).with_members("none", ()) == Headers(lines)
    assert Headers().with_members("l", ()) == Headers()


def test_repr_shows_no_secrets() -> None:
    assert repr(Headers([(b"Authorization", b"Bearer s3cret")])) == "<Headers authorization>"


@given(st.lists(st.tuples(header_names, header_values)))
def test_raw_gives_back_what_was_put_in(pairs: list[tuple[bytes, bytes]]) -> None:
    headers = Headers(pairs)
    assert headers.raw == tuple((name.lower(), value) for name, value in pairs)
    for name, _ in pairs:
        values = [value.decode("latin-1") for other, value in pairs if other.lower() == name.lower()]
        assert headers.get_all(name.decode()) == values
        assert headers[name.decode()] == values[0]


@pytest.mark.parametrize(
    ("line", "jar"),
    [
        (b"a=1; b=2", {"a": "1", "b": "2"}),
        (b"a=1;b=2;", {"a": "1", "b": "2"}),
        (b"a=first; a=second", {"a": "first"}),
        (b"a=b=c", {"a": "b=c"}),
        (b'a="quoted value"; b="', {"a": "quoted value", "b": '"'}),
        (b'a=""', {"a": ""}),
        (b"a=", {"a": ""}),
        (b"nameless; =value; a=1", {"a": "1"}),
        (b"a=1, b=2", {"a": "1, b=2"}),
        (b'a={"json":[1]}; b c=d e', {"a": '{"json":[1]}', "b c": "d e"}),
        ("a=Åse".encode(), {"a": "Åse"}),
        ("a=Åse".encode("latin-1"), {"a": "Åse"}),
        (b"", {}),
        (b";;; ;", {}),
    ],
)
def test_cookies_as_browsers_send_them(line: bytes, jar: dict[str, str]) -> None:
    assert cookies(Headers([(b"cookie", line)])) == jar


def test_cookies_on_several_lines_and_none() -> None:
    assert cookies(Headers([(b"cookie", b"a=1"), (b"Cookie", b"a=2; b=3")])) == {"a": "1", "b": "3"}
    assert cookies(Headers()) == {}


@given(header_values)
def test_cookies_never_raise(line: bytes) -> None:
    cookies(Headers([(b"cookie", line)]))


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (("203.0.113.9", 51812), "203.0.113.9:51812"),
        (("2001:db8::1", 51812, 0, 0), "[2001:db8::1]:51812"),
        (("fe80::1%eth0", 5, 0, 2), "[fe80::1]:5"),
        (("::ffff:203.0.113.9", 51812, 0, 0), "203.0.113.9:51812"),
        (("::ffff:cb00:7109", 51812, 0, 0), "203.0.113.9:51812"),
        ("", "unix"),
        ("/run/x.sock", "unix"),
        (b"\0abstract", "unix"),
        (None, "unix"),
        (("203.0.113.9", 0), "203.0.113.9"),
        (("2001:db8::1", 0), "2001:db8::1"),
    ],
)
def test_peer_from_a_socket_name(address: object, text: str) -> None:
    peer = Peer.from_sockname(address)
    assert str(peer) == text
    assert peer.is_unix == (text == "unix")


def handshake(query: bytes = b"", *raw: tuple[bytes, bytes]) -> Handshake:
    return Handshake(target="/chat", path="/chat", raw_path=b"/chat", query_string=query, headers=Headers(raw))


def test_handshake_defaults() -> None:
    made = handshake()
    assert (made.peer, made.secure, made.subprotocols, made.subprotocol) == (UNIX, False, (), None)
    assert (made.query, made.cookies, made.user_agent, made.origin, dict(made.params)) == ({}, {}, None, None, {})
    with pytest.raises(FrozenInstanceError):
        made.path = "/other"  # type: ignore[misc]
    assert not hasattr(made, "__dict__")


def test_handshake_reads_query_cookies_and_known_headers() -> None:
    made = handshake(b"a=1&b=&a=%C3%A5&c", (b"cookie", b"s=1"), (b"user-agent", b"test/1"), (b"origin", b"https://a.example"))
    assert made.query == {"a": ["1", "å"], "b": [""], "c": [""]}
    assert made.cookies == {"s": "1"}
    assert made.user_agent == "test/1"
    assert made.origin == "https://a.example"


@given(st.binary())
def test_query_never_raises(query: bytes) -> None:
    assert isinstance(handshake(query).query, dict)


def test_query_stops_at_a_thousand_fields() -> None:
    query = handshake(b"&".join(b"k%d=1" % number for number in range(5000))).query
    assert len(query) == 1000
    assert "k999" in query


def test_a_client_certificate_as_pem() -> None:
    made = ClientCertificate(subject="CN=a", common_name="a", names=(), issuer="CN=ca", serial="1", fingerprint="00", der=b"abc")
    assert made.pem == "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n"


GONE = ["target", "query_string", "query", "headers", "cookies", "origin", "client_certificate"]


@pytest.mark.parametrize("name", GONE)
def test_what_was_let_go_raises_and_is_never_empty(name: str) -> None:
    made = handshake(b"a=1", (b"cookie", b"banned=yes"), (b"user-agent", b"test/1"))
    getattr(made, name)
    made.let_go()
    made.let_go()
    with pytest.raises(LetGoError, match="no longer there"):
        getattr(made, name)
    with pytest.raises(LetGoError):
        hasattr(made, name)


def test_what_stays_when_the_rest_is_let_go() -> None:
    made, silent = handshake(b"a=1", (b"user-agent", b"test/1")), handshake()
    for each in (made, silent):
        assert not each.was_let_go
        each.let_go()
        assert each.was_let_go
    assert (made.user_agent, silent.user_agent) == ("test/1", None)
    assert (made.path, made.raw_path, made.peer, made.identity, made.subprotocol) == ("/chat", b"/chat", UNIX, None, None)
    assert repr(made) == "<Handshake '/chat' from unix>"
    with pytest.raises(AttributeError, match="no attribute 'heders'"):
        made.heders  # type: ignore[attr-defined]  # noqa: B018


def test_no_text_of_a_handshake_shows_its_secrets() -> None:
    made = handshake(b"token=secret", (b"cookie", b"session=secret"), (b"authorization", b"Basic secret"))
    assert "secret" not in repr(made) + str(made)


def test_a_draft_becomes_the_very_handshake_that_the_constructor_makes() -> None:
    headers, peer = Headers([(b"host", b"a")]), Peer("1.2.3.4", 5)
    offered = ("one", "two")
    made = Draft("/a?b", "/a", b"/a", b"b", headers, {"x": "y"}, peer, UNIX, True, None, None, offered, "two", "web", "/{x}").admitted()
    wanted = Handshake(
        target="/a?b", path="/a", raw_path=b"/a", query_string=b"b", headers=headers, params={"x": "y"}, peer=peer, local=UNIX, secure=True,
        subprotocols=("one", "two"), subprotocol="two", listener="web", mount="/{x}",
    )  # fmt: skip
    assert type(made) is Handshake
    assert all(getattr(made, field.name) == getattr(wanted, field.name) for field in fields(made))
    assert made == wanted
    with pytest.raises(FrozenInstanceError):
        made.path = "/b"  # type: ignore[misc]
    assert replace(made, subprotocol="one").subprotocol == "one"
    made.let_go()
    with pytest.raises(LetGoError):
        made.target  # noqa: B018


@pytest.mark.parametrize("name", [b"User-Agent", b"user-agent", b"USER-AGENT"])
def test_the_user_agent_stays_however_its_name_is_spelled(name: bytes) -> None:
    trace = b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"
    block = b"\r\nhost:a\r\n%s: curl/8 \r\nTraceParent:%s\r\n" % (name, trace)
    handshake = Handshake(target="/", path="/", raw_path=b"/", headers=Headers.as_sent(block))
    handshake.let_go()
    assert (handshake.user_agent, handshake.traceparent) == ("curl/8", trace.decode())
