"""Fixtures of the tests of daemon/."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fakes import Loop
from tests.support.supervised import House


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[House]:
    with Loop() as loop:
        house = House(loop, monkeypatch, tmp_path)
        house.supervisor.open()
        yield house
        house.supervisor.close()
        house.notified.close()
