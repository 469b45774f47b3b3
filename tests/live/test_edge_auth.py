"""Authentication and hosts with a daemon that was built from an INI file: what its listeners count, and what they are called."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import bcrypt

from tests.support.inside import RawClient, inside, run_inside
from wsdaemon.edge.listeners import Listener

UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
STAFF = "[mount:/]\napp = echo\nauth = staff\n[auth:staff]\nkind = basic\nfile = htpasswd\n"


async def come(listener: Listener, *lines: str, host: str = "localhost") -> int:
    """The status of the answer."""
    client = await RawClient().connect(listener)
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\n{UPGRADE}" + "".join(f"{line}\r\n" for line in lines) + "\r\n"
    await client.send(request.encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += await asyncio.get_running_loop().sock_recv(client.sock, 65536)
    client.close()
    return int(answer.split()[1])


def password(text: str) -> str:
    return "Authorization: Basic " + base64.b64encode(f"ada:{text}".encode()).decode()


def test_wrong_passwords_are_counted_by_the_true_address_even_without_other_limits(tmp_path: Path) -> None:
    (tmp_path / "htpasswd").write_bytes(b"ada:" + bcrypt.hashpw(b"right", bcrypt.gensalt(4)))
    (tmp_path / "htpasswd").chmod(0o600)
    limits = "max_connections_per_address = 0\nmax_handshakes_per_address = 0\nconnections_per_second_per_address = 0\n"
    listener = "[listener:a]\naddress = tcp:0:interface=127.0.0.1\ntrusted_proxies = 127.0.0.1\n"

    async def test() -> None:
        async with inside(tmp_path, listener + limits + STAFF) as daemon:
            web = daemon.listeners[0]
            there, elsewhere = "X-Forwarded-For: 2001:db8::7", "X-Forwarded-For: 2001:db8:1::7"
            assert [await come(web, there, password(str(number))) for number in range(12)] == [401] * 10 + [429] * 2
            assert await come(web, "X-Forwarded-For: 2001:db8::8", password("right")) == 429  # the same /64
            assert await come(web, elsewhere, password("right")) == 101
            assert await come(web, password("right")) == 101
            assert web.gate.refused == {"auth_refused": 10, "auth_failures": 3}

    run_inside(test())


def test_a_listener_that_is_called_by_another_name(tmp_path: Path) -> None:
    text = "[listener:a]\naddress = tcp:0:interface=127.0.0.1\nhosts = ws.example.com, 127.0.0.1\n[mount:/]\napp = echo\n"

    async def test() -> None:
        async with inside(tmp_path, text) as daemon:
            web = daemon.listeners[0]
            assert await come(web, "Origin: http://evil.example:8080", host="evil.example:8080") == 421
            assert await come(web, "Origin: http://ws.example.com:8080", host="WS.example.com:8080") == 101
            assert await come(web, host=f"127.0.0.1:{web.port}") == 101
            assert web.gate.refused == {"misdirected": 1}

    run_inside(test())
