"""apps/bridge/app.py: the choice of a target, and the answers if there is none."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.lines import Lines
from tests.support.processes import run
from wsdaemon.apps.bridge.app import BridgeApp, BridgeRules
from wsdaemon.core.acceptance import HandshakeRefused
from wsdaemon.core.dialing import Dialing
from wsdaemon.core.handshake import Handshake
from wsdaemon.core.rare_lines import RareLines
from wsdaemon.settings.targets import AllowedForm, parse_stream


def app(*targets: str, allowed: tuple[str, ...] = (), log: Lines | None = None, **options: Any) -> BridgeApp:
    rules: dict[str, Any] = {
        "mount": "/b", "targets": [parse_stream(each) for each in targets], "tokens": None, "dialing": Dialing(), "connect_timeout": 5.0,
        "allowed": [AllowedForm().convert(each) for each in allowed], **options,
    }  # fmt: skip
    return BridgeApp(BridgeRules(**rules), RareLines(log or Lines()))


def handshake(query: bytes = b"", **params: str) -> Handshake:
    return Handshake(target="/b", path="/b", raw_path=b"/b", query_string=query, params=params)


async def status(made: BridgeApp, asked: Handshake) -> int:
    """101 for a client that is let in; its target is let go."""
    try:
        accepted = await made.admit(asked)
    except HandshakeRefused as refused:
        return refused.status
    assert accepted.abandoned is not None
    accepted.abandoned()
    await asyncio.sleep(0)
    return 101


def with_server(story: Callable[[int, int], Awaitable[None]]) -> None:
    async def served() -> None:
        async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        with socket.create_server(("127.0.0.1", 0)) as gone:
            closed = int(gone.getsockname()[1])
        async with await asyncio.start_server(nothing, "127.0.0.1", 0) as server:
            await story(int(server.sockets[0].getsockname()[1]), closed)
            await asyncio.sleep(0.02)

    run(served())


def test_several_targets_are_tried_in_their_order() -> None:
    async def story(port: int, closed: int) -> None:
        log = Lines()
        assert await status(app(f"tcp:127.0.0.1:{closed}", f"tcp:127.0.0.1:{port}", log=log), handshake()) == 101
        assert log.lines == [f"/b: tcp:127.0.0.1:{closed} cannot be reached: Connection refused"]
        assert await status(app(f"tcp:127.0.0.1:{closed}", "unix:/nowhere/s"), handshake()) == 502

    with_server(story)


def test_parameters_of_the_path() -> None:
    async def story(port: int, closed: int) -> None:
        made = app("tcp:{host}:{port}", allowed=("127.0.0.0/8:*", "named.example:*"))
        assert await status(made, handshake(host="127.0.0.1", port=str(port))) == 101
        assert await status(made, handshake(host="localhost", port=str(port))) == 101
        assert await status(made, handshake(host="10.0.0.1", port=str(port))) == 403
        assert await status(made, handshake(host="0x7f000001", port="0")) == 404
        assert await status(app("tcp:{host}:1", allowed=("a.example:1",)), handshake(host="b.example")) == 403

    with_server(story)


def test_a_client_cannot_fill_the_log_with_names_of_its_own() -> None:
    async def story(port: int, closed: int) -> None:
        log = Lines()
        made = app("tcp:{host}:{port}", allowed=("127.0.0.0/8:*",), log=log)
        for number in range(20):
            assert await status(made, handshake(host=f"127.0.0.{number + 2}", port=str(closed))) == 502
        assert len(log.lines) == 1

    with_server(story)


def test_nor_with_names_whose_addresses_are_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async def found(host: str, port: int, **options: Any) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found)
        log = Lines()
        made = app("tcp:{host}:1", allowed=("127.0.0.0/8:*",), log=log)
        for number in range(20):
            assert await status(made, handshake(host=f"host{number}.example")) == 403
        assert log.lines == ["/b: tcp:host0.example:1 is not allowed: it has no address that is allowed"]

    run(story())


def test_a_target_that_does_not_answer_is_a_504() -> None:
    async def story() -> None:
        class Silent(Dialing):
            async def connect(self, *arguments: Any, **more: Any) -> Any:
                await asyncio.get_running_loop().create_future()

        assert await status(app("tcp:127.0.0.1:1", dialing=Silent(), connect_timeout=0.01), handshake()) == 504

    run(story())


def test_tokens() -> None:
    async def story(port: int, closed: int) -> None:
        class Table:
            def get(self, token: str) -> Any:
                return {"desk": parse_stream(f"tcp:127.0.0.1:{port}")}.get(token)

        made = app(tokens=Table())
        assert await status(made, handshake(token="desk")) == 101
        assert await status(made, handshake(b"token=desk")) == 101
        for asked in (handshake(), handshake(b"token=other"), handshake(token="other"), handshake(b"token=")):
            assert await status(made, asked) == 404

    with_server(story)


def test_open_alone_is_no_bridge() -> None:
    with pytest.raises(RuntimeError):
        app("tcp:h:1").open(None, handshake())  # type: ignore[arg-type]
