"""Pending requests by themselves: bounds, repetition, uncertainty. test_rooms.py has them against a real rooms app."""

from __future__ import annotations

from typing import Any

import pytest

from wsdaemon.client.errors import QueueFull
from wsdaemon.client.rooms.reply import Reply
from wsdaemon.client.rooms.requests import KEY_SECONDS, MAX_PENDING, REPEAT_SECONDS, Pending, Requests
from wsdaemon.client.rooms.values import RoomError, Uncertain


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def publication(room: str = "lobby", key: str = "k") -> Pending:
    return Pending({"type": "publish"}, room, lambda event: event["offset"], Reply(), key, "data")


def question(room: str = "lobby") -> Pending:
    return Pending({"type": "history"}, room, lambda event: event["offset"], Reply())


def test_an_answer_goes_to_its_request() -> None:
    requests = Requests(Clock())
    one, other = question(), question()
    first, second = requests.add(one), requests.add(other)
    assert requests.answer(second, {"type": "history", "offset": 2})
    assert not requests.answer(second, {"type": "history", "offset": 2})
    assert not requests.answer("x", {})
    assert requests.answer(first, {"type": "error", "code": "rate_limited", "message": "slow", "retry_after": 2})
    assert other.reply.result() == 2
    error = one.reply.exception()
    assert isinstance(error, RoomError)
    assert (error.code, error.retry_after) == ("rate_limited", 2.0)


def test_the_error_of_a_publication_has_its_key() -> None:
    """`unavailable` leaves open whether the room has the message, and the key makes it safe to publish it again."""
    requests = Requests(Clock())
    refused, asked = publication(key="l"), question()
    for each in (refused, asked):
        requests.answer(requests.add(each), {"type": "error", "code": "unavailable", "message": "later"})
    for each, key in ((refused, "l"), (asked, None)):
        error = each.reply.exception()
        assert isinstance(error, RoomError)
        assert error.key == key


def test_a_broken_answer_is_the_error_of_its_request() -> None:
    requests = Requests(Clock())
    one = question()
    requests.answer(requests.add(one), {"type": "history"})
    assert isinstance(one.reply.exception(), KeyError)


def test_the_bound() -> None:
    requests = Requests(Clock())
    for _ in range(MAX_PENDING):
        requests.add(question())
    with pytest.raises(QueueFull):
        requests.add(question())


def test_a_new_connection_sends_all_again_in_order() -> None:
    requests = Requests(Clock())
    sent, unsent, asked = publication(), publication(key="l"), question()
    for each in (sent, unsent, asked):
        requests.add(each)
    requests.sent(sent, "E1")
    requests.sent(asked, None)
    assert requests.to_send() == [unsent]
    requests.lost()
    requests.judge("lobby", "E1")
    assert requests.to_send() == [sent, unsent, asked]


@pytest.mark.parametrize(("before", "now", "certain"), [("E1", "E1", True), ("E1", "E2", False), (None, "E2", False), ("E1", None, False)])
def test_another_epoch_makes_a_sent_publication_uncertain(before: str | None, now: str | None, certain: bool) -> None:
    requests = Requests(Clock())
    one, unsent, elsewhere = publication(), publication(key="u"), publication("other", "e")
    for each in (one, unsent, elsewhere):
        requests.add(each)
    requests.sent(one, before)
    requests.sent(elsewhere, before)
    requests.lost()
    requests.judge("lobby", now)
    assert one.reply.done() is not certain
    assert not unsent.reply.done()
    assert not elsewhere.reply.done()
    if not certain:
        assert isinstance(one.reply.exception(), Uncertain)


def test_times() -> None:
    clock = Clock()
    requests = Requests(clock)
    one, unsent = publication(), publication(key="u")
    requests.add(one)
    requests.add(unsent)
    requests.sent(one, None)
    clock.now = REPEAT_SECONDS - 1.0
    assert not requests.too_old(one)
    requests.sent(one, None)  # a repetition begins no new time
    clock.now = REPEAT_SECONDS
    assert requests.too_old(one)
    requests.expire()
    assert not one.reply.done()
    clock.now = KEY_SECONDS
    requests.expire()
    assert isinstance(one.reply.exception(), Uncertain)
    assert not unsent.reply.done()
    assert REPEAT_SECONDS < KEY_SECONDS


def test_the_end() -> None:
    requests = Requests(Clock())
    sent, unsent, asked = publication(), publication(key="u"), question()
    for each in (sent, unsent, asked):
        requests.add(each)
    requests.sent(sent, None)
    error = RuntimeError("over")
    requests.end(error)
    outcomes: list[Any] = [each.reply.exception() for each in (sent, unsent, asked)]
    assert isinstance(outcomes[0], Uncertain)
    assert outcomes[1:] == [error, error]
    assert len(requests) == 0


def test_a_cancelled_reply_takes_no_result() -> None:
    requests = Requests(Clock())
    one = question()
    number = requests.add(one)
    one.reply.cancel()
    assert requests.answer(number, {"type": "history", "offset": 1})
    assert one.reply.cancelled()
