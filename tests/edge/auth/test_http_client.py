"""edge/auth/http_client.py: which connections are used again. An answer belongs to the request that it was given to, and to no other."""

from __future__ import annotations

import asyncio
import select
import ssl
from pathlib import Path

import pytest
import trustme

from tests.support.auth_server import OK, Server, ask, refused, run, way
from wsdaemon.edge.auth.http_client import _Link, _Stale

NOTHING = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
ADMIN = b"HTTP/1.1 200 OK\r\nX-Auth-User: admin\r\nContent-Length: 0\r\n\r\n"
TIRED = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("uv", [False, True])
@pytest.mark.parametrize("behind", [ADMIN, ADMIN[:20], b"\r\n", b"x"])
def test_what_stands_behind_an_answer_is_no_answer(uv: bool, behind: bytes) -> None:
    async def test() -> None:
        async with Server(NOTHING + behind, REFUSED) as server:
            authenticator = way(server.url)
            assert (await refused(authenticator)).status == 401
            assert (await refused(authenticator)).status == 403
            assert server.connections == 2
            await authenticator.close()

    run(test, uv)


@pytest.mark.parametrize("uv", [False, True])
@pytest.mark.parametrize("unasked", [ADMIN, TIRED, b"x"])
def test_what_comes_while_nothing_is_asked_is_no_answer(uv: bool, unasked: bytes) -> None:
    async def test() -> None:
        async with Server(OK, REFUSED) as server:
            authenticator = way(server.url)
            assert (await ask(authenticator)).name == "ada"
            server.say(unasked)
            await server.left.acquire()  # the connection is closed without another request
            assert (await refused(authenticator)).status == 403
            assert server.connections == 2
            await authenticator.close()

    run(test, uv)


@pytest.mark.parametrize("uv", [False, True])
def test_what_lies_in_the_socket_is_no_answer_either(uv: bool) -> None:
    async def test() -> None:
        async with Server(OK, REFUSED) as server:
            authenticator = way(server.url)
            assert (await ask(authenticator)).name == "ada"
            (link,) = authenticator._client._kept
            assert link._transport is not None
            server.say(ADMIN)
            poll = select.poll()
            poll.register(link._transport.get_extra_info("socket").fileno(), select.POLLIN)
            assert poll.poll(10_000)  # it has arrived, and the loop has had no turn since
            assert (await refused(authenticator)).status == 403
            assert server.connections == 2
            await authenticator.close()

    run(test, uv)


@pytest.mark.parametrize("uv", [False, True])
@pytest.mark.parametrize("rude", [False, True])
def test_a_connection_that_was_closed_while_idle_is_not_used(uv: bool, rude: bool) -> None:
    async def test() -> None:
        async with Server(OK) as server:
            authenticator = way(server.url)
            assert (await ask(authenticator)).name == "ada"
            (link,) = authenticator._client._kept
            server.hang_up(rude)
            await link.gone
            assert (await ask(authenticator)).name == "ada"
            assert (server.connections, len(server.heads)) == (2, 2)
            await authenticator.close()

    run(test, uv)


@pytest.mark.parametrize("answer", [None, TIRED])
def test_a_connection_that_ends_as_the_request_comes_is_replaced_once(answer: bytes | None) -> None:
    async def test() -> None:
        async with Server(OK, answer, OK, answer) as server:
            authenticator = way(server.url)
            assert (await ask(authenticator)).name == "ada"
            assert (await ask(authenticator)).name == "ada"
            assert (server.connections, len(server.heads)) == (2, 3)
            error = await refused(authenticator)
            assert (error.status, error.reason) == (503, "auth_unavailable")
            assert (server.connections, len(server.heads)) == (3, 5)
            await authenticator.close()

    run(test)


@pytest.mark.parametrize("uv", [False, True])
@pytest.mark.parametrize("greeting", [ADMIN, b""])
def test_a_server_that_speaks_or_hangs_up_before_it_is_asked_is_not_asked(uv: bool, greeting: bytes) -> None:
    async def test() -> None:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(greeting)
            writer.close()

        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            _, link = await asyncio.get_running_loop().create_connection(_Link, "127.0.0.1", server.sockets[0].getsockname()[1])
            await link.gone
            with pytest.raises(_Stale):
                await link.ask([(b"host", b"a")], "/")

    run(test, uv)


@pytest.mark.parametrize("uv", [False, True])
def test_a_connection_with_tls_is_kept_too(tmp_path: Path, uv: bool) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def test() -> None:
        async with Server(OK, OK, NOTHING + ADMIN, REFUSED, context=context) as server:
            authenticator = way(server.url, ca_file=tmp_path / "ca.pem")
            for _ in range(2):
                assert (await ask(authenticator)).name == "ada"
            assert [(await refused(authenticator)).status for _ in range(2)] == [401, 403]
            assert server.connections == 2
            await authenticator.close()

    run(test, uv)
