"""core/closing.py: which codes may be sent, and how a reason is cut."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.core.closing import LONGEST_REASON, ConnectionClosed, checked_code, may_be_sent, reason_bytes


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999])
def test_codes_that_may_be_sent(code: int) -> None:
    assert may_be_sent(code)
    assert checked_code(code) == code


@pytest.mark.parametrize("code", [0, -1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536])
def test_codes_that_are_never_sent(code: int) -> None:
    assert not may_be_sent(code)
    with pytest.raises(ValueError, match=f"close code {code}: expected 1000 to 1003, 1007 to 1014 or 3000 to 4999"):
        checked_code(code)


@pytest.mark.parametrize("code", [True, "1000", 1000.0, None])
def test_a_code_is_an_int(code: Any) -> None:
    with pytest.raises(ValueError):
        checked_code(code)


@given(st.text())
def test_a_reason_is_cut_at_a_characters_end(reason: str) -> None:
    encoded = reason_bytes(reason)
    assert len(encoded) <= LONGEST_REASON
    assert reason.encode().startswith(encoded)
    assert len(encoded) > LONGEST_REASON - 4 or encoded == reason.encode()
    assert encoded.decode()[:1] == reason[:1]


def test_a_reason_with_a_lone_surrogate_is_sent_all_the_same() -> None:
    assert reason_bytes("a\ud800b") == b"a?b"


def test_a_long_reason() -> None:
    assert reason_bytes("x" * 124) == b"x" * 123
    assert reason_bytes("x" * 122 + "€") == b"x" * 122


def test_what_an_app_sees() -> None:
    error = ConnectionClosed(1001, "bye")
    assert (error.code, error.reason) == (1001, "bye")
    assert str(error) == "connection closed with 1001 (bye)"
    assert str(ConnectionClosed(1006)) == "connection closed with 1006"
    assert error.args == (1001, "bye")
