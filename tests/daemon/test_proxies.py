"""daemon/proxies.py: from settings to a proxy, and one attempt to connect to a target, with a server that a test scripts."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import run
from wsdaemon.apps.loading import LoadError
from wsdaemon.apps.proxy import Answered, ProxyApp, TargetFailed, TargetRefused
from wsdaemon.core.dialing import Dialing
from wsdaemon.daemon.apps import load_app
from wsdaemon.daemon.proxies import TargetConnect, outer_settings
from wsdaemon.settings.build import build, section
from wsdaemon.settings.client import ClientSettings
from wsdaemon.settings.proxy import ProxyOptions, ProxyTarget


def load(folder: Path, path: str = "/p", **options: Any) -> ProxyApp:
    settings = build([section("listener:a", address="tcp:0"), section(f"mount:{path}", app="proxy", **options)], "test", folder)
    made = load_app(settings.mounts[0], lambda connection, doing, error: None).app
    assert isinstance(made, ProxyApp)
    return made


def test_proxies(tmp_path: Path) -> None:
    made = load(tmp_path, "/p/{room}", target="ws://a/{room}, wss://b", preserve_host=True)
    assert made._rules.preserve_host
    assert [str(each.target) for each in made._balancer.backends] == ["ws://a/{room}", "wss://b"]
    with pytest.raises(LoadError, match=r"no parameter \{room\}"):
        load(tmp_path, target="ws://a/{room}")
    with pytest.raises(LoadError, match="cannot be read"):
        load(tmp_path, target="wss://a", target_ca="nowhere")
    for policy in ("drop_oldest", "latest"):
        with pytest.raises(LoadError, match="may lose no bytes") as caught:
            load(tmp_path, target="ws://a", slow_client=policy)
        assert caught.value.key == "slow_client"


def test_the_outer_side_has_the_mount_s_times_and_its_own_compression(tmp_path: Path) -> None:
    sections = [section("listener:a", address="tcp:0"), section("mount:/p", app="proxy", target="ws://a", ping_interval="7s")]
    mount = build(sections, "test", tmp_path).mounts[0]
    assert isinstance(mount.options, ProxyOptions)
    made = outer_settings(mount, mount.options)
    assert (made.ping_interval, made.compression, made.max_message) == (7.0, False, 16 * 1024 * 1024)


Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter, str], Awaitable[None]]


def with_server(script: Script, story: Callable[[TargetConnect, ProxyTarget], Awaitable[None]], seconds: float = 10.0) -> None:
    """`script` gets the client's key."""

    async def served() -> None:
        done = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            key = next(line.partition(": ")[2] for line in head.split("\r\n") if line.startswith("Sec-WebSocket-Key"))
            await script(reader, writer, key)
            writer.close()
            done.set()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            await story(TargetConnect(Dialing(), ClientSettings(compression=False), seconds), ProxyTarget(False, "127.0.0.1", port))
            await done.wait()
            await asyncio.sleep(0.01)

    run(served())


def accept(key: str, *lines: str) -> bytes:
    answer = base64.b64encode(hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
    head = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {answer}",
        *lines,
        "",
        "",
    ]
    return "\r\n".join(head).encode()


class Session:
    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bool]] = []
        self.ends: list[tuple[int, str]] = []
        self.upstream: Any = None

    def opened(self, upstream: Any) -> None:
        self.upstream = upstream

    def received_payload(self, payload: bytes, text: bool) -> None:
        self.messages.append((payload, text))

    def closed(self, code: int, reason: str) -> None:
        self.ends.append((code, reason))


async def ask(connect: TargetConnect, target: ProxyTarget, *subprotocols: str) -> Answered:
    return await connect(target, "/x", [("Host", "h")], subprotocols)


def test_messages_behind_the_answer_wait_for_the_session() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        writer.write(accept(key, "Sec-WebSocket-Protocol: chat", "X-Y: z") + b"\x81\x05early")
        received = await reader.readexactly(2 + 4 + 2)
        assert received[:2] == b"\x82\x82"
        writer.write(b"\x88\x04\x0f\xa2ok")
        await reader.read()

    async def story(connect: TargetConnect, target: ProxyTarget) -> None:
        answered = await ask(connect, target, "chat")
        assert (answered.subprotocol, answered.headers["x-y"]) == ("chat", "z")
        session = Session()
        upstream = answered.open(session)
        assert session.upstream is upstream
        assert session.messages == [(b"early", True)]
        upstream.writer.send_at_once(b"\xff\xff", False)
        while not session.ends:  # noqa: ASYNC110 - the timeout of run() ends it
            await asyncio.sleep(0.002)
        assert session.ends == [(4002, "ok")]
        upstream.close(1000, "")
        upstream.abort()

    with_server(script, story)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n", "Sec-WebSocket-Accept"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "HTTP"),
        (b"", "ended the connection"),
        (b"extension", "an extension that was not offered"),
        (b"subprotocol", "a subprotocol that the client does not offer"),
    ],
)
def test_answers_that_are_none(answer: bytes, message: str) -> None:
    lines = {b"extension": "Sec-WebSocket-Extensions: permessage-deflate", b"subprotocol": "Sec-WebSocket-Protocol: other"}

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        writer.write(accept(key, lines[answer]) if answer in lines else answer)

    async def story(connect: TargetConnect, target: ProxyTarget) -> None:
        with pytest.raises(TargetFailed, match=message):
            await ask(connect, target)

    with_server(script, story)


def test_a_refusal_with_its_body() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\nX-Y: z\r\n\r\nnot you")

    async def story(connect: TargetConnect, target: ProxyTarget) -> None:
        with pytest.raises(TargetRefused) as caught:
            await ask(connect, target)
        assert (caught.value.status, caught.value.body, caught.value.headers["x-y"]) == (403, b"not you", "z")

    with_server(script, story)


def test_a_target_that_does_not_answer_in_time() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        await reader.read()

    async def story(connect: TargetConnect, target: ProxyTarget) -> None:
        with pytest.raises(TargetFailed) as caught:
            await ask(connect, target)
        assert caught.value.late

    with_server(script, story, seconds=0.05)


def test_a_target_that_is_lost_or_given_up_before_the_session() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        writer.write(accept(key))
        await asyncio.sleep(0.01)

    async def story(connect: TargetConnect, target: ProxyTarget) -> None:
        answered = await ask(connect, target)
        await asyncio.sleep(0.05)
        with pytest.raises(RuntimeError):
            answered.open(Session())
        answered.abandon()

    with_server(script, story)
