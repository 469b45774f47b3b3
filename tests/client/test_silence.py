"""The read timeout by itself; test_life.py has it within a client."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fake_loop import Loop
from wsdaemon.client.silence import Silence
from wsdaemon.core.wheel import Wheel


class Part:
    """A wire with as much as a Silence looks at."""

    def __init__(self, loop: Loop) -> None:
        self.policy: Any = self
        self.reader: Any = self
        self.protocol: Any = self
        self.wheel = Wheel(loop, lambda item, error: None)
        self.bytes_in = 0
        self.stops = 0
        self.waiting: object = None
        self.wasNotCleanReason = ""
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def test_a_connection_without_a_byte_is_dropped_at_most_a_quarter_late() -> None:
    with Loop() as loop:
        wire: Any = Part(loop)
        Silence(wire, 8.0)
        loop.advance(7.9)
        assert not wire.aborted
        loop.advance(2.2)
        assert wire.aborted
        assert "read_timeout" in wire.wasNotCleanReason


@pytest.mark.parametrize("field", ["stops", "waiting", "bytes_in"])
def test_a_client_that_does_not_read_proves_nothing(field: str) -> None:
    with Loop() as loop:
        wire: Any = Part(loop)
        silence = Silence(wire, 8.0)
        for number in range(20):
            setattr(wire, field, number + 1)
            loop.advance(2.0)
        assert not wire.aborted
        silence.stop()
        assert len(wire.wheel) == 0
