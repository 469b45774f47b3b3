"""The client's true address, on real sockets: PROXY headers before TLS, and limits for each address."""

from __future__ import annotations

import asyncio
import ssl
import struct
from pathlib import Path

import pytest

from tests.live.test_edge_hostile import BY_NAME, OPENING, PLAIN, TEXT, TLS
from tests.support.daemon import make_certificate
from tests.support.inside import RawClient, gather, inside, run_inside, until
from wsdaemon.core.handshake import Peer
from wsdaemon.daemon.daemon import Daemon
from wsdaemon.edge.proxy_protocol import SIGNATURE

pytestmark = pytest.mark.live

BEHIND = "proxy_protocol_from = 127.0.0.0/8, unix\n"

V1 = b"PROXY TCP4 203.0.113.7 198.51.100.1 56324 443\r\n"
V1_SIX = b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n"
TLV = b"\x04\x00\x05noise" + b"\x01\x00\x08http/1.1"


def v2(source: str = "203.0.113.7", tlvs: bytes = TLV, command: int = 0x21) -> bytes:
    addresses = bytes(map(int, source.split("."))) + bytes([198, 51, 100, 1]) + struct.pack(">HH", 56324, 443)
    return SIGNATURE + bytes([command, 0x11]) + struct.pack(">H", len(addresses + tlvs)) + addresses + tlvs


async def opened(daemon: Daemon, *parts: bytes, context: ssl.SSLContext | None = None) -> RawClient:
    """A client that says these parts one after the other, each read by itself, and then opens a WebSocket."""
    listener = daemon.listeners[0]
    client = await RawClient().connect(listener)
    await until(lambda: listener.handshakes == 1)
    for part in parts:
        await client.send(part)
        for _ in range(5):
            await asyncio.sleep(0)
    if context is None:
        await client.send(OPENING)
    else:
        client.reader, client.writer = await asyncio.open_connection(sock=client.sock, ssl=context, server_hostname="localhost")
        client.writer.write(OPENING)
    return client


async def the_peer(daemon: Daemon, *parts: bytes, context: ssl.SSLContext | None = None) -> Peer:
    """The client that the app sees; the connection is over afterwards."""
    client = await opened(daemon, *parts, context=context)
    await until(lambda: len(daemon.connections) == 1)
    [connection] = daemon.connections
    assert connection.handshake.secure == (context is not None)
    if client.writer is not None:
        client.writer.transport.abort()
    client.close()
    await until(lambda: len(daemon.connections) == 0)
    return connection.peer


@pytest.mark.parametrize("header", [V1, v2(), v2(tlvs=b"")], ids=["v1", "v2", "v2 without TLVs"])
def test_every_split_of_the_header(tmp_path: Path, header: bytes) -> None:
    async def splits() -> None:
        async with inside(tmp_path, PLAIN.replace("[mount", BEHIND + "[mount")) as daemon:
            for cut in range(len(header)):
                assert await the_peer(daemon, header[:cut], header[cut:]) == Peer("203.0.113.7", 56324)
            assert await the_peer(daemon, *(bytes([byte]) for byte in header)) == Peer("203.0.113.7", 56324)

    run_inside(splits())


@pytest.mark.parametrize("text", [TLS, BY_NAME], ids=["tls", "by_name"])
@pytest.mark.parametrize("header", [V1, V1_SIX, v2()], ids=["v1", "v1 IPv6", "v2"])
def test_the_header_stands_before_tls(tmp_path: Path, text: str, header: bytes) -> None:
    context = make_certificate(tmp_path)

    async def before_tls() -> None:
        async with inside(tmp_path, text.replace("[mount", BEHIND + "[mount", 1)) as daemon:
            expected = Peer("2001:db8::7" if header is V1_SIX else "203.0.113.7", 56324)
            for cut in (0, 1, 7, len(header) - 1):
                assert await the_peer(daemon, header[:cut], header[cut:], context=context) == expected

    run_inside(before_tls())


def test_header_and_request_in_one_packet(tmp_path: Path) -> None:
    async def together() -> None:
        async with inside(tmp_path, PLAIN.replace("[mount", BEHIND + "[mount")) as daemon:
            client = await RawClient().connect(daemon.listeners[0])
            await client.send(v2() + OPENING)
            await until(lambda: len(daemon.connections) == 1)
            [connection] = daemon.connections
            assert (connection.peer, connection.handshake.local) == (Peer("203.0.113.7", 56324), Peer("198.51.100.1", 443))
            client.close()

    run_inside(together())


def test_a_health_check_of_the_balancer_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is not counted, however often it comes."""
    monkeypatch.setattr("wsdaemon.edge.limits.on_this_machine", lambda host: False)

    async def check() -> None:
        limits = "connections_per_second_per_address = 1\n"
        async with inside(tmp_path, PLAIN.replace("[mount", BEHIND + limits + "[mount")) as daemon:
            for header in (v2(command=0x20), b"PROXY UNKNOWN\r\n") * 5:
                assert (await the_peer(daemon, header)).host == "127.0.0.1"
            assert daemon.listeners[0].gate.refused == {}

    run_inside(check())


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (OPENING, "proxy_header"),
        (b"PROXY TCP4 203.0.113.7\r\n", "proxy_header"),
        (b"PROXY TCP9 203.0.113.7 198.51.100.1 1 2\r\n", "proxy_header"),
        (SIGNATURE + b"\x21\x11\xff\xff", "proxy_header"),
        (V1[:20], "handshake_timeout"),
        (SIGNATURE[:5], "handshake_timeout"),
        (b"", "handshake_timeout"),
    ],
)
def test_without_a_good_header_there_is_no_connection(tmp_path: Path, said: bytes, reason: str) -> None:
    async def bad() -> None:
        async with inside(tmp_path, PLAIN.replace("[mount", BEHIND + "[mount")) as daemon:
            client = await RawClient().connect(daemon.listeners[0])
            await client.send(said)
            assert await client.end() == b""
            await until(lambda: not daemon.listeners[0].handshakes)
            assert daemon.listeners[0].gate.refused == {reason: 1}
            client.close()

    run_inside(bad())


def test_from_elsewhere_no_connection_is_accepted_with_or_without_a_header(tmp_path: Path) -> None:
    async def elsewhere() -> None:
        async with inside(tmp_path, PLAIN.replace("[mount", "proxy_protocol_from = 10.0.0.0/8\n[mount")) as daemon:
            for said in (V1 + OPENING, OPENING):
                client = await RawClient().connect(daemon.listeners[0])
                await client.send(said)
                assert await client.end() == b""
                client.close()
            assert daemon.listeners[0].gate.refused == {"not_a_proxy": 2}

    run_inside(elsewhere())


# -- limits


def limited(limits: str, tls: str = "", more: str = "") -> str:
    return TEXT.format(listener=BEHIND + limits + tls, more=more)


def test_connections_of_one_address(tmp_path: Path) -> None:
    async def many() -> None:
        async with inside(tmp_path, limited("max_connections_per_address = 2\n")) as daemon:
            clients = [await opened(daemon, v2()) for _ in range(2)]
            await until(lambda: len(daemon.connections) == 2)
            third = await RawClient().connect(daemon.listeners[0])
            await third.send(v2() + OPENING)
            answer = await third.end()
            assert answer.startswith(b"HTTP/1.1 429 ") and b"\r\nRetry-After: 5\r\n" in answer
            clients += [third, await opened(daemon, v2("203.0.113.8"))]
            await until(lambda: len(daemon.connections) == 3)
            clients[0].close()
            await until(lambda: len(daemon.connections) == 2)
            clients.append(await opened(daemon, v2()))
            await until(lambda: len(daemon.connections) == 3)
            for client in clients:
                client.close()
            await until(lambda: not daemon.connections)
            limits = daemon.listeners[0].gate.clients.limits
            assert limits is not None
            assert (len(limits.connections), len(limits.handshakes)) == (0, 0)

    run_inside(many())


def test_handshakes_of_one_address(tmp_path: Path) -> None:
    async def many() -> None:
        text = limited("max_handshakes_per_address = 3\n").replace("500ms", "30s")
        async with inside(tmp_path, text) as daemon:
            listener = daemon.listeners[0]
            clients = await gather([RawClient().connect(listener) for _ in range(5)])
            await gather([client.send(v2()) for client in clients])
            await until(lambda: listener.handshakes == 3)
            assert listener.gate.refused == {"address_handshakes": 2}
            clients.append(await RawClient().connect(listener))
            await clients[-1].send(v2("203.0.113.8"))
            await until(lambda: listener.handshakes == 4)
            for client in clients:
                client.close()
            await until(lambda: not listener.handshakes)
            assert listener.gate.clients.limits is not None
            assert len(listener.gate.clients.limits.handshakes) == 0

    run_inside(many())


@pytest.mark.parametrize("text", [PLAIN, TLS], ids=["plain", "tls"])
def test_new_connections_per_second_of_one_address(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the accept: before TLS costs anything, and with an answer where there is none."""
    make_certificate(tmp_path)
    monkeypatch.setattr("wsdaemon.edge.limits.on_this_machine", lambda host: False)

    async def flood() -> None:
        async with inside(tmp_path, text.replace("[mount", "connections_per_second_per_address = 1\n[mount", 1)) as daemon:
            listener = daemon.listeners[0]
            clients = []
            for _ in range(10):
                client = await RawClient().connect(listener)
                await client.send(OPENING)
                clients.append(client)
            answers = await gather([client.end() for client in clients[5:]])
            for answer in answers:
                assert answer == b"" if text is TLS else answer.startswith(b"HTTP/1.1 429 ")
            assert listener.gate.refused["address_rate"] >= 6
            for client in clients:
                client.close()

    run_inside(flood())


def test_this_machine_is_not_limited(tmp_path: Path) -> None:
    async def many() -> None:
        limits = "connections_per_second_per_address = 1\nmax_connections_per_address = 1\n"
        async with inside(tmp_path, PLAIN.replace("[mount", limits + "[mount")) as daemon:
            clients = await gather([RawClient().connect(daemon.listeners[0]) for _ in range(150)])
            await gather([client.send(OPENING) for client in clients])
            await until(lambda: len(daemon.connections) == 150)
            for client in clients:
                client.close()
            await until(lambda: not daemon.connections)

    run_inside(many())


def test_this_machine_is_limited_where_a_balancer_names_it(tmp_path: Path) -> None:
    """A client whose balancer connects from this machine is a client like any other."""

    async def many() -> None:
        async with inside(tmp_path, limited("max_connections_per_address = 1\n")) as daemon:
            first = await opened(daemon, v2("127.0.0.1"))
            await until(lambda: len(daemon.connections) == 1)
            second = await RawClient().connect(daemon.listeners[0])
            await second.send(v2("127.0.0.1") + OPENING)
            assert (await second.end()).startswith(b"HTTP/1.1 429 ")
            for client in (first, second):
                client.close()
            await until(lambda: not daemon.connections)

    run_inside(many())
