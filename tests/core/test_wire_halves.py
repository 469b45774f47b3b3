"""core/wire_halves.py: the wire's own Writer and Reader have all that apps of the house use of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fakes import App, House
from wsdaemon.core import wire_halves
from wsdaemon.core.wire_halves import Counts, Prepared, ReadingSide, Writer


def members(protocol: Any) -> set[str]:
    return {name for name in {**vars(protocol), **protocol.__annotations__} if not name.startswith("_")}


@pytest.mark.parametrize(("half", "least"), [(Writer, "send_prepared"), (ReadingSide, "many"), (Prepared, "size")])
def test_the_wire_has_what_its_halves_promise(made: House, half: Any, least: str) -> None:
    client = made.make_wire(App(), ping_interval=0.0)
    prepared = client.writer.prepare(b"hello", True)
    given: dict[object, object] = {Writer: client.writer, ReadingSide: client.wire.reader, Prepared: prepared}
    assert least in members(half)
    assert [name for name in members(half) if not hasattr(given[half], name)] == []
    client.vanish()


def test_nothing_is_dropped_unless_it_is_told() -> None:
    assert Counts(1, 2, 3, 4).dropped == 0 and wire_halves.__doc__
