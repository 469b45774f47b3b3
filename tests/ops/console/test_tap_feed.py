"""ops/console/tap_feed.py: viewers of the frames of one connection: permission, messages, ends, and lines in the log."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from tests.support.auth import logged
from tests.support.fakes import Client, House, text
from wsdaemon.core.seen_frame import MOVED
from wsdaemon.ops.console.feed import FORBIDDEN, MAX_PAGES, FeedApp
from wsdaemon.ops.console.tap_feed import NO_CONNECTION, SECONDS, TAP_OFF, TOO_MANY, TapFeed
from wsdaemon.ops.taps import ENDED, FULL, WORKER_ENDED, OpenedTap, Taken
from wsdaemon.ops.taps import NO_CONNECTION as NONE
from wsdaemon.ops.workers import WorkersAway
from wsdaemon.settings.admin import TokenRole


class Taps:
    """Taps that a test fills. `errors` are raised by the next calls."""

    def __init__(self) -> None:
        self.opened: dict[str, tuple[str, bool]] = {}
        self.answer = OpenedTap(connection={"id": "c-1", "mount": "/chat"})
        self.waiting: list[Taken] = []
        self.asked: list[tuple[list[str], list[str]]] = []
        self.closed: list[str] = []
        self.errors: list[Exception] = []
        self.all_closed = 0

    def _raise(self) -> None:
        if self.errors:
            raise self.errors.pop(0)

    async def open(self, id: str, key: str, payload: bool) -> OpenedTap:
        self._raise()
        self.opened[key] = id, payload
        return self.answer

    async def take(self, keys: Iterable[str], hold: Iterable[str]) -> dict[str, Taken]:
        self.asked.append((list(keys), list(hold)))
        self._raise()
        return {key: self.waiting.pop(0) for key in self.asked[-1][0] if self.waiting}

    def close_all(self) -> None:
        self.all_closed += 1

    async def close(self, keys: Iterable[str]) -> None:
        self.closed += keys
        self._raise()


TOKENS: dict[str, set[TokenRole]] = {}


@pytest.fixture
def taps() -> Taps:
    TOKENS.update(operates={TokenRole.OPERATE}, reads={TokenRole.READ})
    return Taps()


async def no_figures() -> dict[str, Any]:
    raise AssertionError("no page wants figures")


def feed(taps: Taps, permitted: str = "on") -> FeedApp:
    return FeedApp(no_figures, lambda token: TOKENS.get(token, set()), TapFeed(taps, permitted))


def arrive(made: House, app: FeedApp, token: str = "operates", **tap: Any) -> Client:
    client = made.make_wire(app, ping_interval=0.0)
    client.send(text(json.dumps({"token": token, "tap": {"connection": "c-1", **tap}})))
    made.loop.settle()
    return client


def quiet(made: House, *clients: Client) -> bool:
    """Whether nothing is left to be done once the connections are over."""
    for client in clients:
        client.vanish()
    made.loop.advance(30.0)
    return made.loop.timers == 0


def told(client: Client) -> list[Any]:
    return [json.loads(frame.payload) for frame in client.frames() if frame.opcode == 1]


def test_frames_come_until_the_connection_ends(made: House, taps: Taps) -> None:
    client = arrive(made, feed(taps))
    [key] = taps.opened
    assert taps.opened[key] == ("c-1", False)
    assert told(client) == [{"tap": {"id": "c-1", "mount": "/chat"}, "payload": False}]
    taps.waiting.append(Taken([{"size": 5}], 0))
    made.loop.advance(SECONDS + 0.01)
    assert told(client) == [{"frames": [{"size": 5}], "dropped": 0}]
    taps.waiting.append(Taken([{"size": 6}], 3, "the connection has ended: 1000"))
    made.loop.advance(SECONDS)
    assert told(client) == [{"frames": [{"size": 6}], "dropped": 3}, {"over": "the connection has ended: 1000"}]
    client.answer_close()
    assert client.ended == (1000, "", "server")
    assert taps.closed == [key] and quiet(made, client)


@pytest.mark.parametrize("reason", [ENDED, MOVED, WORKER_ENDED])
def test_a_viewer_is_told_that_the_connection_itself_may_go_on(made: House, taps: Taps, reason: str) -> None:
    client = arrive(made, feed(taps))
    taps.waiting.append(Taken([], 0, reason))
    made.loop.advance(SECONDS + 0.01)
    assert told(client)[-1] == {"over": reason, "again": True}
    client.vanish()
    made.loop.settle()


@pytest.mark.parametrize(("permitted", "payload", "code"), [("off", False, TAP_OFF), ("off", True, TAP_OFF), ("on", True, TAP_OFF)])
def test_the_settings_permit_taps_and_payloads_one_by_one(made: House, taps: Taps, permitted: str, payload: bool, code: int) -> None:
    client = arrive(made, feed(taps, permitted), payload=payload)
    client.answer_close()
    assert client.ended[0] == code and "[admin] tap" in client.ended[1] and not taps.opened


def test_payloads_where_they_are_permitted(made: House, taps: Taps) -> None:
    with logged() as lines:
        client = arrive(made, feed(taps, "payload"), payload=True)
        assert told(client)[0]["payload"] is True
        assert list(taps.opened.values()) == [("c-1", True)]
        client.vanish()
        made.loop.settle()
    assert [line for line in lines if "c-1" in line] == lines and len(lines) == 2
    assert "with payloads" in lines[0] and "no more" in lines[1]


@pytest.mark.parametrize(("token", "code"), [("reads", FORBIDDEN), ("wrong", 4401)])
def test_a_token_without_the_role_operate_sees_no_frame(made: House, taps: Taps, token: str, code: int) -> None:
    client = arrive(made, feed(taps), token)
    client.answer_close()
    assert client.ended[0] == code and not taps.opened


def test_a_token_that_is_revoked_ends_it(made: House, taps: Taps) -> None:
    client = arrive(made, feed(taps))
    TOKENS["operates"] = {TokenRole.READ}
    made.loop.advance(SECONDS + 0.01)
    client.answer_close()
    assert client.ended[0] == 4401 and len(taps.closed) == 1 and quiet(made, client)


@pytest.mark.parametrize("tap", [{"connection": ""}, {"connection": 1}, {"connection": "x" * 65}, {"payload": 1}])
def test_a_request_that_is_none(made: House, taps: Taps, tap: dict[str, Any]) -> None:
    client = arrive(made, feed(taps), **tap)
    client.answer_close()
    assert client.ended[0] == 1008 and not taps.opened


@pytest.mark.parametrize(("refused", "code"), [(NONE, NO_CONNECTION), (FULL, TOO_MANY)])
def test_a_tap_that_cannot_be(made: House, taps: Taps, refused: str, code: int) -> None:
    taps.answer = OpenedTap(refused)
    client = arrive(made, feed(taps))
    client.answer_close()
    assert client.ended[0] == code and quiet(made, client)


@pytest.mark.parametrize(("error", "code"), [(WorkersAway("the supervisor does not answer"), 1013), (RuntimeError("broken"), 1011)])
def test_workers_that_are_away_are_told(made: House, taps: Taps, error: Exception, code: int) -> None:
    taps.errors = [error]
    with logged() as lines:
        client = arrive(made, feed(taps))
    client.answer_close()
    assert client.ended[0] == code
    assert [line for line in lines if "could not be opened" in line] == (lines if code == 1011 else [])


def test_workers_that_are_away_for_a_moment_are_waited_for(made: House, taps: Taps) -> None:
    client = arrive(made, feed(taps))
    told(client)
    taps.errors = [WorkersAway("away")]
    made.loop.advance(SECONDS + 0.01)
    taps.waiting.append(Taken([{"size": 5}], 0))
    made.loop.advance(SECONDS)
    assert told(client) == [{"frames": [{"size": 5}], "dropped": 0}]
    client.vanish()
    made.loop.settle()


def test_a_slow_viewer_holds_its_tap_and_is_sent_no_more(made: House, taps: Taps) -> None:
    client = arrive(made, feed(taps))
    client.transport.stuck = True
    taps.waiting.append(Taken([{"size": 5}] * 50_000, 0))
    made.loop.advance(SECONDS + 0.01)
    asked = len(taps.asked)
    made.loop.advance(SECONDS)
    [key] = taps.opened
    assert taps.asked[asked:] == [([], [key])]
    client.vanish()
    made.loop.settle()


def test_viewers_count_among_the_pages_and_a_new_feed_closes_them(made: House, taps: Taps) -> None:
    app = feed(taps)
    clients = [arrive(made, app) for _ in range(MAX_PAGES)]
    assert not app.make_room()
    app.close()
    for client in clients:
        client.answer_close()
        assert client.ended[0] == 1012
    assert taps.all_closed == 1
    assert app.make_room() and len(taps.closed) == MAX_PAGES and quiet(made, *clients)
