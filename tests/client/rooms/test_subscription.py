"""One subscription by itself: any order of events gives each message once, in order, or a gap. test_rooms.py has the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.client.callbacks import Callbacks
from wsdaemon.client.rooms.subscription import MAX_OWN_IDS, OVERFULL, RoomSubscription, SubscriptionPhase
from wsdaemon.client.rooms.values import RoomGap, RoomMessage


class Rooms:
    """The rooms around one subscription."""

    def __init__(self) -> None:
        self.failures: list[BaseException] = []
        self.callbacks = Callbacks(self.failures.append)
        self.resumed: list[RoomSubscription] = []

    def on_loop(self, call: Callable[[], object]) -> None:
        call()

    def leave(self, subscription: RoomSubscription) -> None:
        subscription.end(None)

    def resume(self, subscription: RoomSubscription) -> None:
        self.resumed.append(subscription)

    def caught_up(self) -> None: ...


def made(**options: Any) -> RoomSubscription:
    return RoomSubscription(Rooms(), "lobby", **{"presence": False, "own": True, "since": None, **options})


def message(offset: int, epoch: str = "E1", publisher: str | None = None) -> RoomMessage:
    return RoomMessage("lobby", epoch, offset, 0.0, publisher, str(offset))


def check(items: list[RoomMessage | RoomGap]) -> None:
    """Each message is the next one, or stands behind a gap, and comes once."""
    seen: set[tuple[str, int]] = set()
    last: tuple[str, int] | None = None
    for item in items:
        place = (item.epoch, item.offset)
        if isinstance(item, RoomGap):
            last = place
            continue
        assert place not in seen
        assert last is None or last == (item.epoch, item.offset - 1)
        seen.add(place)
        last = place


@given(st.lists(st.tuples(st.sampled_from(("E1", "E2")), st.integers(1, 12)), max_size=60))
def test_any_stream_of_messages_is_in_order_or_has_gaps(stream: list[tuple[str, int]]) -> None:
    items: list[Any] = []
    subscription = made()
    subscription.on_message = items.append
    subscription.answered({"epoch": "E1", "offset": 0, "messages": []})
    known: set[tuple[str, int]] = set()
    for epoch, offset in stream:
        if subscription.epoch == epoch or (epoch, offset) not in known:  # a room never returns to an earlier epoch
            if epoch < subscription.epoch:
                continue
            subscription.came(message(offset, epoch))
            known.add((epoch, offset))
    check(items)


def test_the_request_asks_from_the_last_position_on() -> None:
    subscription = made(presence=True)
    assert subscription.fields == {"type": "subscribe", "room": "lobby", "presence": True}
    subscription.answered({"epoch": "E1", "offset": 7})
    assert subscription.fields["since"] == {"epoch": "E1", "offset": 7}
    assert made(since=("E9", 3)).fields["since"] == {"epoch": "E9", "offset": 3}


def test_a_program_that_never_reads_holds_a_bounded_number_of_messages() -> None:
    subscription = made()
    subscription.answered({"epoch": "E1", "offset": 0})
    for offset in range(1, 10 * OVERFULL):
        subscription.came(message(offset))
    assert len(subscription._messages) == OVERFULL
    assert subscription.phase is SubscriptionPhase.BEHIND
    assert subscription.fields["since"] == {"epoch": "E1", "offset": OVERFULL}


def test_own_messages_of_earlier_connections_are_known() -> None:
    items: list[Any] = []
    subscription = made(own=False)
    subscription.on_message = items.append
    for number in range(3):
        subscription.answered({"epoch": "E1", "offset": subscription.offset, "member": f"m{number}"})
    for offset, publisher in enumerate(("m0", "x", "m2", None), 1):
        subscription.came(message(offset, publisher=publisher))
    assert [item.offset for item in items] == [2, 4]
    for number in range(100):
        subscription.answered({"epoch": "E1", "offset": subscription.offset, "member": f"n{number}"})
    assert len(subscription._ids) == MAX_OWN_IDS


def test_an_exception_of_a_callback_is_told_and_the_next_message_comes() -> None:
    subscription = made()
    rooms: Any = subscription._rooms

    def fail(item: Any) -> None:
        raise RuntimeError(str(item.offset))

    subscription.on_message = fail
    subscription.answered({"epoch": "E1", "offset": 0})
    subscription.came(message(1))
    subscription.came(message(2))
    assert [str(error) for error in rooms.failures] == ["1", "2"]
