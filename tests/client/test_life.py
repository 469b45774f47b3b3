"""The life of a client on a fake network and a fake clock: reconnects, tokens, final failures, closing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fake_frames import frame
from tests.support.fake_loop import Loop
from tests.support.fake_server import ServerEnd, Story, story
from wsdaemon.client import CertificateRejected, ConnectFailed, OpeningRefused
from wsdaemon.client.life import ClientState
from wsdaemon.core.closing import ConnectionClosed


def state_of(here: Story) -> ClientState:
    return here.client.state


def test_a_lost_connection_is_made_again() -> None:
    with story() as here:
        end = here.open()
        end.send("one")
        end.lose()
        assert state_of(here) is ClientState.AWAY
        here.next_end().send("two")
        assert here.heard.messages == ["one", "two"]
        assert here.heard.events == [("open",), ("close", 1006, "connection lost without a Close frame"), ("reconnect", 1), ("open",)]


def test_a_server_that_is_away_is_asked_again_and_again_within_the_range() -> None:
    with story(*[ConnectFailed("refused")] * 12, reconnect="2s-30s") as here:
        here.client.begin()
        while not here.network.ends:
            here.loop.advance(1.0)
        delays = here.heard.delays
        assert len(delays) == 12
        assert all(0 <= delay <= min(30.0, 2.0 * 2**number) for number, delay in enumerate(delays))
        gaps = [later - earlier for earlier, later in zip(here.network.attempts, here.network.attempts[1:], strict=False)]
        assert gaps == pytest.approx(delays, abs=1e-6)
        assert len(here.heard.errors) == 12


def test_a_drains_hint_is_kept_to() -> None:
    with story() as here:
        here.open().close(1012, "restart; retry=17")
        assert here.heard.delays == [17.0]
        here.loop.advance(16.9)
        assert len(here.network.ends) == 1
        here.loop.advance(0.2)
        assert len(here.network.ends) == 2


def test_retry_after_is_kept_to() -> None:
    with story(lambda end: end.refuse(503, Retry_After="40")) as here:
        here.begin()
        assert 40.0 <= here.heard.delays[0] <= 41.0
        error = here.heard.errors[0]
        assert isinstance(error, OpeningRefused)
        assert error.status == 503


def test_a_good_connection_makes_the_next_delays_short_again() -> None:
    with story(*[ConnectFailed("x")] * 5) as here:
        here.client.begin()
        here.wait_for_end().accept()
        here.loop.advance(5.0)
        here.end.lose()
        assert here.heard.events[-1] == ("reconnect", 1)


def test_a_connection_that_is_lost_at_once_does_not() -> None:
    with story() as here:
        here.open().lose()
        here.next_end().lose()
        here.next_end().lose()
        assert [event[1] for event in here.heard.events if event[0] == "reconnect"] == [1, 2, 3]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 302])
def test_answers_that_are_final(status: int) -> None:
    with story(lambda end: end.refuse(status, body=b"no way")) as here:
        here.begin()
        here.loop.advance(1000.0)
        assert (len(here.network.ends), state_of(here)) == (1, ClientState.CLOSED)
        error = here.client.error
        assert isinstance(error, OpeningRefused)
        assert (error.status, error.body) == (status, b"no way")
        assert here.heard.errors == [error]


def test_a_bad_certificate_is_final() -> None:
    with story(CertificateRejected("server.example: expired")) as here:
        here.client.begin()
        here.loop.advance(1000.0)
        assert isinstance(here.client.error, CertificateRejected)
        assert len(here.network.attempts) == 1


def test_4401_is_final_without_a_function_for_tokens() -> None:
    with story(token="constant") as here:
        here.open().close(4401, "expired")
        here.loop.advance(1000.0)
        assert isinstance(here.client.error, ConnectionClosed)
        assert here.client.error.code == 4401


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_fresh_token_is_asked_for_each_connection(asynchronous: bool) -> None:
    given: list[str] = []

    def token() -> str:
        given.append(f"t{len(given)}")
        return given[-1]

    async def token_later() -> str:
        return token()

    with story(token=token_later if asynchronous else token) as here:
        end = here.open()
        assert end.header("Authorization") == "Bearer t0"
        end.close(4401, "expired")
        assert here.next_end().header("Authorization") == "Bearer t1"
        here.end.lose()
        assert here.wait_for_end().header("Authorization") == "Bearer t2"
        here.end.refuse(401)
        assert here.wait_for_end().header("Authorization") == "Bearer t3"


def test_the_same_token_again_is_no_fresh_one() -> None:
    with story(lambda end: end.refuse(401), token=lambda: "stale") as here:
        here.begin()
        here.loop.advance(1000.0)
        assert isinstance(here.client.error, OpeningRefused)
        assert len(here.network.ends) == 1


def test_a_token_function_that_fails_is_told_and_asked_again() -> None:
    tries: list[int] = []

    def token() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise OSError("the token service is away")
        return "x"

    with story(token=token) as here:
        here.client.begin()
        here.wait_for_end()
        assert [str(error) for error in here.heard.errors] == ["the token service is away"] * 2
        assert here.end.header("Authorization") == "Bearer x"


def test_without_reconnect_the_first_failure_is_the_end() -> None:
    with story(ConnectFailed("refused"), reconnect="off") as here:
        here.client.begin()
        here.loop.settle()
        assert isinstance(here.client.error, ConnectFailed)


def test_without_reconnect_a_normal_close_is_no_failure() -> None:
    with story(reconnect=False) as here:
        here.open().close(1000, "bye")
        assert (state_of(here), here.client.error) == (ClientState.CLOSED, None)
    with story(reconnect=False) as here:
        here.open().lose()
        assert isinstance(here.client.error, ConnectionClosed)


def test_close_takes_part_in_the_closing_handshake() -> None:
    with story() as here:
        end = here.open()
        here.client.close(4000, "done")
        [sent] = end.frames()
        assert (sent.opcode, sent.code, sent.reason) == (8, 4000, "done")
        assert state_of(here) is ClientState.CLOSING
        end.close(4000, "done")
        assert state_of(here) is ClientState.CLOSED
        assert here.heard.events[-1] == ("close", 4000, "done")
        here.loop.advance(1000.0)
        assert len(here.network.ends) == 1


def test_close_waits_for_a_silent_server_no_longer_than_close_timeout() -> None:
    with story(close_timeout="3s") as here:
        here.open()
        here.client.close()
        here.loop.advance(2.9)
        assert state_of(here) is ClientState.CLOSING
        here.loop.advance(0.2)
        assert state_of(here) is ClientState.CLOSED


def test_a_server_that_closes_and_keeps_tcp_open_is_dropped_after_a_second() -> None:
    with story() as here:
        end = here.open()
        end.give(frame(8, b"\x03\xe8", mask=None))
        assert end.frames()[-1].code == 1000
        here.loop.advance(1.2)
        assert here.heard.events[1] == ("close", 1000, "")


@pytest.mark.parametrize("when", ["connecting", "asked", "away"])
def test_close_ends_at_once_where_no_connection_is_open(when: str) -> None:
    outcomes: list[Any] = [ConnectFailed("x")] if when == "away" else []
    with story(*outcomes) as here:
        here.client.begin()
        if when != "connecting":
            here.loop.settle()
        here.client.close()
        here.loop.settle()
        assert state_of(here) is ClientState.CLOSED
        here.loop.advance(1000.0)
        assert len(here.network.attempts) <= 1
        assert here.loop.timers == 0


def test_a_client_that_was_closed_before_it_began_ends_as_it_begins() -> None:
    with story() as here:
        here.client.close()
        assert not here.client.begin()
        assert state_of(here) is ClientState.CLOSED
        assert here.network.attempts == []


def test_close_within_a_callback() -> None:
    with story(on_reconnect=lambda client, attempt, delay: client.close()) as here:
        here.open().lose()
        assert state_of(here) is ClientState.CLOSED
        here.loop.advance(100.0)
        assert len(here.network.ends) == 1
    with story(on_message=lambda client, message: client.close()) as here:
        end = here.open()
        end.send("a", "b")
        assert end.frames()[-1].opcode == 8


def test_timeouts_of_each_step() -> None:
    async def never(target: object, protocol: object) -> int:
        await here.loop.create_future()
        return -1

    with story(connect_timeout="2s", handshake_timeout="3s") as here:
        network, here.client._opener.dial = here.network, never
        here.client.begin()
        assert here.client._life is not None and here.client._life._backoff is not None
        here.client._life._backoff._draw = lambda least, most: most  # a short delay would dial once more within the first step
        here.loop.advance(2.1)
        assert "no connection within 2 s" in str(here.heard.errors[0])
        here.client._opener.dial = network
        here.loop.advance(1.2)  # the first delay is up to 1 s, and a step of the wheel comes to it
        assert len(network.ends) == 1
        here.loop.advance(3.1)
        assert "no answer within 3 s" in str(here.heard.errors[1])
        assert network.ends[0].transport.aborted


def test_a_server_that_answers_no_ping_is_dropped() -> None:
    with story(ping_interval="10s", ping_timeout="5s") as here:
        end = here.open()
        here.loop.advance(10.1)
        assert [sent.opcode for sent in end.frames()] == [9]
        here.loop.advance(5.1)
        assert here.heard.events[1][1] == 1006
        assert "ping" in str(here.heard.events[1][2])


def test_pongs_keep_a_connection() -> None:
    with story(ping_interval="10s", ping_timeout="5s") as here:
        end = here.open()
        for _ in range(20):
            here.loop.advance(1.0)
            for sent in end.frames():
                if sent.opcode == 9:
                    end.give(frame(10, sent.payload, mask=None))
        assert here.client.is_open


def test_the_read_timeout() -> None:
    with story(ping_interval=0, read_timeout="8s") as here:
        end = here.open()
        for _ in range(10):
            here.loop.advance(3.0)
            end.send("alive")
        assert here.client.is_open
        here.loop.advance(11.0)
        assert here.heard.events[1] == ("close", 1006, "nothing came within read_timeout")


def test_messages_of_a_new_connection_wait_for_the_coroutine_of_the_one_before() -> None:
    seen: list[str | bytes] = []

    async def slow(client: object, message: str | bytes) -> None:
        await here.gate  # type: ignore[attr-defined]
        seen.append(message)

    with story(on_message=slow) as here:
        here.gate = here.loop.create_future()  # type: ignore[attr-defined]
        end = here.open()
        end.send("one")
        end.lose()
        here.next_end().send("two")
        assert seen == []
        here.gate.set_result(None)  # type: ignore[attr-defined]
        here.loop.settle()
        assert seen == ["one", "two"]


def test_a_redirect_is_followed_when_asked() -> None:
    def away(end: ServerEnd) -> None:
        end.refuse(307, Location="/elsewhere", Set_Cookie="node=7; Path=/")

    with story(away, redirects=1, token="x") as here:
        here.begin()
        assert here.end.head.startswith("GET /elsewhere ")
        assert here.end.header("Authorization") == "Bearer x"
        assert here.end.header("Cookie") == "node=7"
        here.end.accept()
        assert here.client.is_open


def test_a_redirect_to_another_origin_gets_no_credentials() -> None:
    with story(
        lambda end: end.refuse(302, Location="ws://other.example/"), redirects=2, token="x", cookies={"a": "b"},
        headers={"Authorization": "Basic eA==", "X-Kept": "1"},
    ) as here:  # fmt: skip
        here.begin()
        assert here.end.target.host == "other.example"
        assert here.end.header("Authorization") is None
        assert here.end.header("Cookie") is None
        assert here.end.header("X-Kept") == "1"


def test_redirects_that_are_final_failures() -> None:
    loop = [lambda end: end.refuse(302, Location="/again")] * 5
    for outcomes, url, words in (
        (loop, "ws://a.example/", "more than 3"),
        ([lambda end: end.refuse(302, Location="ws://a.example/")], "wss://a.example/", "no TLS"),
        ([lambda end: end.refuse(302, Location="mailto:x@y")], "ws://a.example/", "no WebSocket"),
    ):
        with story(*outcomes, url=url, redirects=3) as here:
            here.begin()
            here.loop.advance(100.0)
            assert words in str(here.client.error)


def test_a_client_has_no_task_and_no_timer_while_it_is_open() -> None:
    with story(ping_interval=0) as here:
        here.open()
        here.loop.advance(20.0)
        assert here.loop.timers == 0


def test_two_clients_of_one_loop_share_their_tools() -> None:
    with Loop() as loop:
        one, other = Story(loop), Story(loop)
        assert one.open()
        assert other.open()
        assert one.client._life is not None and one.client._life.wire is not None
        assert other.client._life is not None and other.client._life.wire is not None
        assert one.client._life.wire.policy is other.client._life.wire.policy
        for each in (one, other):
            each.client.close()
        loop.advance(10.0)


def test_messages_that_were_on_their_way_at_the_close_are_received() -> None:
    """RFC 6455 5.5.1: the server sends no more after its own Close frame, and may send until then."""
    with story() as here:
        end = here.open()
        end.send("before")
        here.client.close()
        end.send("on its way", b"bytes")
        assert state_of(here) is ClientState.CLOSING
        end.close(1000)
        assert here.heard.messages == ["before", "on its way", b"bytes"]
        assert here.client.closed_cleanly


def test_a_connection_without_an_answer_to_the_close_did_not_end_cleanly() -> None:
    with story(close_timeout=2.0) as here:
        here.open()
        here.client.close()
        here.loop.advance(3.0)
        assert state_of(here) is ClientState.CLOSED
        assert not here.client.closed_cleanly
