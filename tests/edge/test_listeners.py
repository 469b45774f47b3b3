"""edge/listeners.py: real sockets on a real loop, each wait with a bound."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop

from tests.support.fakes import PYTHON, Frame, Watcher, binary, close, closing, request, server_frames, text
from tests.support.gates import make_gate
from tests.support.lines import Lines
from tests.support.tls import authority
from wsdaemon.apps.echo import EchoApp
from wsdaemon.core.background import Background
from wsdaemon.core.handshake import Peer
from wsdaemon.core.registry import Count
from wsdaemon.core.routing import Routes
from wsdaemon.core.threads import ThreadCalls
from wsdaemon.core.wheel import Wheel
from wsdaemon.daemon.sockets import open_tcp, open_unix
from wsdaemon.edge import listeners
from wsdaemon.edge.candidate import Entrance
from wsdaemon.edge.forwarded import Networks
from wsdaemon.edge.listeners import Listener
from wsdaemon.edge.proxy_protocol import SIGNATURE
from wsdaemon.settings.addresses import TcpAddress, UnixAddress
from wsdaemon.settings.model import MountSettings
from wsdaemon.wire.deflate.resting import Resting
from wsdaemon.wire.factory import Protocols, Wires
from wsdaemon.wire.policy import WirePolicy
from wsdaemon.wire.turns import Turns
from wsdaemon.wire.writer import make_flusher

LONGEST = 10.0
"""Seconds after which a wait has failed."""


class Served:
    """A listener with an echo at /, running."""

    def __init__(self, sock: socket.socket, max_handshakes: int = 1000, **options: Any) -> None:
        loop = asyncio.get_running_loop()
        self.errors: list[object] = []
        self.wheel = Wheel(loop, lambda item, error: self.errors.append(error))
        self.watcher = Watcher()
        policy = WirePolicy(
            settings=MountSettings(path="/", app="echo"), resting=Resting(self.wheel), calls=ThreadCalls(loop), background=Background(),
            broadcast=lambda message, where: None, app=EchoApp(), watcher=self.watcher, wheel=self.wheel,
            flusher=make_flusher(loop.call_soon), turns=Turns(loop.call_soon), frames=PYTHON, next_id=lambda: "x-1"
        )
        self.count = Count()
        wires = Wires(policy, Protocols(policy, object()))
        wires.protocols.prepare()
        entrance = Entrance("/", wires, self.count)
        gate = make_gate(
            listener="here", secure=False, routes=Routes([("/", entrance)]), counts=(), wheel=self.wheel, handshake_timeout=LONGEST,
            retry_after=5.0,
        )  # fmt: skip
        self.listener = Listener(name="here", sock=sock, gate=gate, loop=loop, max_handshakes=max_handshakes, **options)
        self.listener.start()


class Client:
    """The far end of one socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def open(self) -> None:
        self.writer.write(request())
        assert (await self.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")

    async def ended(self) -> bytes:
        """All bytes until the end."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""

    def leave(self) -> None:
        self.writer.transport.abort()


Test = Callable[[], Awaitable[None]]


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Callable[[Test], None]:
    """Runs a test on a loop of each kind, with a bound in time."""

    def run(test: Test) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(LONGEST):
                await test()

        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(bounded())

    return run


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until something is so; the test's own bound ends it otherwise."""
    while not condition():  # noqa: ASYNC110 - what is waited for is the kernel's, and sets no event
        await asyncio.sleep(0.001)


def test_an_echo(run: Any) -> None:
    async def test() -> None:
        served = Served(open_tcp(TcpAddress(0, "127.0.0.1"), 10))
        assert served.listener.port is not None
        client = await Client.connect(served.listener.port)
        await client.open()
        payload = bytes(range(256)) * 2000
        client.writer.write(text("hello") + binary(payload) + close(3000, "bye"))
        assert list(server_frames(await client.ended())) == [Frame(1, b"hello"), Frame(2, payload), closing(3000, "bye")]
        client.leave()
        await until(lambda: served.watcher.closed_ones)
        [connection] = served.watcher.closed_ones
        assert (connection.close_code, connection.closed_by) == (3000, "client")
        assert connection.peer.host == "127.0.0.1"
        assert connection.handshake.local == Peer("127.0.0.1", served.listener.port)
        assert (served.count.now, served.listener.accepted, served.listener.handshakes) == (0, 1, 0)
        served.listener.stop()
        assert served.errors == []

    run(test)


def test_tls_takes_its_time_of_the_turns_that_it_shares_with_others(run: Any) -> None:
    """Turns without a reader that waits are empty, and an empty object is falsy: each listener had turns of its own."""

    async def test() -> None:
        looks: list[float] = []

        def look() -> float:
            looks.append(time.perf_counter())
            return looks[-1]

        certificates = SimpleNamespace(context=authority().server)
        turns = Turns(asyncio.get_running_loop().call_soon, now=look)
        served = Served(open_tcp(TcpAddress(0, "127.0.0.1"), 10), certificates=certificates, turns=turns)
        trusting = authority().client()
        looks.clear()
        client = Client(*await asyncio.open_connection("127.0.0.1", served.listener.port, ssl=trusting, server_hostname="localhost"))
        await client.open()
        client.leave()
        await until(lambda: served.watcher.closed_ones)
        served.listener.stop()
        assert looks

    run(test)


def test_a_unix_socket(run: Any, tmp_path: Path) -> None:
    async def test() -> None:
        path = str(tmp_path / "ws.sock")
        served = Served(open_unix(UnixAddress(path), 10).sock)
        assert served.listener.port is None
        client = Client(*await asyncio.open_unix_connection(path))
        await client.open()
        client.writer.write(text("x"))
        assert await client.reader.readexactly(3) == b"\x81\x01x"
        assert served.watcher.opened_ones[0].peer.is_unix
        assert served.watcher.opened_ones[0].handshake.local == path
        served.listener.stop()
        client.leave()
        await until(lambda: served.count.now == 0)

    run(test)


def test_the_one_that_waited_longest_makes_room(run: Any) -> None:
    """Silent clients lock no other client out."""

    async def test() -> None:
        served = Served(open_tcp(TcpAddress(0, "127.0.0.1"), 100), max_handshakes=5)
        port = served.listener.port
        assert port is not None
        silent = [await Client.connect(port) for _ in range(8)]
        await until(lambda: served.listener.accepted == 8)
        assert [await client.ended() for client in silent[:3]] == [b""] * 3
        await until(lambda: served.listener.handshakes == 5)
        assert served.listener.crowded_out == 3
        client = await Client.connect(port)
        await client.open()
        for one in (*silent, client):
            one.leave()
        await until(lambda: served.count.now == 0 and served.listener.handshakes == 0)
        served.listener.stop()

    run(test)


def test_stop_drops_those_in_their_handshake_and_keeps_the_open(run: Any) -> None:
    async def test() -> None:
        served = Served(open_tcp(TcpAddress(0, "127.0.0.1"), 10))
        port = served.listener.port
        assert port is not None
        opened, half = await Client.connect(port), await Client.connect(port)
        await opened.open()
        half.writer.write(request()[:20])
        await until(lambda: served.listener.accepted == 2)
        served.listener.stop()
        served.listener.stop()
        assert served.listener.port is None
        assert await half.ended() == b""
        with pytest.raises(OSError):
            await Client.connect(port)
        opened.writer.write(text("x"))
        assert await opened.reader.readexactly(3) == b"\x81\x01x"
        opened.leave()
        half.leave()
        await until(lambda: served.count.now == 0 and served.listener.handshakes == 0)

    run(test)


def test_leave_stops_accepting_and_completes_opening_handshakes(run: Any) -> None:
    async def test() -> None:
        served = Served(open_tcp(TcpAddress(0, "127.0.0.1"), 10))
        port = served.listener.port
        assert port is not None
        half = await Client.connect(port)
        half.writer.write(request()[:20])
        await until(lambda: served.listener.handshakes == 1)
        served.listener.leave()
        with pytest.raises(OSError):
            await Client.connect(port)
        half.writer.write(request()[20:])
        assert (await half.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        await until(lambda: served.count.now == 1 and served.listener.handshakes == 0)
        half.leave()
        await until(lambda: served.count.now == 0)
        served.listener.stop()

    run(test)


def test_a_crowd_at_once(run: Any) -> None:
    async def test() -> None:
        served = Served(open_tcp(TcpAddress(0, "127.0.0.1"), 512))
        port = served.listener.port
        assert port is not None

        async def one(number: int) -> bytes:
            client = await Client.connect(port)
            await client.open()
            client.writer.write(text(f"{number:03}"))
            answer = await client.reader.readexactly(5)
            client.leave()
            return answer[2:]

        answers = await asyncio.gather(*(one(number) for number in range(200)))
        assert answers == [f"{number:03}".encode() for number in range(200)]
        await until(lambda: served.count.now == 0)
        served.listener.stop()

    run(test)


class NoDescriptors:
    """A listening socket in a process that has no descriptor left; and then has again."""

    def __init__(self, sock: socket.socket, error: OSError) -> None:
        self._sock = sock
        self.error: OSError | None = error
        self.asked = 0

    def _accept(self) -> Any:
        self.asked += 1
        if self.error is not None:
            raise self.error
        sock: Any = self._sock
        return sock._accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def test_without_descriptors_it_rests(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket stays readable, and trying again at once would burn a core."""
    monkeypatch.setattr(listeners, "REST", 0.05)

    async def test() -> None:
        sock: Any = NoDescriptors(open_tcp(TcpAddress(0, "127.0.0.1"), 10), OSError(errno.EMFILE, "Too many open files"))
        served = Served(sock)
        port = served.listener.port
        assert port is not None
        client = await Client.connect(port)
        await until(lambda: sock.asked >= 2)
        assert served.listener.accepted == 0
        sock.error = None
        await client.open()
        client.leave()
        await until(lambda: served.count.now == 0)
        served.listener.stop()

    run(test)


def test_stop_ends_a_rest(run: Any) -> None:
    async def test() -> None:
        sock: Any = NoDescriptors(open_tcp(TcpAddress(0, "127.0.0.1"), 10), OSError(errno.ENFILE, "Too many open files"))
        served = Served(sock)
        port = served.listener.port
        assert port is not None
        client = await Client.connect(port)
        await until(lambda: sock.asked)
        served.listener.stop()
        assert await client.ended() == b""
        client.leave()

    run(test)


def test_a_client_that_is_gone_before_it_is_accepted(run: Any) -> None:
    async def test() -> None:
        sock: Any = NoDescriptors(open_tcp(TcpAddress(0, "127.0.0.1"), 10), ConnectionAbortedError())
        served = Served(sock)
        port = served.listener.port
        assert port is not None
        client = await Client.connect(port)
        await until(lambda: sock.asked)
        sock.error = None
        await client.open()
        client.leave()
        await until(lambda: served.count.now == 0)
        served.listener.stop()

    run(test)


TOLD_SECURE = SIGNATURE + b"\x21\x11\x00\x14" + bytes([203, 0, 113, 9, 127, 0, 0, 1, 1, 2, 3, 4]) + b"\x20\x00\x05\x01\0\0\0\0"
TOLD_PLAIN = TOLD_SECURE[:-5] + bytes(5)
SAYS_NOTHING = b"PROXY TCP4 203.0.113.9 127.0.0.1 258 772\r\n"


@pytest.mark.parametrize(
    ("header", "proxies_secure", "secure"),
    [
        (TOLD_SECURE, False, True),
        (TOLD_SECURE, True, True),
        (TOLD_PLAIN, True, False),
        (SAYS_NOTHING, False, False),
        (SAYS_NOTHING, True, True),
        (SIGNATURE + b"\x20\x00\x00\x00", True, False),
    ],
    ids=["v2 says TLS", "v2 says TLS, on", "v2 says plain, on", "v1", "v1, on", "the proxy itself, on"],
)
def test_tls_that_ended_in_front(run: Any, header: bytes, proxies_secure: bool, secure: bool) -> None:
    async def test() -> None:
        served = Served(open_tcp(TcpAddress(0, "127.0.0.1"), 16), proxies=Networks.parse("127.0.0.1"), proxies_secure=proxies_secure)
        client = await Client.connect(served.listener.port or 0)
        client.writer.write(header)
        await client.open()
        [connection] = served.watcher.opened_ones
        assert connection.secure is secure
        assert str(connection.peer) == ("203.0.113.9:258" if header[12:13] != b"\x20" else str(connection.peer))
        client.leave()
        await until(lambda: served.watcher.closed_ones)
        served.listener.stop()

    run(test)


def test_the_last_descriptors_are_no_clients_who_are_answered_503(run: Any) -> None:
    async def test() -> None:
        served = Served(open_tcp(TcpAddress(0, "127.0.0.1"), 16))
        log: Any = Lines()
        served.listener.gate.refusals._log = log
        served.listener._first_reserved = 0
        for _ in range(5):
            client = await Client.connect(served.listener.port or 0)
            client.writer.write(request())
            answer = await client.ended()
            assert answer.startswith(b"HTTP/1.1 503 ") and b"Retry-After: 5\r\n" in answer
            client.leave()
        assert served.listener.gate.refused == {"descriptors": 5}
        [line] = log.lines
        assert "LimitNOFILE" in line, "told once, with the mend"
        served.listener._first_reserved = 1 << 20
        client = await Client.connect(served.listener.port or 0)
        await client.open()
        client.leave()
        served.listener.stop()

    run(test)
