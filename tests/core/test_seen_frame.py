"""core/seen_frame.py: the names of frames."""

from __future__ import annotations

import pytest

from wsdaemon.core.seen_frame import SeenFrame


@pytest.mark.parametrize(("opcode", "kind"), [(0, "continuation"), (1, "text"), (8, "close"), (9, "ping"), (11, "opcode 11")])
def test_each_opcode_has_a_name(opcode: int, kind: str) -> None:
    assert SeenFrame(opcode, 3, b"abc").kind == kind
