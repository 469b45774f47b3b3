"""hub/recent.py: the latest messages and changes of rooms, and their bounds."""

from __future__ import annotations

import pytest

from wsdaemon.brokers.contract import Change, Message, Position, Presence
from wsdaemon.hub import recent
from wsdaemon.hub.recent import ENTRY_BYTES, KEPT_SECONDS, Recent


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def message(offset: int, epoch: str = "e", room: str = "lobby", payload: bytes = b"x") -> Message:
    return Message(room, epoch, offset, payload, True, 0.0)


def offsets(found: tuple[Message, ...] | None) -> list[int] | None:
    return None if found is None else [each.offset for each in found]


def after(kept: Recent, since: Position, top: int, room: str = "lobby") -> list[int] | None:
    return offsets(kept.messages_after(room, since, Position("e", top)))


def test_it_has_the_messages_after_a_position_or_says_that_some_are_missing() -> None:
    kept = Recent(Time())
    for offset in range(5, 9):
        kept.message(message(offset))
        kept.message(message(offset, room="other"))
    assert after(kept, Position("e", 6), 8) == [7, 8]
    assert after(kept, Position("e", 4), 8) == [5, 6, 7, 8]
    assert after(kept, Position("e", 8), 8) == []
    assert after(kept, Position("e", 3), 8) is None, "message 4 was published before"
    assert after(kept, Position("e", 6), 9) is None, "message 9 is not here"
    assert after(kept, Position("e", 9), 8) is None
    assert after(kept, Position("d", 6), 8) is None, "another life of the room"
    assert after(kept, Position("e", 0), 0, "quiet") == []


def test_a_room_that_began_anew_has_the_messages_of_its_new_life_alone() -> None:
    kept = Recent(Time())
    for each in (message(1, "d"), message(2, "d"), message(1), message(2)):
        kept.message(each)
    assert after(kept, Position("e", 1), 2) == [2]


def test_changes_are_counted_one_by_one() -> None:
    kept, who = Recent(Time()), [Presence(f"m{number}", {}) for number in range(4)]
    changes = [Change("joined", each) for each in who]
    kept.changed("lobby", Position("r", 3), changes[:3])
    kept.changed("lobby", Position("r", 4), changes[3:])
    assert kept.changes_after("lobby", Position("r", 2), Position("r", 4)) == tuple(changes[2:])
    assert kept.changes_after("lobby", Position("r", 0), Position("r", 4)) == tuple(changes)
    assert kept.changes_after("lobby", Position("q", 2), Position("r", 4)) is None


def test_old_entries_are_forgotten() -> None:
    time = Time()
    kept = Recent(time)
    kept.message(message(1))
    time.now = KEPT_SECONDS + 1
    kept.message(message(2))
    assert (len(kept), kept.bytes) == (1, ENTRY_BYTES + 1)
    assert after(kept, Position("e", 1), 2) == [2]
    assert after(kept, Position("e", 0), 2) is None


def test_all_rooms_together_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "KEPT_BYTES", 10_000)
    kept = Recent(Time())
    for offset in range(1, 1000):
        kept.message(message(offset, room=f"room {offset % 7}", payload=bytes(600)))
        kept.changed("lobby", Position("r", offset), [Change("joined", Presence("m", {}))])
        assert kept.bytes <= 10_000
    assert 0 < len(kept) < 20
    assert sum(map(len, kept._messages.values())) + sum(map(len, kept._changes.values())) == len(kept)
