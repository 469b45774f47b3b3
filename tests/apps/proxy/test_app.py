"""apps/proxy/app.py: a target for each client before the 101, and the answers if there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.lines import Lines
from tests.support.processes import run
from wsdaemon.apps.proxy import Answered, Balancer, ProxyApp, ProxyRules, TargetFailed, TargetRefused
from wsdaemon.core.acceptance import HandshakeRefused
from wsdaemon.core.handshake import Handshake, Headers, Peer
from wsdaemon.core.rare_lines import RareLines
from wsdaemon.settings.proxy import ProxyTarget

TARGETS = [ProxyTarget(False, name, 80) for name in ("a", "b", "c")]


def handshake(path: str = "/p", **values: Any) -> Handshake:
    headers = Headers([(b"host", b"x")])
    return Handshake(target=path, path=path, raw_path=b"", headers=headers, mount="/p", peer=Peer("192.0.2.7", 5), **values)


class Targets:
    """Answers for all targets; `answers` by the target's host, 101 for the others."""

    def __init__(self, **answers: Exception) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str, tuple[str, ...]]] = []
        self.abandoned = 0

    async def __call__(self, target: ProxyTarget, resource: str, headers: Any, subprotocols: Any, /) -> Answered:
        self.asked.append((target.host, resource, tuple(subprotocols)))
        await asyncio.sleep(0)
        if (error := self.answers.get(target.host)) is not None:
            raise error

        def abandon() -> None:
            self.abandoned += 1

        return Answered("chat" if "chat" in subprotocols else None, Headers([(b"set-cookie", b"a=b"), (b"server", b"x")]), _never, abandon)

    @property
    def hosts(self) -> list[str]:
        return [host for host, _, _ in self.asked]


_never: Callable[..., Any] = lambda session: pytest.fail("no connection is opened here")  # noqa: E731


def app(connect: Targets, log: Lines | None = None, count: int = 3) -> ProxyApp:
    balancer = Balancer(TARGETS[:count], 2, 10.0, lambda: 0.0)
    return ProxyApp(ProxyRules(mount="/p"), balancer, connect, RareLines(log or Lines()))


async def refusal(made: ProxyApp, asked: Handshake) -> HandshakeRefused:
    with pytest.raises(HandshakeRefused) as caught:
        await made.admit(asked)
    return caught.value


def test_a_target_is_asked_with_what_the_client_offers() -> None:
    async def story() -> None:
        connect = Targets()
        made = app(connect, count=1)
        accepted = await made.admit(handshake(subprotocols=("other", "chat"), query_string=b"q=1"))
        assert connect.asked == [("a", "/?q=1", ("other", "chat"))]
        assert (accepted.subprotocol, accepted.headers) == ("chat", [("set-cookie", "a=b")])
        assert (await made.admit(handshake())).subprotocol == ""

    run(story())


def test_places_are_given_back_once() -> None:
    async def story() -> None:
        connect = Targets(b=TargetFailed("x"))
        made = app(connect)
        accepted = [await made.admit(handshake()) for _ in range(4)]
        assert sorted(backend.connections for backend in made._balancer.backends) == [0, 2, 2]
        for each in accepted:
            assert each.abandoned is not None
            each.abandoned()
        assert connect.abandoned == 4
        assert [backend.connections for backend in made._balancer.backends] == [0, 0, 0]

    run(story())


def test_a_target_that_fails_is_passed_over_and_left_out_later() -> None:
    async def story() -> None:
        log = Lines()
        connect = Targets(a=TargetFailed("Connection refused"), b=TargetRefused(503, Headers(), b""))
        made = app(connect, log)
        for _ in range(6):
            accepted = await made.admit(handshake())
            assert accepted.abandoned is not None
            accepted.abandoned()
        assert connect.hosts.count("a") == connect.hosts.count("b") == 2
        assert connect.hosts[-1] == "c"
        assert sorted(log.lines) == [
            "/p: ws://a failed: Connection refused", "/p: ws://a is left out for fail_timeout",
            "/p: ws://b failed: it answered 503", "/p: ws://b is left out for fail_timeout",
        ]  # fmt: skip

    run(story())


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (TargetFailed("x"), 502, b"the target cannot be reached\n"),
        (TargetFailed("x", late=True), 504, b"the target does not answer\n"),
        (TargetRefused(503, Headers([(b"retry-after", b"3"), (b"connection", b"close")]), b"busy"), 503, b"busy"),
        (TargetRefused(100, Headers(), b""), 502, b"the target's answer is not good\n"),
        (TargetRefused(403, Headers([(b"content-encoding", b"gzip")]), b"\x1f\x8b"), 403, b""),
    ],
)
def test_the_answer_if_all_fail(error: Exception, status: int, body: bytes) -> None:
    async def story() -> None:
        made = app(Targets(a=error, b=error, c=error))
        refused = await refusal(made, handshake())
        assert (refused.status, refused.body) == (status, body)
        assert [backend.connections for backend in made._balancer.backends] == [0, 0, 0]
        if status == 503:
            assert refused.headers == (("retry-after", "3"),)

    run(story())


def test_a_refusal_of_the_client_is_not_asked_of_other_targets() -> None:
    async def story() -> None:
        error = TargetRefused(401, Headers([(b"www-authenticate", b"Basic")]), b"who?")
        connect = Targets(a=error, b=error, c=error)
        refused = await refusal(app(connect), handshake())
        assert (refused.status, refused.body, refused.headers) == (401, b"who?", (("www-authenticate", "Basic"),))
        assert len(connect.asked) == 1

    run(story())


def test_a_bad_path_reaches_no_target() -> None:
    async def story() -> None:
        connect = Targets()
        refused = await refusal(app(connect), handshake(params={"x": ".."}))
        assert (refused.status, connect.asked) == (400, [])

    run(story())


def test_a_client_that_leaves_while_its_target_is_asked() -> None:
    async def story() -> None:
        made = app(Targets())
        task = asyncio.ensure_future(made.admit(handshake()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [backend.connections for backend in made._balancer.backends] == [0, 0, 0]
        with pytest.raises(RuntimeError):
            made.open(None, handshake())  # type: ignore[arg-type]

    run(story())
