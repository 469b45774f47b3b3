"""core/traces.py: the traceparent header of W3C Trace Context."""

from __future__ import annotations

import pytest

from wsdaemon.core.handshake import Handshake, Headers
from wsdaemon.core.traces import checked_traceparent

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize("flags", ["00", "01", "ff", "a5"])
def test_version_00_stays_as_it_is(flags: str) -> None:
    value = f"00-{TRACE}-{PARENT}-{flags}"
    assert checked_traceparent([value]) == value


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        (f"01-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01"),
        (f"cc-{TRACE}-{PARENT}-03-what-the-future-will-be-like", f"00-{TRACE}-{PARENT}-01"),
        (f"fe-{TRACE}-{PARENT}-02-", f"00-{TRACE}-{PARENT}-00"),
    ],
)
def test_of_a_later_version_the_known_part_is_taken(value: str, taken: str) -> None:
    assert checked_traceparent([value]) == taken


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT.upper()}-01",
        f"00-{TRACE}-{PARENT}-0A",
        f"0A-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-01-",
        f"cc-{TRACE}-{PARENT}-01.more",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}-001",
        f"00-{TRACE}-{PARENT}",
        f"0-{TRACE}-{PARENT}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}a-{PARENT}-01",
        f"00-{TRACE}-{PARENT[:-1]}-01",
        f"00-{TRACE[:-1]}.-{PARENT}-01",
        f"00_{TRACE}_{PARENT}_01",
        f"00-{TRACE}-{PARENT}-01\n",
        f" 00-{TRACE}-{PARENT}-01",
        f"00-{TRACE[:-1]}\u0661-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01-\nforged",
    ],
)
def test_the_rest_is_not_valid(value: str) -> None:
    assert checked_traceparent([value]) is None


def test_one_header_and_no_more() -> None:
    value = f"00-{TRACE}-{PARENT}-01"
    assert checked_traceparent([]) is None
    assert checked_traceparent([value, value]) is None


def test_an_app_has_it_with_the_handshake() -> None:
    value = f"00-{TRACE}-{PARENT}-01"
    handshake = Handshake(target="/", path="/", raw_path=b"/", headers=Headers([(b"TraceParent", f" {value} ".encode())]))
    assert handshake.traceparent == value
    handshake.let_go()
    assert handshake.traceparent == value
    bare = Handshake(target="/", path="/", raw_path=b"/")
    assert bare.traceparent is None
    bare.let_go()
    assert bare.traceparent is None
