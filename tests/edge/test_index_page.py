"""edge/index_page.py: the page that a web browser shows for a listener."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.fakes import LOCAL, PEER, PYTHON, house
from wsdaemon.core.registry import Count
from wsdaemon.daemon.listeners import ListenerMaker
from wsdaemon.edge.candidate import Candidate, Entrance
from wsdaemon.edge.index_page import IndexPage
from wsdaemon.edge.request import Head, parse_head
from wsdaemon.edge.site import AnswerPage, ReadyPage, Site
from wsdaemon.settings.build import build, section


def head(path: str = "/", method: str = "GET") -> Head:
    return parse_head(f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n".encode())


def test_the_page() -> None:
    answer = IndexPage(["/rooms/{room}", "/echo"], secure=False).answer(head())
    assert answer is not None
    assert (answer.status, answer.content_type) == (200, "text/plain; charset=utf-8") and ("Cache-Control", "no-store") in answer.headers
    assert answer.body.decode().splitlines()[2:4] == ["  ws://127.0.0.1:8080/echo", "  ws://127.0.0.1:8080/rooms/{room}"]
    assert b"426" in answer.body


def test_a_secure_one_and_many_mounts() -> None:
    answer = IndexPage([f"/{number:03}" for number in range(120)], secure=True).answer(head())
    assert answer is not None and b"  wss://127.0.0.1:8080/000\n" in answer.body and b"and 70 more" in answer.body


@pytest.mark.parametrize("one", [head("/other"), head("/echo"), head(method="POST")])
def test_nothing_else_is_answered(one: Head) -> None:
    assert IndexPage(["/echo"], secure=False).answer(one) is None
    assert IndexPage(["/"], secure=False).answer(head()) is None, "a mount there answers 426 itself"


@pytest.mark.parametrize(
    ("address", "options", "shown"),
    [
        ("127.0.0.1", {}, True),
        ("127.0.0.1", {"index_page": "off"}, False),
        ("127.0.0.1", {"trusted_proxies": "127.0.0.1"}, False),
        ("0.0.0.0", {}, False),
        ("0.0.0.0", {"index_page": "on"}, True),
    ],
)
def test_by_default_it_is_for_this_machine_alone(address: str, options: dict[str, Any], shown: bool) -> None:
    pages = pages_of(address, options)
    assert (pages is not None and pages(head()) is not None) is shown


@pytest.mark.parametrize(
    ("host", "shown"),
    [("127.0.0.5:8080", True), ("localhost", True), ("me.localhost:1", True), ("rebound.example:8080", False), ("10.0.0.1", False)],
)
def test_a_page_of_a_rebound_name_sees_no_paths(host: str, shown: bool) -> None:
    asked = parse_head(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    pages = pages_of("127.0.0.5", {})
    assert pages is not None and (pages(asked) is not None) is shown
    everywhere = pages_of("127.0.0.5", {"index_page": "on"})
    assert everywhere is not None and everywhere(asked) is not None


def test_a_unix_socket_has_none_by_default() -> None:
    assert pages_of("", {}) is None


def pages_of(
    address: str, options: dict[str, Any], beside: AnswerPage | None = None, entrance: Entrance | None = None
) -> AnswerPage | None:  # fmt: skip
    """The pages of a listener with these options."""
    site = site_of(address, options, beside, entrance)
    return None if site is None else lambda asked: site.find(Candidate(asked, PEER, LOCAL))  # type: ignore[return-value]


def site_of(address: str, options: dict[str, Any], beside: AnswerPage | None, entrance: Entrance | None) -> Site | None:
    settings = build([section("listener:a", address="tcp:0", **options), section("mount:/echo", app="echo")], "x").listeners[0]
    with house() as made, socket.socket(socket.AF_INET if address else socket.AF_UNIX) as sock:
        if address:
            sock.bind((address, 0))
        maker = ListenerMaker(
            loop=made.loop, wheel=made.wheel(), count=Count(), retry_after=5.0, closed=lambda: False, turns=made.turns,
            frames=PYTHON, pages=beside,
        )  # fmt: skip
        wires: Any = _Wires()
        return maker.make(settings, sock, None, [entrance or Entrance("/echo", wires, Count())])[0].gate.site


class _Wires:
    policy = SimpleNamespace(plain=None)

    def limited(self, limits: object) -> _Wires:
        return self


def test_pages_of_the_daemon_come_first() -> None:
    mine = ReadyPage(b"mine", "text/plain", ())
    pages = pages_of("127.0.0.1", {}, beside=lambda asked: mine if asked.path == "/" else None)
    assert pages is not None
    assert pages(head()) is mine and pages(head("/other")) is None


def test_an_app_that_answers_there_itself_has_no_index_page_beside_it() -> None:
    for pattern in ("/{rest...}", "/"):
        plain: Any = SimpleNamespace(policy=SimpleNamespace(plain=object(), settings=SimpleNamespace(max_message=1)), limited=None)
        plain.limited = lambda limits, wires=plain: wires
        assert pages_of("127.0.0.1", {"index_page": "on"}, entrance=Entrance(pattern, plain, Count())) is None
