"""core/dialing.py: connections to servers, with real sockets on the loopback interface."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.processes import run
from wsdaemon.core.dialing import Dialing, Endpoint, LookUps, NotAllowed, reason_of


class Received(asyncio.Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.ended = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(None)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read(100))
    writer.close()
    await writer.wait_closed()


async def dial(dialing: Dialing, endpoint: Endpoint, preface: bytes = b"") -> bytes:
    """The bytes that a server sends back, after the preface and `x`."""
    transport, protocol = await dialing.connect(Received, endpoint, preface)
    transport.write(b"x")
    await protocol.ended
    transport.close()
    return protocol.data


def with_server(story: Callable[[int], Awaitable[None]]) -> None:
    async def served() -> None:
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            await story(server.sockets[0].getsockname()[1])

    run(served())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_tcp_by_address_and_by_name(host: str) -> None:
    async def story(port: int) -> None:
        assert (await dial(Dialing(), Endpoint(host, port))) == b"x"

    with_server(story)


def test_a_preface_comes_first() -> None:
    async def story(port: int) -> None:
        assert (await dial(Dialing(), Endpoint("127.0.0.1", port), b"PROXY ")).startswith(b"PROXY ")

    with_server(story)


def test_a_unix_socket(tmp_path: Path) -> None:
    async def story() -> None:
        path = str(tmp_path / "s")
        async with await asyncio.start_unix_server(echo, path):
            assert await dial(Dialing(), Endpoint(path=path)) == b"x"

    run(story())


def test_addresses_that_are_not_allowed_are_not_connected_to() -> None:
    async def story(port: int) -> None:
        judged: list[str] = []

        def allows(address: str) -> bool:
            judged.append(address)
            return address == "127.0.0.1"

        assert await dial(Dialing(allows=allows), Endpoint("localhost", port)) == b"x"
        assert "127.0.0.1" in judged
        for host in ("127.0.0.1", "localhost"):
            with pytest.raises(NotAllowed) as caught:
                await dial(Dialing(allows=lambda address: False), Endpoint(host, port))
            assert reason_of(caught.value) == "it has no address that is allowed"

    with_server(story)


def test_servers_that_are_not_there(tmp_path: Path) -> None:
    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            port = gone.getsockname()[1]
        for endpoint, why in (
            (Endpoint("127.0.0.1", port), "Connection refused"), (Endpoint(path=str(tmp_path / "s")), "No such file or directory"),
        ):  # fmt: skip
            with pytest.raises(OSError) as caught:
                await dial(Dialing(), endpoint)
            assert reason_of(caught.value) == why

    run(story())


def test_a_server_without_tls_fails_and_leaves_no_socket() -> None:
    async def story(port: int) -> None:
        with pytest.raises(OSError):
            await dial(Dialing(context=ssl.create_default_context()), Endpoint("127.0.0.1", port, tls=True))

    with_server(story)


def test_a_connect_that_is_cancelled_leaves_no_socket() -> None:
    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            endpoint = Endpoint("127.0.0.1", silent.getsockname()[1], tls=True)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await dial(Dialing(context=ssl.create_default_context()), endpoint)
            await asyncio.sleep(0)

    run(story())


def test_reasons() -> None:
    assert reason_of(TimeoutError()) == "it does not answer in time"
    assert reason_of(ConnectionResetError(104, "('10.0.0.1', 5)")) == "Connection reset by peer"
    assert reason_of(socket.gaierror(-2, "Name or service not known")) == "Name or service not known"
    assert reason_of(ValueError()) == "ValueError"
    wrong_name = ssl.SSLCertVerificationError()
    wrong_name.verify_message = "Hostname mismatch, certificate is not valid for 'a.example'."
    assert reason_of(wrong_name) == "its certificate is not good: Hostname mismatch"


def test_a_name_without_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async def nothing(*arguments: object, **options: object) -> list[object]:
            return []

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", nothing)
        with pytest.raises(OSError) as caught:
            await dial(Dialing(), Endpoint("a.example", 1))
        assert reason_of(caught.value) == "it has no address"

    run(story())


def test_endpoints_in_the_log() -> None:
    shown = [str(each) for each in (Endpoint("h", 1), Endpoint("::1", 2, tls=True), Endpoint(path="/run/x"))]
    assert shown == ["tcp:h:1", "tls:[::1]:2", "unix:/run/x"]


class Resolver:
    """Answers when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.answer = asyncio.get_running_loop().create_future()
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self.find, raising=False)

    async def find(self, host: str, port: int, **_: object) -> list[object]:
        self.asked.append(host)
        return list(await asyncio.shield(self.answer))


def test_names_that_are_looked_up_at_once_are_bounded_also_when_clients_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        look_ups, resolver = LookUps(most=2), Resolver(monkeypatch)
        clients = [asyncio.ensure_future(look_ups.find(name, 1)) for name in ("a", "b", "a", "a")]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert resolver.asked == ["a", "b"] and len(look_ups) == 2, "clients of one name share its look-up"
        with pytest.raises(OSError, match="too many names are looked up at once"):
            await look_ups.find("c", 1)
        clients[0].cancel()
        clients[1].cancel()
        await asyncio.gather(*clients[:2], return_exceptions=True)
        assert len(look_ups) == 2, "the resolver goes on"
        with pytest.raises(OSError, match="too many names"):
            await look_ups.find("c", 1)
        resolver.answer.set_result(["found"])
        assert await asyncio.gather(*clients[2:]) == [["found"], ["found"]]
        assert len(look_ups) == 0
        assert await look_ups.find("c", 1) == ["found"]

    run(story())


def test_a_look_up_that_fails_fails_for_all_that_wait_and_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        look_ups, resolver = LookUps(), Resolver(monkeypatch)
        clients = [asyncio.ensure_future(look_ups.find("a", 1)) for _ in range(3)]
        await asyncio.sleep(0)
        clients[0].cancel()
        resolver.answer.set_exception(socket.gaierror(-2, "Name or service not known"))
        outcomes = await asyncio.gather(*clients, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes[1:]] == [socket.gaierror] * 2
        assert len(look_ups) == 0

    run(story())
