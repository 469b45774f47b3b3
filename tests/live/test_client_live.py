"""The client against real servers: the daemon, servers of other projects, proxies between, and a daemon that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import aiohttp.web
import pytest
import trustme
from websockets.asyncio.server import ServerConnection, serve

from tests.live.test_edge_recipes import accepting, free_port, nginx
from tests.support.daemon import ECHO, Daemon, Program, program
from wsdaemon import WebSocketServer
from wsdaemon.client import CertificateRejected, ConnectFailed, OpeningRefused, RoomGap, WebSocketClient
from wsdaemon.client.compat import WebSocketApp

pytestmark = pytest.mark.live

SECONDS = 30.0

ROOMS = """
[listener:web]
address = tcp:%s:interface=127.0.0.1
[mount:/rooms/{room}]
app = rooms
history = 1000
[mount:/echo]
app = echo
"""


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs an async test."""

    @functools.wraps(test)
    def run(*arguments: Any, **options: Any) -> None:
        asyncio.run(test(*arguments, **options))

    return run


async def check(url: str, **options: Any) -> None:
    """Messages of all kinds come back."""
    async with asyncio.timeout(SECONDS), WebSocketClient(url, max_message="4MiB", **options) as client:
        sent: list[str | bytes] = ["text ä", b"\x00\xff", "x" * 200_000, b"y" * 1_000_000, ""]
        for message in sent:
            client.send(message)
        assert [await client.receive() for _ in sent] == sent


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@contextlib.asynccontextmanager
async def websockets_server(**options: Any) -> AsyncIterator[int]:
    async with serve(echo, "127.0.0.1", 0, max_size=None, **options) as server:
        yield next(iter(server.sockets)).getsockname()[1]


@on_a_loop
async def test_websockets() -> None:
    async with websockets_server() as port:
        await check(f"ws://127.0.0.1:{port}/")
        await check(f"ws://127.0.0.1:{port}/", compression=False)
        await check(f"ws://localhost:{port}/", compression_window_bits=15)


@on_a_loop
async def test_aiohttp() -> None:
    async def answer(request: aiohttp.web.Request) -> aiohttp.web.WebSocketResponse:
        response = aiohttp.web.WebSocketResponse(max_msg_size=0)
        await response.prepare(request)
        async for message in response:
            if message.type == aiohttp.WSMsgType.TEXT:
                await response.send_str(message.data)
            elif message.type == aiohttp.WSMsgType.BINARY:
                await response.send_bytes(message.data)
        return response

    async def away(request: aiohttp.web.Request) -> aiohttp.web.Response:
        raise aiohttp.web.HTTPTemporaryRedirect("/ws", headers={"Set-Cookie": "node=7; Path=/"})

    async def busy(request: aiohttp.web.Request) -> aiohttp.web.Response:
        return aiohttp.web.Response(status=503, headers={"Retry-After": "1"}, text="busy")

    app = aiohttp.web.Application()
    app.add_routes([aiohttp.web.get("/ws", answer), aiohttp.web.get("/away", away), aiohttp.web.get("/busy", busy)])
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        await check(f"ws://127.0.0.1:{port}/ws")
        await check(f"http://127.0.0.1:{port}/away", redirects=1)
        with pytest.raises(OpeningRefused, match="307"):
            await check(f"ws://127.0.0.1:{port}/away")
        with pytest.raises(OpeningRefused, match="404"):
            await check(f"ws://127.0.0.1:{port}/nothing")
        with pytest.raises(OpeningRefused) as caught:
            await check(f"ws://127.0.0.1:{port}/busy", reconnect=False)
        assert (caught.value.retry_after, caught.value.body) == (1.0, b"busy")
    finally:
        await runner.cleanup()


WS_SERVER = """
const { WebSocketServer } = require(process.env.WS_MODULE);
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: true });
server.on("connection", socket => socket.on("message", (data, binary) => socket.send(data, { binary })));
server.on("listening", () => console.log("listening on " + server.address().port));
"""


def test_ws_of_node(tmp_path: Path) -> None:
    """The `ws` that wscat brings along."""
    wscat = Path(program("wscat", "npm package wscat", "WSDAEMON_WSCAT")).resolve()
    modules = next((folder / "node_modules" / "ws" for folder in wscat.parents if (folder / "node_modules" / "ws").is_dir()), None)
    assert modules is not None, "wscat comes with ws"
    (tmp_path / "server.js").write_text(WS_SERVER)
    node = Program([program("node", "Debian: nodejs"), str(tmp_path / "server.js")], tmp_path, {**os.environ, "WS_MODULE": str(modules)})
    with node as server:
        [found] = server.output.wait_for(r"listening on (\d+)")
        asyncio.run(check(f"ws://127.0.0.1:{found[1]}/"))


RECIPE = """
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://127.0.0.1:{upstream};
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";
        proxy_set_header Host $host;
    }}
}}
"""


def test_nginx_in_front(tmp_path: Path) -> None:
    port = free_port()
    with Daemon(tmp_path, ECHO + "max_message = 4MiB\n") as daemon, nginx(
        tmp_path, RECIPE.format(port=port, upstream=daemon.port)
    ) as proxy:  # fmt: skip
        accepting(port, proxy)
        asyncio.run(check(f"ws://127.0.0.1:{port}/echo"))


@on_a_loop
async def test_tls_is_verified(tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    async with websockets_server(ssl=context) as port:
        await check(f"wss://localhost:{port}/", ca=tmp_path / "ca.pem")
        for url, ca in (("localhost", "other.pem"), ("127.0.0.1", "ca.pem")):
            with pytest.raises(CertificateRejected):
                await check(f"wss://{url}:{port}/", ca=tmp_path / ca)
        with pytest.raises(CertificateRejected):
            await check(f"wss://localhost:{port}/")


@on_a_loop
async def test_a_client_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    mine = authority.issue_cert("me@example.com")
    mine.private_key_pem.write_to_path(tmp_path / "key.pem")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    authority.issue_cert("localhost").configure_cert(context)
    async with websockets_server(ssl=context) as port:
        await check(f"wss://localhost:{port}/", ca=tmp_path / "ca.pem", certificate=(tmp_path / "cert.pem", tmp_path / "key.pem"))
        with pytest.raises((ConnectFailed, CertificateRejected)):
            await check(f"wss://localhost:{port}/", ca=tmp_path / "ca.pem", reconnect=False)


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "ws.sock"
    text = ECHO.replace("tcp:0:interface=127.0.0.1", f"unix:{path}:mode=600") + "max_message = 4MiB\n"
    with Daemon(tmp_path, text):
        asyncio.run(check("ws://daemon.example/echo", unix=path))


async def connect_proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As much of an HTTP proxy as CONNECT needs."""
    head = await reader.readuntil(b"\r\n\r\n")
    host, _, port = head.split()[1].decode().rpartition(":")
    their_reader, their_writer = await asyncio.open_connection(host, int(port))
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65_536):
                target.write(data)
                await target.drain()
        target.close()

    await asyncio.gather(copy(reader, their_writer), copy(their_reader, writer))


@on_a_loop
async def test_an_http_proxy() -> None:
    async with websockets_server() as port, await asyncio.start_server(connect_proxy, "127.0.0.1", 0) as proxy:
        proxy_port = proxy.sockets[0].getsockname()[1]
        await check(f"ws://127.0.0.1:{port}/", proxy=f"http://127.0.0.1:{proxy_port}")
        with pytest.raises(ConnectFailed, match="127"):
            await check(f"ws://127.0.0.1:{port}/", proxy="socks5://127.0.0.1:1", reconnect=False)


TINYPROXY = """Listen 127.0.0.1
Port {port}
Allow 127.0.0.1
BasicAuth ada secret
StartServers 1
"""


@contextlib.contextmanager
def proxy_program(kind: str, folder: Path) -> Iterator[int]:
    """A proxy of another project, which wants the password `secret` of `ada`; its port."""
    port = free_port()
    if kind == "socks5":
        line = [program("microsocks", "Debian: microsocks"), "-i", "127.0.0.1", "-p", str(port), "-u", "ada", "-P", "secret"]
    else:
        (folder / "tinyproxy.conf").write_text(TINYPROXY.format(port=port))
        line = [program("tinyproxy", "Debian: tinyproxy"), "-d", "-c", str(folder / "tinyproxy.conf")]
    with Program(line, folder) as proxy:
        accepting(port, proxy)
        yield port


@pytest.mark.parametrize("kind", ["socks5", "http"])
@on_a_loop
async def test_through_a_proxy_of_another_project(kind: str, tmp_path: Path) -> None:
    """A proxy with a password, in the clear and with TLS inside; a wrong password, and a target that the proxy cannot reach."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with proxy_program(kind, tmp_path) as port:
        proxy = f"{kind}://ada:secret@127.0.0.1:{port}"
        async with websockets_server() as plain, websockets_server(ssl=tls) as secure:
            await check(f"ws://127.0.0.1:{plain}/", proxy=proxy)
            await check(f"wss://127.0.0.1:{secure}/", proxy=proxy, ca=tmp_path / "ca.pem")
            with pytest.raises(ConnectFailed, match="the proxy cannot reach"):
                await check(f"ws://127.0.0.1:{plain}/", proxy=proxy.replace("secret", "wrong"), reconnect=False)
        with pytest.raises(ConnectFailed, match="the proxy cannot reach"):
            await check(f"ws://127.0.0.1:{free_port()}/", proxy=proxy, reconnect=False)


def test_run_forever_ends_with_close_from_any_thread_and_at_any_time() -> None:
    """Connected, connecting to a server that does not answer, and away."""
    with echo_server() as server, socket.create_server(("127.0.0.1", 0)) as silent:
        server_url = f"ws://127.0.0.1:{server.port}/"
        urls = (server_url, f"ws://127.0.0.1:{silent.getsockname()[1]}/", "ws://127.0.0.1:1/", "ws://192.0.2.1/")
        for url in urls:
            begun = threading.Event()
            client = WebSocketClient(url, reconnect="30s-60s", close_timeout="1s")
            client.on_error = functools.partial(lambda begun, client, error: begun.set(), begun)
            thread = threading.Thread(target=client.ws.run_forever)
            thread.start()
            begun.wait(0.2)
            client.close()
            thread.join(SECONDS)
            assert not thread.is_alive(), url
            client.close()


def echo_server() -> WebSocketServer:
    server = WebSocketServer(port=0)
    server.mount("/", "echo")
    return server


def test_many_threads_send() -> None:
    with echo_server() as server:
        seen: list[str | bytes] = []
        enough = threading.Event()

        def on_message(client: WebSocketClient, message: str | bytes) -> None:
            seen.append(message)
            if len(seen) == 400:
                enough.set()

        with WebSocketClient(f"ws://127.0.0.1:{server.port}/", on_message=on_message, queue="wait", queue_messages=10) as client:

            def work(name: str) -> None:
                for number in range(100):
                    client.send(f"{name}{number}")

            threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
            for thread in threads:
                thread.start()
            assert enough.wait(SECONDS)
            for thread in threads:
                thread.join()
        for name in "abcd":
            assert [each for each in seen if str(each).startswith(name)] == [f"{name}{number}" for number in range(100)]


@on_a_loop
async def test_reconnects_after_a_kill_are_spread_and_none_is_lost(tmp_path: Path) -> None:
    port, count = free_port(), 200
    daemon = Daemon(tmp_path, ROOMS % port)
    times: list[float] = []
    opened, all_back = 0, asyncio.Event()

    def on_open(client: WebSocketClient) -> None:
        nonlocal opened
        opened += 1
        if opened == 2 * count:
            all_back.set()

    clients = [
        WebSocketClient(
            f"ws://127.0.0.1:{port}/echo", reconnect="2s-4s", on_open=on_open,
            on_reconnect=lambda client, attempt, delay: times.append(delay) if attempt == 1 else None, on_error=lambda client, error: None,
        )
        for _ in range(count)
    ]  # fmt: skip
    try:
        with daemon:
            async with asyncio.timeout(SECONDS):
                await asyncio.gather(*[client.connect() for client in clients])
            daemon.tell(signal.SIGKILL)
            await asyncio.to_thread(daemon.wait)
        with Daemon(tmp_path, ROOMS % port):
            async with asyncio.timeout(SECONDS):
                await all_back.wait()
            assert len(times) == count
            tenths = [sum(1 for delay in times if low <= delay < low + 0.4) for low in (0.0, 0.4, 0.8, 1.2, 1.6)]
            assert all(15 <= tenth <= 75 for tenth in tenths), tenths
            assert all(client.is_open for client in clients)
            for client in clients:
                client.close()
            await asyncio.gather(*[client.wait_closed() for client in clients])
    finally:
        for client in clients:
            client.close()


@on_a_loop
async def test_rooms_over_a_killed_daemon(tmp_path: Path) -> None:
    """A subscription is told of the gap, and goes on."""
    port = free_port()
    url = f"ws://127.0.0.1:{port}/rooms/lobby"
    client = WebSocketClient(url, reconnect="50ms-200ms", on_error=lambda client, error: None)
    room = client.rooms["lobby"]
    subscription = room.subscribe()
    client.begin()
    async with asyncio.timeout(SECONDS):
        with Daemon(tmp_path, ROOMS % port) as daemon:
            await subscription.granted()
            assert (await room.publish("one")).offset == 1
            assert (await anext(subscription)).offset == 1
            daemon.tell(signal.SIGKILL)
            await asyncio.to_thread(daemon.wait)
        with Daemon(tmp_path, ROOMS % port):
            assert isinstance(await anext(subscription), RoomGap)
            answer = await room.publish("two")
            message = await anext(subscription)
            assert not isinstance(message, RoomGap)
            assert (message.data, message.offset, message.epoch) == ("two", answer.offset, answer.epoch)
            client.close()
            await client.wait_closed()


def test_a_drain_and_a_program_that_comes_back(tmp_path: Path) -> None:
    port = free_port()
    closed: list[tuple[int, str]] = []
    messages: list[str | bytes] = []
    client = WebSocketClient(
        f"ws://127.0.0.1:{port}/echo", reconnect="50ms-200ms", on_close=lambda client, code, reason: closed.append((code, reason)),
        on_open=lambda client: client.send("hello"), on_message=lambda client, message: messages.append(message),
        on_error=lambda client, error: None,
    )  # fmt: skip
    with client:
        for count in (1, 2):
            with Daemon(tmp_path, "[daemon]\ndrain_retry = 1s-1s\n" + ROOMS % port):
                end = time.monotonic() + SECONDS
                while len(messages) < count and time.monotonic() < end:
                    threading.Event().wait(0.02)
                assert messages == ["hello"] * count
    assert closed[0] == (1012, "restart; retry=1")


def test_a_program_of_websocket_client_changes_one_line() -> None:
    """As in its README; the program ends by close() within a callback."""
    with echo_server() as server:
        told: list[Any] = []

        def on_message(ws: WebSocketApp, message: str) -> None:
            told.append(message)
            told.append((ws.keep_running, ws.sock is not None))
            ws.close()

        app = WebSocketApp(
            f"ws://127.0.0.1:{server.port}/", header=["X-A: 1"], on_open=lambda ws: ws.send("hello"), on_message=on_message,
            on_error=lambda ws, error: told.append(error), on_close=lambda ws, code, reason: told.append((code, reason)),
        )  # fmt: skip
        assert app.run_forever(ping_interval=30, ping_timeout=10, reconnect=5) is False
        assert told == ["hello", (True, True), (1000, "")]
        assert not app.keep_running
        thread = threading.Thread(target=app.run_forever)
        app.on_open = lambda ws: setattr(ws, "keep_running", False)
        thread.start()
        thread.join(SECONDS)
        assert not thread.is_alive()
