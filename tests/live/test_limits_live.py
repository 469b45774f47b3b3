"""Two listeners to one mount, on real sockets: the limits of the one are not those of the other."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import bcrypt
import pytest

from tests.support.fakes import Frame, close, request, server_frames, text
from tests.support.inside import RawClient, inside, run_inside, until
from wsdaemon.daemon.daemon import Daemon

pytestmark = pytest.mark.live

TEXT = """
[logging]
connections = no
[listener:public]
address = tcp:0:interface=127.0.0.1
{limits}
[listener:inner]
address = tcp:0:interface=127.0.0.1
[mount:/echo]
app = echo
over_rate = close
{mount}
"""

USERS = "auth = staff\n[auth:staff]\nkind = basic\nfile = htpasswd\n"
ADA = "Basic " + base64.b64encode(b"ada:hunter2").decode()


async def come(daemon: Daemon, listener: str, **headers: str) -> tuple[RawClient, bytes]:
    """A client that asked for a WebSocket, and the first line that it was answered."""
    [chosen] = [each for each in daemon.listeners if each.name == listener]
    client = await RawClient().connect(chosen)
    await client.send(request("/echo", **headers))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await asyncio.get_running_loop().sock_recv(client.sock, 1)
    return client, head.partition(b"\r\n")[0]


async def frames(client: RawClient, count: int) -> list[Frame]:
    """Its messages: so many, or up to the Close frame, which it answers."""
    received, found = b"", list[Frame]()
    while len(found) < count:
        data = await asyncio.get_running_loop().sock_recv(client.sock, 65536)
        assert data
        received += data
        found = list(server_frames(received))
        if found and found[-1].opcode == 8:
            await client.send(close(found[-1].code))
            break
    return found


async def close_code(client: RawClient) -> int | None:
    """The code that the server closes with."""
    return (await frames(client, 1000))[-1].code


def closed(daemon: Daemon, listener: str) -> dict[tuple[str, str], int]:
    """How many connections ended, by code and by whom, as /metrics has it."""
    return daemon.watch.totals.place("/echo", listener).closed


def test_messages_per_second_of_one_listener(tmp_path: Path) -> None:
    async def flood() -> None:
        async with inside(tmp_path, TEXT.format(limits="messages_per_second = 10", mount="")) as daemon:
            (here, _), (elsewhere, _) = await come(daemon, "public"), await come(daemon, "inner")
            for client in (here, elsewhere):
                await client.send(text("x") * 100)
            assert await frames(elsewhere, 100) == [Frame(1, b"x")] * 100
            assert await close_code(here) == 1008
            here.close()
            await until(lambda: len(daemon.connections) == 1)
            assert (closed(daemon, "public"), closed(daemon, "inner")) == ({("1008", "server"): 1}, {})
            elsewhere.close()

    run_inside(flood())


def test_the_idle_timeout_of_one_listener(tmp_path: Path) -> None:
    async def wait() -> None:
        async with inside(tmp_path, TEXT.format(limits="idle_timeout = 400ms", mount="idle_timeout = 1h")) as daemon:
            (elsewhere, _), (here, _) = await come(daemon, "inner"), await come(daemon, "public")
            assert await close_code(here) == 1001
            here.close()
            await elsewhere.send(text("x"))
            assert await frames(elsewhere, 1) == [Frame(1, b"x")], "it was there before, and still is"
            elsewhere.close()

    run_inside(wait())


def test_connections_of_a_user_on_one_listener(tmp_path: Path) -> None:
    (tmp_path / "htpasswd").write_text(f"ada:{bcrypt.hashpw(b'hunter2', bcrypt.gensalt(4)).decode()}\n")

    async def many() -> None:
        async with inside(tmp_path, TEXT.format(limits="max_connections_per_user = 1", mount=USERS)) as daemon:
            lines = []
            clients = []
            for listener in ("public", "public", "inner", "inner"):
                client, line = await come(daemon, listener, authorization=ADA)
                clients.append(client)
                lines.append(line.split(b" ")[1])
            assert lines == [b"101", b"429", b"101", b"101"]
            assert {each.name: each.gate.refused_by_mount for each in daemon.listeners} == {
                "public": {"/echo": {"user_connections": 1}},
                "inner": {},
            }
            for client in clients:
                client.close()
            await until(lambda: not daemon.connections)
            again, line = await come(daemon, "public", authorization=ADA)
            assert line.startswith(b"HTTP/1.1 101 ")
            again.close()

    run_inside(many())


def test_requests_that_wait_for_their_authentication(tmp_path: Path) -> None:
    """A mount lets so many wait; passwords take their time."""
    (tmp_path / "htpasswd").write_text(f"ada:{bcrypt.hashpw(b'hunter2', bcrypt.gensalt(8)).decode()}\n")

    async def many() -> None:
        async with inside(tmp_path, TEXT.format(limits="", mount="max_handshakes = 2\n" + USERS + "remember = 0\n")) as daemon:
            answers = await asyncio.gather(*[come(daemon, "public", authorization=ADA) for _ in range(20)])
            statuses = [line.split(b" ")[1] for _, line in answers]
            assert statuses.count(b"101") >= 2 and statuses.count(b"503") == 20 - statuses.count(b"101") > 0
            assert daemon.listeners[0].gate.refused_by_mount == {"/echo": {"max_handshakes": statuses.count(b"503")}}
            for client, _ in answers:
                client.close()
            await until(lambda: not daemon.connections)
            client, line = await come(daemon, "public", authorization=ADA)
            assert line.startswith(b"HTTP/1.1 101 "), "there is room again"
            client.close()

    run_inside(many())
