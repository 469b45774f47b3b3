"""The verdict on the user's code: which failures close the connection, with which code, and which are told."""

from __future__ import annotations

from typing import Any

import pytest

from wsdaemon.core.closing import INTERNAL_ERROR, INVALID_PAYLOAD, ConnectionClosed
from wsdaemon.core.outcome import went_well
from wsdaemon.core.typed_messages import BadMessage


class _Connection:
    def __init__(self, is_open: bool) -> None:
        self.is_open = is_open
        self.closed: list[int] = []

    def close(self, code: int, reason: str) -> None:
        self.closed.append(code)


FAULT = RuntimeError("mine")
CLOSED = ConnectionClosed(1006, "gone")


@pytest.mark.parametrize(
    ("error", "is_open", "well", "code", "told"),
    [
        (None, True, True, None, False),
        (CLOSED, False, True, None, False),
        (CLOSED, True, False, INTERNAL_ERROR, True),
        (BadMessage("no JSON"), True, False, INVALID_PAYLOAD, False),
        (FAULT, True, False, INTERNAL_ERROR, True),
        (FAULT, False, False, INTERNAL_ERROR, True),
        (SystemExit(1), True, False, INTERNAL_ERROR, True),
    ],
)
def test_the_verdict(error: BaseException | None, is_open: bool, well: bool, code: int | None, told: bool) -> None:
    connection: Any = _Connection(is_open)
    heard: list[tuple[Any, str, BaseException]] = []
    assert went_well(connection, "running", error, lambda *about: heard.append(about)) is well
    assert connection.closed == ([] if code is None else [code])
    assert heard == ([(connection, "running", error)] if told else [])
