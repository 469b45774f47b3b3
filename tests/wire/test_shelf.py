"""wire/shelf.py: against a model that is a list, and how much it may hold."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.wire.shelf import FRAME_COST_BYTES, Shelf

keys = st.sampled_from([None, "a", "b", ("room", 1)])
puts = st.tuples(st.integers(1, 40), keys)
takes = st.integers(0, 60)


class Model:
    """Frames with their keys, oldest first, as a list that is searched."""

    def __init__(self, most: int, latest: bool) -> None:
        self.most, self.latest = most, latest
        self.frames: list[tuple[object, bytes]] = []
        self.dropped = 0

    @property
    def size(self) -> int:
        return sum(len(frame) for _, frame in self.frames)

    @property
    def cost(self) -> int:
        return sum(len(frame) + FRAME_COST_BYTES for _, frame in self.frames)

    def put(self, frame: bytes, key: object) -> None:
        before = len(self.frames)
        if self.latest:
            self.frames = [(other, kept) for other, kept in self.frames if other != key]
        self.frames.append((key, frame))
        while self.cost > self.most and len(self.frames) > 1:
            del self.frames[0]
        self.dropped += before + 1 - len(self.frames)

    def take(self, least: int) -> list[bytes]:
        taken: list[bytes] = []
        while self.frames and sum(map(len, taken)) < least:
            taken.append(self.frames.pop(0)[1])
        return taken


@given(most=st.integers(0, 6 * FRAME_COST_BYTES), latest=st.booleans(), steps=st.lists(st.one_of(puts, takes), max_size=60))
def test_it_does_what_a_list_would(most: int, latest: bool, steps: list[tuple[int, object] | int]) -> None:
    shelf, model = Shelf(most, latest), Model(most, latest)
    for number, step in enumerate(steps):
        if isinstance(step, int):
            assert shelf.take(step) == model.take(step)
        else:
            size, key = step
            frame = number.to_bytes(2, "big") * size
            shelf.put(frame, key)
            model.put(frame, key)
            assert shelf.size + FRAME_COST_BYTES * len(shelf) <= max(most, len(frame) + FRAME_COST_BYTES)
        assert (shelf.size, len(shelf), shelf.dropped) == (model.size, len(model.frames), model.dropped)
    assert shelf.take(shelf.size) == [frame for _, frame in model.frames]
    assert (shelf.size, len(shelf)) == (0, 0)


def test_the_oldest_pay_for_the_newest() -> None:
    shelf = Shelf(3 * FRAME_COST_BYTES + 6, latest=False)
    for frame in (b"11", b"22", b"33", b"44"):
        shelf.put(frame)
    assert shelf.dropped == 1
    shelf.put(b"5" * (2 * FRAME_COST_BYTES))
    assert shelf.dropped == 4
    assert shelf.take(1000) == [b"5" * (2 * FRAME_COST_BYTES)]


def test_the_newest_stays_even_when_it_alone_is_too_large() -> None:
    shelf = Shelf(6, latest=False)
    shelf.put(b"1")
    shelf.put(b"2" * 7)
    assert (shelf.take(100), shelf.dropped) == ([b"2" * 7], 1)


def test_of_each_key_the_latest_in_the_order_in_which_they_came() -> None:
    shelf = Shelf(1000, latest=True)
    for key in "abacb":
        shelf.put(f"{key}{len(shelf)}".encode(), key)
    assert (shelf.take(100), shelf.dropped) == ([b"a2", b"c2", b"b3"], 2)


def test_keys_mean_nothing_where_all_are_kept() -> None:
    shelf = Shelf(1000, latest=False)
    shelf.put(b"1", "a")
    shelf.put(b"2", "a")
    assert shelf.take(100) == [b"1", b"2"]


def test_what_is_taken_is_the_least_that_is_enough() -> None:
    shelf = Shelf(1000, latest=False)
    for frame in (b"11", b"22", b"33"):
        shelf.put(frame)
    assert shelf.take(0) == []
    assert shelf.take(3) == [b"11", b"22"]
    assert (shelf.size, shelf.dropped) == (2, 0)


def test_small_frames_take_no_more_memory_than_large_ones() -> None:
    for size in (1, 10, 100, 10_000):
        tracemalloc.start()
        try:
            shelf = Shelf(100_000, latest=False)
            for _ in range(2000):
                shelf.put(bytes(bytearray(size)))
            assert tracemalloc.get_traced_memory()[0] < 130_000
        finally:
            tracemalloc.stop()
