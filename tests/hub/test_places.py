"""hub/places.py: places under many names, taken all at once or not at all, and freed with their owner."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.hub import places as module
from wsdaemon.hub.places import GRANTED, HeldPlaces, KeyRate, NameLimit

MOST = {b"all": 4, b"mount": 3, b"ada": 1, b"bob": 2}

names = st.lists(st.sampled_from(sorted(MOST)), unique=True, min_size=1)
owners = st.sampled_from(["w1", "w2"])
numbers = st.integers(1, 6)
steps: st.SearchStrategy[tuple[str, str, int, list[bytes]]] = st.one_of(
    st.tuples(st.just("ask"), owners, numbers, names),
    st.tuples(st.just("leave"), owners, numbers, st.just([])),
    st.tuples(st.just("gone"), owners, st.just(0), st.just([])),
    st.tuples(st.just("declare"), owners, numbers, names),
)


@given(st.lists(steps, max_size=60))
def test_counts_are_those_of_a_list_of_all_places(comings: list[tuple[str, str, int, list[bytes]]]) -> None:
    places, model = HeldPlaces(), dict[tuple[str, int], list[bytes]]()
    for step, owner, number, wanted in comings:
        if step == "ask":
            model.pop((owner, number), None)
            counts = Counter(name for held in model.values() for name in held)
            full = next((index for index, name in enumerate(wanted) if counts[name] >= MOST[name]), GRANTED)
            assert places.ask(owner, number, [NameLimit(name, MOST[name]) for name in wanted]) == full
            if full == GRANTED:
                model[owner, number] = wanted
        elif step == "leave":
            places.leave(owner, number)
            model.pop((owner, number), None)
        elif step == "gone":
            places.gone(owner)
            model = {key: held for key, held in model.items() if key[0] != owner}
        else:
            places.declare(owner, [(number, wanted)])
            model = {key: held for key, held in model.items() if key[0] != owner} | {(owner, number): wanted}
        counts = Counter(name for held in model.values() for name in held)
        assert {name: places.count(name) for name in MOST} == {name: counts[name] for name in MOST}
        assert (places.names, len(places)) == (len(counts), len(model))


def test_a_rate_holds_over_all_owners() -> None:
    now = [1000.0]
    places = HeldPlaces(lambda: now[0])
    rate = [KeyRate(b"listener:web", b"192.0.2.7", 1.0, 3.0)]
    asked = [places.ask(f"w{number % 2}", number, [NameLimit(b"all", 100)], rate) for number in range(5)]
    assert asked == [GRANTED] * 3 + [1, 1], "a rate's index follows those of the limits"
    assert places.ask("w1", 9, [], [rate[0]._replace(key=b"192.0.2.8")]) == GRANTED
    now[0] += 1
    assert [places.ask("w1", number, [], rate) for number in (10, 11)] == [GRANTED, 0]


def test_a_refused_question_takes_no_token_and_no_place() -> None:
    places = HeldPlaces(lambda: 1000.0)
    one, other = KeyRate(b"listener", b"a", 1.0, 1.0), KeyRate(b"mount", b"a", 1.0, 1.0)
    assert places.ask("w", 1, [], [other]) == GRANTED
    assert places.ask("w", 2, [NameLimit(b"all", 1)], [one, other]) == 2
    assert places.count(b"all") == 0
    assert places.ask("w", 3, [NameLimit(b"all", 0)], [one]) == 0
    assert places.ask("w", 4, [], [one]) == GRANTED


def test_rates_of_old_settings_do_not_stay_for_ever() -> None:
    places = HeldPlaces(lambda: 1000.0)
    for number in range(module.MAX_SCOPES + 10):
        places.ask("w", 1, [], [KeyRate(b"%d" % number, b"a", 1.0, 1.0)])
    assert len(places._rates) == module.MAX_SCOPES


def test_places_that_move_in_are_counted_even_above_a_limit_and_the_former_owner_gives_its_own_back() -> None:
    places = HeldPlaces()
    assert places.ask("old", 7, [NameLimit(b"ada", 1)]) == GRANTED
    places.move_in("new", [(1, [b"ada", b"all"])])
    assert (places.count(b"ada"), places.count(b"all")) == (2, 1)
    places.leave("old", 7)
    places.move_in("new", [(1, [b"ada", b"all"])])
    assert (places.count(b"ada"), len(places)) == (1, 1)
    places.gone("new")
    assert (places.names, len(places)) == (0, 0)
