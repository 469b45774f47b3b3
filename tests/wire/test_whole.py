"""wire/whole.py: a Wire has all that its parts ask of it."""

from __future__ import annotations

import pytest

from tests.support.fakes import App, House
from wsdaemon.wire.autobahn.stage import Staged
from wsdaemon.wire.deadlines import Timed
from wsdaemon.wire.whole import Whole


@pytest.mark.parametrize("seam", [Whole, Timed, Staged])
def test_each_part_finds_what_it_asks_for(made: House, seam: type) -> None:
    wire = made.make_wire(App()).wire
    asked = {name for each in seam.__mro__ for name in vars(each) if not name.startswith("_") and each.__module__.startswith("wsdaemon")}
    assert {"connection", "protocol", "close"} <= asked
    assert [name for name in asked if not hasattr(wire, name)] == []


def test_no_part_of_a_wire_keeps_another_wire(made: House) -> None:
    client = made.make_wire(App())
    assert client.reader.wire is client.writer.wire is client.protocol._wsdaemon_wire is client.wire
    assert client.connection._wire is client.wire and client.connection._writer is client.writer
