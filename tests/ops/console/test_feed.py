"""ops/console/feed.py: figures for pages that have shown a token, made once for all of them, and not at all for none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.logger import Logger

from tests.support.auth import logged
from tests.support.fakes import Client, House, binary, text
from wsdaemon.core.failed_logins import FailedLogins
from wsdaemon.core.registry import Connections
from wsdaemon.ops.console.feed import FORBIDDEN, MAX_PAGES, MAX_TOKEN_BYTES, TOKEN_SECONDS, UNAUTHORIZED, FeedApp
from wsdaemon.ops.console.tap_feed import TapFeed
from wsdaemon.ops.taps import OwnTaps
from wsdaemon.settings.admin import TokenRole

NO_TAPS = TapFeed(OwnTaps(Connections(), lambda connection, watcher: False, lambda connection, watcher: None), "off")

TOKENS = {"reads": {TokenRole.READ}, "publishes": {TokenRole.PUBLISH}}


class Figures:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None

    async def look(self) -> dict[str, Any]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return {"asked": self.asked}


@pytest.fixture
def looked() -> Figures:
    return Figures()


def feed(looked: Figures, failed: FailedLogins | None = None) -> FeedApp:
    return FeedApp(looked.look, lambda token: TOKENS.get(token, set()), NO_TAPS, failed)


def told(client: Client) -> list[Any]:
    return [json.loads(frame.payload) for frame in client.frames() if frame.opcode == 1]


def show(client: Client, token: object = "reads") -> None:
    client.send(text(json.dumps({"token": token})))


def test_figures_come_once_a_second_after_the_token(made: House, looked: Figures) -> None:
    client = made.make_wire(feed(looked), ping_interval=0.0)
    made.loop.advance(3.0)
    assert looked.asked == 0 and told(client) == []
    show(client)
    made.loop.advance(2.5)
    assert told(client) == [{"asked": 1}, {"asked": 2}, {"asked": 3}]
    show(client, "wrong")  # later messages have no effect
    made.loop.advance(1.0)
    assert told(client)[-1] == {"asked": 4} and client.ended == (None, "", "")


def test_they_are_made_once_for_all_and_not_for_none(made: House, looked: Figures) -> None:
    app = feed(looked)
    clients = [made.make_wire(app, ping_interval=0.0) for _ in range(3)]
    for client in clients:
        show(client)
    made.loop.advance(1.0)
    assert [told(client)[-1] for client in clients] == [{"asked": 2}] * 3
    for client in clients:
        client.vanish()
    made.loop.advance(5.0)
    assert looked.asked == 2 and made.loop.timers == 0


@pytest.mark.parametrize(
    "message",
    [
        b"", b"{", b'{"token": 1}', b'"reads"', b"[" * 5000, b'{"token": "wrong"}', b'{"token": "\\ud800"}',
        b" " * MAX_TOKEN_BYTES + b'{"token":"reads"}',
    ],
)  # fmt: skip
def test_a_wrong_token_is_a_failed_login_and_the_end(made: House, looked: Figures, message: bytes) -> None:
    with logged() as lines:
        client = made.make_wire(feed(looked, FailedLogins(Logger("test"))), ping_interval=0.0)
        client.send(binary(message))
        client.answer_close()
    assert client.ended[0] == UNAUTHORIZED
    assert looked.asked == 0 and [line for line in lines if "failed login" in line and "admin_token" in line]


def test_a_token_without_the_role_read_shows_nothing(made: House, looked: Figures) -> None:
    client = made.make_wire(feed(looked), ping_interval=0.0)
    show(client, "publishes")
    client.answer_close()
    assert client.ended[0] == FORBIDDEN and looked.asked == 0


def test_where_no_token_is_needed_any_first_message_does(made: House, looked: Figures) -> None:
    client = made.make_wire(FeedApp(looked.look, lambda token: None, NO_TAPS), ping_interval=0.0)
    show(client, "")
    made.loop.settle()
    assert told(client) == [{"asked": 1}]


def test_a_page_without_a_token_is_closed_in_time(made: House, looked: Figures) -> None:
    client = made.make_wire(feed(looked), ping_interval=0.0)
    made.loop.advance(TOKEN_SECONDS + 0.1)
    client.answer_close()
    assert client.ended[0] == UNAUTHORIZED and looked.asked == 0


@pytest.mark.parametrize("left", [set(), {TokenRole.PUBLISH}])
def test_a_page_whose_token_is_revoked_gets_no_more_figures(made: House, looked: Figures, left: set[TokenRole]) -> None:
    tokens = {"one": {TokenRole.READ}, "other": {TokenRole.READ}}
    app = FeedApp(looked.look, lambda token: tokens.get(token, set()), NO_TAPS)
    one, other = made.make_wire(app, ping_interval=0.0), made.make_wire(app, ping_interval=0.0)
    show(one, "one")
    show(other, "other")
    made.loop.advance(1.5)
    assert len(told(one)) == len(told(other)) == 2
    tokens["one"] = left
    made.loop.advance(1.0)
    one.answer_close()
    assert one.ended[0] == UNAUTHORIZED and told(one) == []
    assert len(told(other)) == 1
    del tokens["other"]
    made.loop.advance(1.0)
    other.answer_close()
    assert other.ended[0] == UNAUTHORIZED and told(other) == []
    asked = looked.asked
    for client in (one, other):
        client.vanish()
    made.loop.advance(5.0)
    assert looked.asked == asked == 3 and made.loop.timers == 0


def test_the_oldest_page_without_a_token_makes_room_and_no_other(made: House, looked: Figures) -> None:
    app = feed(looked)

    def arrive() -> Client:
        assert app.make_room()
        return made.make_wire(app, ping_interval=0.0)

    operator = arrive()
    show(operator)
    with logged() as lines:
        strangers = [arrive() for _ in range(3 * MAX_PAGES)]
        made.loop.settle()
    assert [line for line in lines if "makes room" in line] == lines and len(lines) == 1
    kept = MAX_PAGES - 1
    assert all(stranger.transport.aborted for stranger in strangers[:-kept])
    assert not any(stranger.transport.aborted for stranger in strangers[-kept:])
    show(strangers[-1], "wrong")  # one that is refused holds no place either
    others = [arrive() for _ in range(kept)]
    made.loop.settle()
    assert all(stranger.transport.aborted for stranger in strangers)
    for other in others:
        show(other)
    assert not app.make_room()
    made.loop.advance(1.5)
    assert all(told(each) for each in (operator, *others))
    others[0].vanish()
    assert app.make_room()


def test_pages_come_again_if_another_feed_takes_the_place(made: House, looked: Figures) -> None:
    app = feed(looked)
    known, unknown = made.make_wire(app, ping_interval=0.0), made.make_wire(app, ping_interval=0.0)
    show(known)
    made.loop.settle()
    app.close()
    for client in (known, unknown):
        client.answer_close()
        assert client.ended[0] == 1012
        client.vanish()
    made.loop.advance(3.0)
    assert looked.asked == 1


def test_figures_that_cannot_be_made_are_said_to_be_away(made: House, looked: Figures) -> None:
    client = made.make_wire(feed(looked), ping_interval=0.0)
    looked.error = ZeroDivisionError()
    with logged() as lines:
        show(client)
        made.loop.advance(10.0)
    assert told(client) == [{"away": True}] * 11
    assert len(lines) == 1
    looked.error = None
    made.loop.advance(1.0)
    assert told(client)[-1] == {"asked": 12}
