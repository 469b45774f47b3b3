"""For the tests of the edge: a loop whose time stands still, and which met no problem."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fake_loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as made:
        yield made
        made.settle()
        assert made.problems == []
