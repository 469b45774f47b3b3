"""For the tests of ops: standard output that is a pipe."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.logs import Pipe


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.close(made.writing)
    if made.reading >= 0:
        os.close(made.reading)
