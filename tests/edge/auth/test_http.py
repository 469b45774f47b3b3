"""edge/auth/http.py and http_client.py: another server is asked. It is a real one here, on a free port."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from tests.support.auth import Clock, logged, request
from tests.support.auth_server import OK, Server, ask, refused, run, way
from wsdaemon.core.handshake import UNIX, Peer
from wsdaemon.edge.auth.contract import Candidate, Denied, Identity
from wsdaemon.edge.auth.http_client import KEEP_SECONDS, MAX_BODY_BYTES


def once(answer: bytes | None, asked: Candidate | None = None, **keys: Any) -> Identity | Denied:
    """The result of one answer."""

    async def test() -> Identity | Denied:
        async with Server(answer) as server:
            authenticator = way(server.url, **keys)
            try:
                return await ask(authenticator, asked)
            except Denied as error:
                return error
            finally:
                await authenticator.close()

    return run(test)


@pytest.mark.parametrize("uv", [False, True])
def test_2xx_lets_in_and_the_connection_is_kept(uv: bool) -> None:
    async def test() -> None:
        no_content = b"HTTP/1.1 204 No Content\r\nX-Auth-User: bob\r\n\r\n"
        chunked = b"HTTP/1.1 200 OK\r\nX-Auth-User: eve\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        async with Server(OK, no_content, chunked) as server:
            authenticator = way(server.url)
            assert await ask(authenticator) == Identity("ada", "http:way")
            assert await ask(authenticator) == Identity("bob", "http:way")
            assert (await ask(authenticator)).name == "eve"
            assert (server.connections, server.open) == (1, 1)
            assert server.heads[0].startswith(b"GET /auth?x=1 HTTP/1.1\r\n")
            await authenticator.close()

    run(test, uv)


def test_what_the_server_is_told() -> None:
    async def test() -> list[tuple[str, str]]:
        async with Server(OK) as server:
            authenticator = way(server.url, claim_headers="X-Roles")
            asked = request(
                "Connection: Upgrade, X-Secret-Hop", "Upgrade: websocket", "X-Secret-Hop: 1", "Cookie: session=abc",
                "Authorization: Bearer t",
                "X-Forwarded-For: 10.0.0.1", "x_real_ip: 10.0.0.1", "X-Original-URI: /admin", "x_original_target: /admin",
                "Forwarded: for=10.0.0.1",
                "X_Auth_User: root",
                "X-Auth-User: root", "X-Roles: admin", "Sec-WebSocket-Protocol: bearer.t", "Content-Length: 0", "Origin: https://a.example",
                "X-Name: \xe9", "TE: trailers",
                target="/chat?token=t", secure=True,
            )  # fmt: skip
            await ask(authenticator, asked)
            await ask(authenticator, request(peer=UNIX))
            await authenticator.close()
            assert ("host", f"127.0.0.1:{server.port}") in server.sent(0)
            assert "x-forwarded-for" not in dict(server.sent(1))
            return [header for header in server.sent(0) if header[0] != "host"]

    assert run(test) == [
        ("cookie", "session=abc"),
        ("authorization", "Bearer t"),
        ("sec-websocket-protocol", "bearer.t"),
        ("origin", "https://a.example"),
        ("x-name", "\xe9"),
        ("x-original-method", "GET"),
        ("x-original-uri", "/chat?token=t"),
        ("x-original-target", "/chat?token=t"),
        ("x-original-host", "ws.example.com"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "ws.example.com"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-real-ip", "192.0.2.1"),
    ]


@pytest.mark.parametrize(
    ("target", "routed"),
    [
        ("ws://ws.example.com/admin?x=1", "/admin?x=1"),
        ("http://ws.example.com", "/"),
        ("/%61dm%69n?c=%20%61", "/admin?c=%20%61"),
        ("/a%2fb", "/a/b"),
        ("/a%20%c3%a9|^;=%7e%3f", "/a%20%C3%A9%7C%5E;=~%3F"),
        ("/a?", "/a"),
    ],
)
def test_the_server_is_shown_the_path_that_was_routed(target: str, routed: str) -> None:
    """Or a rule for `/admin` would not see that `ws://ws.example.com/admin` and `/%61dmin` are the same mount."""

    async def test() -> dict[str, str]:
        async with Server(OK) as server:
            authenticator = way(server.url)
            await ask(authenticator, request(target=target))
            await authenticator.close()
            return dict(server.sent(0))

    sent = run(test)
    assert (sent["x-original-uri"], sent["x-original-target"]) == (routed, target)


def test_identity_and_claims() -> None:
    answer = "HTTP/1.1 200 OK\r\nREMOTE-USER: zoë\r\nX-Roles: a, b\r\nX-Twice: 1\r\nX-Twice: 2\r\nContent-Length: 0\r\n\r\n"
    found = once(answer.encode(), identity_header="Remote-User", claim_headers="X-Roles, X-Twice, X-None")
    assert isinstance(found, Identity)
    assert (found.name, dict(found.claims)) == ("zoë", {"x-roles": "a, b"})
    nameless = once(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", identity_header="")
    assert isinstance(nameless, Identity) and nameless.name == ""


@pytest.mark.parametrize("status", [401, 403])
def test_the_client_may_not_come_in(status: int) -> None:
    answer = (
        f"HTTP/1.1 {status} No\r\nWWW-Authenticate: Bearer\r\nWWW-Authenticate: Basic\xe9\r\nX-Auth-User: ada\r\nContent-Length: 0\r\n\r\n"
    )
    error = once(answer.encode("latin-1"))
    assert isinstance(error, Denied)
    assert (error.status, error.reason) == (status, "auth_refused")
    assert error.headers == ((("WWW-Authenticate", "Bearer"),) if status == 401 else ())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", "it answered 302"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "it answered 500"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "it answered 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "does not have one X-Auth-User"),
        (b"HTTP/1.1 200 OK\r\nX-Auth-User:\r\nContent-Length: 0\r\n\r\n", "does not have one X-Auth-User"),
        (b"HTTP/1.1 200 OK\r\nX-Auth-User: a\r\nX-Auth-User: b\r\nContent-Length: 0\r\n\r\n", "does not have one X-Auth-User"),
        (b"HTTP/1.1 200 OK\r\nX-Auth-User: a\x0bb\r\nContent-Length: 0\r\n\r\n", "not HTTP/1.1"),
        (b"nonsense\r\n\r\n", "not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20_000, "not HTTP/1.1"),
        (None, "closed the connection without an answer"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 599 X\r\nContent-Length: 0\r\n\r\n", "it answered 599"),
    ],
)
def test_failures(answer: bytes | None, reason: str) -> None:
    with logged() as lines:
        error = once(answer, request("Authorization: Bearer hunter2", target="/?token=hunter2"))
    assert isinstance(error, Denied)
    assert (error.status, error.reason) == (503, "auth_unavailable")
    assert len(lines) == 1 and reason in lines[0] and "hunter2" not in lines[0]


def test_a_body_that_ends_early_and_one_that_is_long() -> None:
    async def test() -> None:
        head = b"HTTP/1.1 200 OK\r\nX-Auth-User: ada\r\n"
        long = head + b"Content-Length: 9999999\r\n\r\n" + b"x" * (MAX_BODY_BYTES * 2)
        closing = head + b"Connection: close\r\nContent-Length: 0\r\n\r\n"
        async with Server(long, closing, OK) as server:
            authenticator = way(server.url)
            for connections in (1, 2, 3, 3):
                assert (await ask(authenticator)).name == "ada"
                assert server.connections == connections
            await authenticator.close()

    run(test)


def test_a_connection_that_the_server_closed_meanwhile_is_replaced() -> None:
    async def test() -> None:
        async with Server(OK, None, OK) as server:
            authenticator = way(server.url)
            await ask(authenticator)
            assert (await ask(authenticator)).name == "ada"
            assert server.connections == 2
            await authenticator.close()

    run(test)


def test_a_connection_is_not_kept_for_ever() -> None:
    async def test() -> None:
        clock = Clock()
        async with Server(OK) as server:
            authenticator = way(server.url, clock)
            await ask(authenticator)
            clock.now += KEEP_SECONDS
            await ask(authenticator)
            assert server.connections == 2
            await authenticator.close()

    run(test)


def test_nobody_listens() -> None:
    async def test() -> None:
        async with Server(OK) as server:
            url = server.url
        error = await refused(way(url))
        assert (error.status, error.reason) == (503, "auth_unavailable")

    run(test)


def test_a_silent_server_is_not_waited_for() -> None:
    async def test() -> None:
        async with Server(OK) as server:
            server.held.clear()
            authenticator = way(server.url, timeout="50ms", max_requests=1)
            with logged() as lines:
                errors = await asyncio.gather(*[refused(authenticator) for _ in range(3)])
            assert {error.status for error in errors} == {503}
            assert len(lines) == 1 and "no answer within 0.05 s" in lines[0]
            server.held.set()
            assert (await ask(authenticator)).name == "ada"
            await authenticator.close()

    run(test)


def test_only_so_many_at_once_and_so_many_wait() -> None:
    async def test() -> None:
        async with Server(OK) as server:
            server.held.clear()
            authenticator = way(server.url, max_requests=2, max_waiting=1)
            tasks = [asyncio.ensure_future(ask(authenticator)) for _ in range(4)]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            error = tasks[3].exception()
            assert isinstance(error, Denied) and (error.status, error.reason) == (503, "auth_busy")
            await server.arrived.acquire()
            await server.arrived.acquire()
            assert len(server.heads) == 2
            server.held.set()
            assert {identity.name for identity in await asyncio.gather(*tasks[:3])} == {"ada"}
            assert server.connections == 2
            await authenticator.close()

    run(test)


def test_a_client_that_goes_away_leaves_nothing_behind() -> None:
    async def test() -> None:
        async with Server(OK) as server:
            server.held.clear()
            authenticator = way(server.url, max_requests=1, max_waiting=0)
            task = asyncio.ensure_future(ask(authenticator))
            await server.arrived.acquire()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            server.held.set()
            assert (await ask(authenticator)).name == "ada"
            assert server.connections == 2
            await authenticator.close()

    run(test)


def test_what_is_under_way_while_it_closes_is_not_kept() -> None:
    async def test() -> None:
        async with Server(OK) as server:
            server.held.clear()
            authenticator = way(server.url)
            task = asyncio.ensure_future(ask(authenticator))
            await server.arrived.acquire()
            await authenticator.close()
            server.held.set()
            assert (await task).name == "ada"
            await server.left.acquire()
            assert server.open == 0

    run(test)


def test_the_log_is_not_flooded() -> None:
    async def test() -> None:
        clock = Clock()
        async with Server(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n") as server:
            authenticator = way(server.url, clock)
            with logged() as lines:
                for seconds in (0, 5, 54.9, 0.2):
                    clock.now += seconds
                    await refused(authenticator)
            assert len(lines) == 2
            await authenticator.close()

    run(test)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.mark.parametrize("uv", [False, True])
@pytest.mark.parametrize(("name", "trusted", "told"), [
    ("127.0.0.1", True, ""), ("other.example", True, "IP address mismatch"), ("127.0.0.1", False, "the server's certificate is not good"),
])  # fmt: skip
def test_tls_is_verified_with_its_name(authority: trustme.CA, tmp_path: Path, uv: bool, name: str, trusted: bool, told: str) -> None:
    async def test() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        (authority if trusted else trustme.CA()).cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        async with Server(OK, context=context) as server:
            authenticator = way(server.url, ca_file=tmp_path / "ca.pem")
            with logged() as lines:
                if told:
                    assert (await refused(authenticator)).reason == "auth_unavailable"
                    assert told in lines[0]
                else:
                    assert (await ask(authenticator)).name == "ada"
            await authenticator.close()

    run(test, uv)


names = st.text("abcXYZ-_0", min_size=1, max_size=12)
texts = st.text(st.characters(min_codepoint=33, max_codepoint=255, blacklist_characters="\x7f\x85"), max_size=12)


@given(st.lists(st.tuples(names | st.sampled_from(["X_Forwarded-For", "x-REAL-ip", "X-auth_user", "Connection"]), texts), max_size=6))
def test_any_headers_are_passed_on_without_what_is_ours(headers: list[tuple[str, str]]) -> None:
    lines = [f"{name}: {value}" for name, value in headers if name.lower() not in ("content-length", "host")]

    async def test() -> Any:
        authenticator = way("http://127.0.0.1:9/auth")
        return authenticator._headers(request(*lines, peer=Peer("192.0.2.9", 1)))

    sent = [(name.decode("latin-1").replace("_", "-"), value.decode("latin-1")) for name, value in run(test)]
    assert [value for name, value in sent if name in ("x-forwarded-for", "x-real-ip")] == ["192.0.2.9", "192.0.2.9"]
    assert not {name for name, _ in sent} & {"x-auth-user", "connection", "host"}
