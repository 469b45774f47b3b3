"""Happy eyeballs, TLS contexts and proxies: the ways to a server."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.support.fake_loop import Loop
from wsdaemon.client.dialing import MAX_ADDRESSES, Address, Dialer, TlsFiles, interleaved, race
from wsdaemon.client.errors import ConnectFailed
from wsdaemon.client.target import parse

SIX, FOUR = socket.AF_INET6, socket.AF_INET


class Made:
    """A socket that connected."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Addresses:
    """Addresses that take a while to connect, or fail: seconds by address, negative for a failure after so long."""

    def __init__(self, loop: Loop, seconds: dict[str, float]) -> None:
        self.loop = loop
        self.seconds = seconds
        self.tried: list[tuple[float, str]] = []
        self.made: list[Made] = []

    async def connect(self, loop: Loop, address: Address, local: str | None) -> Made:
        name = address[1]
        self.tried.append((loop.time() - 1000.0, name))
        await asyncio.sleep(abs(self.seconds[name]))
        if self.seconds[name] < 0:
            raise ConnectionRefusedError(name)
        self.made.append(Made(address))
        return self.made[-1]

    def run(self) -> Any:
        task = self.loop.create_task(race(self.loop, [(SIX, name) for name in self.seconds], None, self.connect))
        self.loop.advance(20.0)
        return task


def test_families_take_turns() -> None:
    found: list[Address] = [(SIX, "a"), (SIX, "b"), (SIX, "c"), (FOUR, "d")]
    assert [name for _, name in interleaved(found)] == ["a", "d", "b", "c"]
    assert len(interleaved([(FOUR, str(number)) for number in range(100)])) == MAX_ADDRESSES


def test_a_slow_address_is_overtaken_after_a_quarter_of_a_second() -> None:
    with Loop() as loop:
        here = Addresses(loop, {"slow": 5.0, "quick": 0.01, "never tried": 1.0})
        assert here.run().result().address[1] == "quick"
        assert here.tried == [(0.0, "slow"), (0.25, "quick")]
        assert [made.address[1] for made in here.made] == ["quick"]


def test_a_refusal_makes_the_next_try_begin_at_once() -> None:
    with Loop() as loop:
        here = Addresses(loop, {"refused": -0.01, "good": 0.01})
        assert here.run().result().address[1] == "good"
        assert here.tried[1][0] == pytest.approx(0.01)


def test_the_first_failure_is_told_when_all_fail() -> None:
    with Loop() as loop:
        error = Addresses(loop, {"one": -0.1, "two": -0.01}).run().exception()
        assert isinstance(error, ConnectionRefusedError)
        assert str(error) == "one"


def test_a_loser_that_connects_in_the_same_turn_is_closed() -> None:
    with Loop() as loop:
        here = Addresses(loop, {"one": 0.5, "two": 0.25})
        winner = here.run().result()
        assert [made.closed for made in here.made if made is not winner] in ([True], [])


def test_a_cancelled_race_leaves_nothing() -> None:
    with Loop() as loop:
        here = Addresses(loop, {"one": 5.0, "two": 5.0})
        task = loop.create_task(race(loop, [(SIX, "one"), (SIX, "two")], None, here.connect))
        loop.advance(1.0)
        task.cancel()
        loop.settle()
        assert task.cancelled()
        assert loop.timers == 0


def test_no_address_is_an_error() -> None:
    with Loop() as loop:
        task = loop.create_task(race(loop, []))
        loop.settle()
        assert isinstance(task.exception(), OSError)


def test_contexts_are_shared_until_a_file_changes(tmp_path: Path) -> None:
    authority = trustme.CA()
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    files = TlsFiles(str(file))
    one = files.context()
    assert files.context() is one
    assert TlsFiles(str(file)).context() is one
    assert (one.verify_mode, one.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert one.hostname_checks_common_name is False
    assert one.minimum_version is ssl.TLSVersion.TLSv1_2
    os.utime(file, (1, 1))
    assert files.context() is not one


def test_a_file_that_is_missing_is_a_failure_to_connect() -> None:
    with Loop() as loop:
        task = loop.create_task(Dialer(TlsFiles("/does/not/exist.pem"))(parse("wss://127.0.0.1:1/"), asyncio.Protocol()))
        loop.settle()
        assert isinstance(task.exception(), ConnectFailed)


def test_the_environment_names_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    dialer = Dialer(proxy="environment")
    assert dialer._proxy_for(parse("wss://example.com/")) is None
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "internal.example")
    assert dialer._proxy_for(parse("wss://example.com/")) == "http://proxy.example:3128"
    assert dialer._proxy_for(parse("ws://example.com/")) is None
    assert dialer._proxy_for(parse("wss://internal.example/")) is None
    assert Dialer(proxy="socks5://p:1")._proxy_for(parse("ws://internal.example/")) == "socks5://p:1"
