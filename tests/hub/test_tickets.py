"""hub/tickets.py: tickets are used once, end in time, and are bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.hub import tickets as module
from wsdaemon.hub.tickets import HeldTickets

sections, places = st.sampled_from("ab"), st.sampled_from("123456")
steps = st.one_of(
    st.tuples(st.just("put"), sections, places), st.tuples(st.just("take"), sections, places),
    st.tuples(st.just("wait"), st.just(""), st.sampled_from("15")),
)  # fmt: skip

SECONDS, MOST = 4.0, 3


@given(st.lists(steps, max_size=60))
def test_each_ticket_is_taken_once_and_in_time(comings: list[tuple[str, str, str]]) -> None:
    now, number = 1000.0, 0
    tickets = HeldTickets(lambda: now)
    model: dict[tuple[str, str], tuple[float, bytes]] = {}
    for step, section, place in comings:
        model = {key: entry for key, entry in model.items() if entry[0] > now}
        if step == "wait":
            now += int(place)
        elif step == "take":
            found = model.pop((section, place), None)
            assert tickets.take(section, place) == (None if found is None else found[1])
        elif (section, place) not in model:  # no place is used twice, because it is the hash of a random ticket
            number += 1
            fits = sum(key[0] == section for key in model) < MOST
            assert tickets.put(section, place, b"%d" % number, SECONDS, MOST) is fits
            if fits:
                model[section, place] = now + SECONDS, b"%d" % number
    assert len(tickets) == sum(entry[0] > now for entry in model.values())


def test_sections_are_bounded_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SECTIONS", 1)
    tickets = HeldTickets(lambda: 1000.0)
    assert tickets.put("a", "1", b"x", SECONDS, MOST)
    assert not tickets.put("b", "1", b"x", SECONDS, MOST)
    assert tickets.take("a", "1") == b"x"
    assert tickets.put("b", "1", b"x", SECONDS, MOST)
