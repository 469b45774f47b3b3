"""apps/proxy/headers.py: headers that go on, those that do not, and those that the proxy sets; paths that no target misreads."""

from __future__ import annotations

from typing import Any

import pytest

from wsdaemon.apps.proxy.headers import BadPath, answer_headers, request_headers, resource
from wsdaemon.core.handshake import UNIX, Handshake, Headers, Peer
from wsdaemon.core.identity import Identity
from wsdaemon.settings.proxy import ProxyTarget, ProxyTargetForm

TARGET = ProxyTarget(False, "backend", 9000)


def handshake(*headers: tuple[bytes, bytes], **values: Any) -> Handshake:
    chosen: dict[str, Any] = {"target": "/p", "path": "/p", "raw_path": b"/p", "mount": "/p", "peer": Peer("192.0.2.7", 5), **values}
    return Handshake(headers=Headers([(b"host", b"www.example.org"), *headers]), **chosen)


def sent(*headers: tuple[bytes, bytes], preserve: bool = False, **values: Any) -> list[tuple[str, str]]:
    return request_headers(handshake(*headers, **values), TARGET, preserve)


SET = [
    ("X-Forwarded-For", "192.0.2.7"), ("X-Real-IP", "192.0.2.7"), ("X-Forwarded-Proto", "http"), ("X-Forwarded-Host", "www.example.org"),
    ("Forwarded", 'for=192.0.2.7;proto=http;host="www.example.org"'),
]  # fmt: skip


def test_headers_go_on_in_their_order() -> None:
    made = sent((b"cookie", b"a=b"), (b"Origin", b"https://x"), (b"cookie", b"c=d"), (b"x-y", b"\xe4"))
    assert made == [("Host", "backend:9000"), ("cookie", "a=b"), ("origin", "https://x"), ("cookie", "c=d"), ("x-y", "\xe4"), *SET]


def test_hop_by_hop_headers_and_those_that_connection_names_do_not() -> None:
    given = [(name.encode(), b"x") for name in ("upgrade", "keep-alive", "te", "trailer", "transfer-encoding", "proxy-authorization")]
    given += [(b"connection", b"Upgrade, X-Private"), (b"x-private", b"1"), (b"content-length", b"0")]
    given += [(b"sec-websocket-key", b"k"), (b"sec-websocket-extensions", b"permessage-deflate"), (b"sec_websocket_protocol", b"x")]
    assert sent(*given) == [("Host", "backend:9000"), *SET]


@pytest.mark.parametrize(
    "name",
    [
        b"X-Forwarded-For", b"x_forwarded_for", b"X-Forwarded-User", b"x-forwarded-anything", b"Forwarded", b"X-Real-IP", b"x_real_ip",
        b"Remote-User", b"remote_user", b"Via", b"Proxy", b"X-Original-URL",
    ],
)  # fmt: skip
def test_forged_headers_do_not(name: bytes) -> None:
    assert sent((name, b"203.0.113.9")) == [("Host", "backend:9000"), *SET]


def test_the_client_s_host() -> None:
    assert sent(preserve=True)[0] == ("Host", "www.example.org")


def test_the_user_without_the_credentials_that_the_daemon_has_checked() -> None:
    made = dict(sent((b"authorization", b"Bearer x"), identity=Identity("ada\xe4", "jwt:x")))
    assert made["X-Forwarded-User"] == "ada%C3%A4"
    assert "authorization" not in made
    assert dict(sent((b"authorization", b"Bearer x")))["authorization"] == "Bearer x"


def test_other_addresses() -> None:
    assert dict(sent(peer=Peer("2001:db8::7", 5)))["Forwarded"].startswith('for="[2001:db8::7]";')
    of_unix = dict(sent(peer=UNIX, secure=True))
    assert "X-Forwarded-For" not in of_unix
    assert of_unix["Forwarded"] == 'for=unknown;proto=https;host="www.example.org"'


def test_headers_of_the_answer() -> None:
    given = [
        (b"server", b"x"), (b"date", b"x"), (b"connection", b"Upgrade, X-Hop"), (b"x-hop", b"1"), (b"upgrade", b"websocket"),
        (b"sec-websocket-accept", b"x"), (b"set-cookie", b"a=b"), (b"set-cookie", b"c=d"), (b"x-y", b"z"), (b"content-length", b"1"),
    ]  # fmt: skip
    assert answer_headers(Headers(given)) == [("set-cookie", "a=b"), ("set-cookie", "c=d"), ("x-y", "z")]


@pytest.mark.parametrize(
    ("url", "mount", "path", "params", "query", "expected"),
    [
        ("ws://h", "/chat", "/chat", {}, b"", "/"),
        ("ws://h/socket", "/chat", "/chat", {}, b"a=1&b", "/socket?a=1&b"),
        ("ws://h/socket?x=1", "/chat", "/chat", {}, b"a=1", "/socket?x=1&a=1"),
        ("ws://h/rooms/{room}", "/r/{room}", "/r/a b", {"room": "a b"}, b"", "/rooms/a%20b"),
        ("ws://h/base", "/x/{rest...}", "/x/a/b c", {"rest": "a/b c"}, b"", "/base/a/b%20c"),
        ("ws://h/base/", "/x/{rest...}", "/x/a", {"rest": "a"}, b"", "/base/a"),
        ("ws://h", "/x/{rest...}", "/x/a", {"rest": "a"}, b"", "/a"),
        ("ws://h/base", "/x/{rest...}", "/x", {"rest": ""}, b"", "/base"),
        ("ws://h/base", "/x/{rest...}", "/x/", {"rest": ""}, b"", "/base/"),
        ("ws://h", "/x/{rest...}", "/x/a?b", {"rest": "a?b#\xe4"}, b"", "/a%3Fb%23%C3%A4"),
    ],
)
def test_the_target_s_path_takes_the_place_of_the_mount_s(
    url: str, mount: str, path: str, params: dict[str, str], query: bytes, expected: str
) -> None:  # fmt: skip
    asked = handshake(mount=mount, path=path, raw_path=b"", params=params, query_string=query)
    assert resource(asked, ProxyTargetForm().convert(url)) == expected


@pytest.mark.parametrize(
    "rest", ["..", "../x", "a/../b", "a/..", ".", "a\\..\\b", "a/./b", "a\0b", "..;/x", "..;a=b", "a/.;x/b", "a\\..;\\b"]
)
def test_no_client_leaves_the_target_s_path(rest: str) -> None:
    asked = handshake(mount="/x/{rest...}", path=f"/x/{rest}", raw_path=b"", params={"rest": rest})
    with pytest.raises(BadPath):
        resource(asked, ProxyTargetForm().convert("ws://h/base"))


@pytest.mark.parametrize(("url", "refused"), [("ws://h", True), ("ws://h/", True), ("ws://h/base", False)])
def test_no_client_names_another_host(url: str, refused: bool) -> None:
    """A target, or a server behind it, may read a path that begins with two slashes as a host and a path (RFC 3986 4.2)."""
    asked = handshake(mount="/x/{rest...}", path="/x//evil/y", raw_path=b"", params={"rest": "/evil/y"})
    target = ProxyTargetForm().convert(url)
    if refused:
        with pytest.raises(BadPath):
            resource(asked, target)
    else:
        assert resource(asked, target) == "/base//evil/y"


def test_a_semicolon_in_a_segment_is_kept() -> None:
    asked = handshake(mount="/x/{rest...}", path="/x/a;b/..c;d", raw_path=b"", params={"rest": "a;b/..c;d"})
    assert resource(asked, ProxyTargetForm().convert("ws://h/base")) == "/base/a;b/..c;d"
