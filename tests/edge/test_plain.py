"""edge/plain.py: from one request of a connection to the next, each with the checks and limits of its own."""

from __future__ import annotations

import gc

import pytest

from tests.edge.test_exchange import GET, POST, Plain, hello
from tests.support.admission import Door, Visitor
from tests.support.fakes import PEER, House, request
from wsdaemon.core.contract import PlainAnswer
from wsdaemon.edge.crowd import Worth
from wsdaemon.edge.limits import AddressLimits
from wsdaemon.edge.request_body import LINGER_SECONDS
from wsdaemon.edge.site import ReadyPage

TIMEOUT = 10.0
LATE = 0.1
PAGE = b"GET /page HTTP/1.1\r\nHost: h\r\n\r\n"


def page_at(head: object) -> ReadyPage | None:
    return ReadyPage(b"page", "text/plain", ()) if getattr(head, "path", "") == "/page" else None


def answered(visitor: Visitor) -> list[int]:
    visitor.door.house.loop.settle()
    return [int(part[:3]) for part in visitor.answer.split("HTTP/1.1 ")[1:]]


def test_after_a_reload_the_next_request_goes_by_the_new_gate(made: House) -> None:
    def other(answer: PlainAnswer, body: bytes) -> None:
        answer.begin(200, [])
        answer.send(b"other", False)

    before, after = Door(made, app=Plain(made, hello)), Door(made, app=Plain(made, other))
    idle, busy = before.arrive(GET), before.arrive(POST)
    made.loop.settle()
    before.gate = after.gate
    busy.transport.receive(b"12345")
    made.loop.settle()
    assert busy.answer.endswith("hello"), "a request that has begun is completed"
    for visitor in (idle, busy):
        visitor.transport.receive(GET)
        made.loop.settle()
        assert visitor.answer.endswith("other") and visitor.arrival.gate is after.gate
    assert (before.count.now, after.count.now) == (0, 2)
    for visitor in (idle, busy):
        visitor.transport.lose()
    assert after.count.now == 0 and before.arrivals == {}


def test_pages_apps_and_a_websocket_on_one_connection(made: House) -> None:
    door = Door(made, app=Plain(made, hello), pages=page_at)
    visitor = door.arrive(GET + PAGE + GET + PAGE)
    assert answered(visitor) == [200, 200, 200, 200] and door.count.now == 0
    visitor.transport.receive(GET)
    assert answered(visitor)[4:] == [200] and door.count.now == 1
    visitor.transport.receive(request("/chat"))
    assert answered(visitor)[5:] == [403] and door.count.now == 0, "the app refuses it, and the place is free"
    made.loop.advance(LINGER_SECONDS + LATE)
    assert visitor.transport.lost and door.arrivals == {} and len(door.wheel) == 0


@pytest.mark.parametrize("first", [GET, PAGE])
def test_an_idle_connection_has_its_time_and_is_dropped_without_a_word(made: House, first: bytes) -> None:
    door = Door(made, app=Plain(made, hello), pages=page_at)
    visitor = door.arrive(first)
    made.loop.settle()
    assert visitor.arrival.kept_alive and visitor.arrival.worth is Worth.IDLE
    made.loop.advance(TIMEOUT + LATE)
    assert visitor.transport.lost and answered(visitor) == [200] and door.count.now == len(door.wheel) == 0


@pytest.mark.parametrize("first", [GET, PAGE])
def test_a_request_that_begins_late_has_its_whole_time(made: House, first: bytes) -> None:
    visitor = Door(made, app=Plain(made, hello), pages=page_at).arrive(first)
    made.loop.advance(TIMEOUT - 1)
    visitor.transport.receive(first[:9])
    made.loop.advance(TIMEOUT - 1)
    visitor.transport.receive(first[9:])
    assert answered(visitor) == [200, 200]
    made.loop.advance(TIMEOUT - 1)
    visitor.transport.receive(first[:9])
    made.loop.advance(TIMEOUT + LATE)
    assert answered(visitor) == [200, 200, 408]


def test_a_connection_for_pages_stays_a_handshake_of_its_address_and_one_for_an_app_does_not(made: House) -> None:
    limits = AddressLimits(max_connections=0, max_handshakes=5, per_second=0)
    door = Door(made, app=Plain(made), pages=page_at, limits=limits)
    key = limits.key(PEER)
    assert key is not None
    reader, asker = door.arrive(PAGE), door.arrive(GET)
    made.loop.settle()
    assert limits.handshakes.count(key) == 1 and list(door.arrivals) == [reader.arrival]
    for _ in range(3):
        reader.transport.receive(PAGE)
        made.loop.settle()
        assert limits.handshakes.count(key) == 1
    asker.transport.lose()
    reader.transport.lose()
    assert limits.handshakes.count(key) == 0 and door.arrivals == {}


def test_a_client_that_is_dropped_while_a_page_is_on_its_way_leaves_nothing(made: House) -> None:
    door = Door(made, app=Plain(made), pages=page_at)
    visitor = door.arrive()
    visitor.transport.stuck = True
    visitor.transport.receive(PAGE)
    assert visitor.arrival.worth is Worth.LEAVING and not visitor.arrival.kept_alive
    visitor.arrival.drop()
    made.loop.settle()
    assert visitor.transport.aborted and door.arrivals == {} and len(door.wheel) == 0


@pytest.mark.parametrize("how", ["answered", "kept", "app", "dropped", "dropped while the app answers"])
def test_nothing_of_a_connection_stays_in_a_cycle(made: House, how: str) -> None:
    def answer(answer: PlainAnswer, body: bytes) -> None:
        if how == "app":
            hello(answer, body)

    door = Door(made, app=Plain(made, answer), pages=page_at)
    gc.collect()
    gc.disable()
    try:
        close = PAGE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        visitor = door.arrive({"answered": close, "kept": PAGE, "dropped": PAGE}.get(how, GET))
        made.loop.settle()
        if how.startswith("dropped"):
            visitor.arrival.drop()
        else:
            visitor.transport.lose()
        made.loop.settle()
        assert visitor.arrival._plain is None, "it and its part would know each other for ever"
    finally:
        gc.enable()
