"""wire/agreement.py: what is agreed in the handshake (RFC 7692 section 7.1)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.wire.deflate.negotiation import DeflateOptions, DeflateParameters, Offer, negotiate, parse_offers

NARROW = DeflateOptions()
WIDE = DeflateOptions(window_bits=15)
ALONE = DeflateOptions(server_context_takeover=False, client_context_takeover=False)
PMD = "permessage-deflate"
OFFERED = f"{PMD}; client_max_window_bits"
NARROW_NO_TAKEOVER = f"{PMD}; client_no_context_takeover; server_max_window_bits=11"
BOTH_11 = f"{PMD}; server_max_window_bits=11; client_max_window_bits=11"

NEGOTIATIONS = [
    # options, offer, answer
    (NARROW, "", None),
    (NARROW, "x-webkit-deflate-frame", None),
    (NARROW, PMD, NARROW_NO_TAKEOVER),
    (NARROW, PMD.upper(), NARROW_NO_TAKEOVER),
    (NARROW, OFFERED, BOTH_11),
    (NARROW, f"{PMD}; client_max_window_bits=15", BOTH_11),
    (NARROW, f"{PMD}; client_max_window_bits=10", f"{PMD}; server_max_window_bits=11; client_max_window_bits=10"),
    (NARROW, f'{PMD};client_max_window_bits="10"', f"{PMD}; server_max_window_bits=11; client_max_window_bits=10"),
    (NARROW, f"{PMD} ;\tclient_max_window_bits = 10 ", f"{PMD}; server_max_window_bits=11; client_max_window_bits=10"),
    (NARROW, f"{PMD}; client_max_window_bits=8", f"{PMD}; server_max_window_bits=11; client_max_window_bits=8"),
    (NARROW, f"{OFFERED}; server_max_window_bits=9", f"{PMD}; server_max_window_bits=9; client_max_window_bits=11"),
    (NARROW, f"{OFFERED}; server_max_window_bits=15", BOTH_11),
    (NARROW, f"{PMD}; server_max_window_bits=8", None),
    (NARROW, f"{PMD}; server_max_window_bits=8, {OFFERED}", BOTH_11),
    (NARROW, f"{PMD}; server_max_window_bits", None),
    (NARROW, f"{PMD}; server_max_window_bits=7", None),
    (NARROW, f"{PMD}; server_max_window_bits=16", None),
    (NARROW, f"{PMD}; server_max_window_bits=010", None),
    (NARROW, f"{PMD}; server_max_window_bits=+9", None),
    (NARROW, f"{PMD}; client_max_window_bits=16", None),
    (NARROW, f"{PMD}; client_max_window_bits=ten", None),
    (NARROW, f"{PMD}; client_max_window_bits; client_max_window_bits", None),
    (NARROW, f"{PMD}; server_no_context_takeover; server_no_context_takeover", None),
    (NARROW, f"{PMD}; server_no_context_takeover=1", None),
    (NARROW, f"{PMD}; client_no_context_takeover=true", None),
    (NARROW, f"{PMD}; unknown", None),
    (NARROW, f"{PMD}; unknown=1, {OFFERED}", BOTH_11),
    (NARROW, f"other; a=b, , {OFFERED},", BOTH_11),
    (NARROW, f"{OFFERED}; server_no_context_takeover", f"{PMD}; server_no_context_takeover; {BOTH_11[20:]}"),
    (NARROW, f"{OFFERED}; client_no_context_takeover", f"{PMD}; client_no_context_takeover; {BOTH_11[20:]}"),
    (NARROW, f"{PMD}; server_max_window_bits=10, {OFFERED}", f"{PMD}; client_no_context_takeover; server_max_window_bits=10"),
    (NARROW, f"{PMD} client_max_window_bits", None),
    (NARROW, f"{PMD}; =10", None),
    (NARROW, f'{PMD}; client_max_window_bits="10', None),
    (NARROW, f'{PMD}; client_max_window_bits=" 10"', None),
    (NARROW, f"{PMD};", NARROW_NO_TAKEOVER),
    (WIDE, PMD, PMD),
    (WIDE, OFFERED, PMD),
    (WIDE, f"{PMD}; client_max_window_bits=12", f"{PMD}; client_max_window_bits=12"),
    (WIDE, f"{PMD}; server_max_window_bits=12", f"{PMD}; server_max_window_bits=12"),
    (WIDE, f"{PMD}; server_max_window_bits=15", f"{PMD}; server_max_window_bits=15"),
    (WIDE, f"{OFFERED}; server_max_window_bits=15", f"{PMD}; server_max_window_bits=15"),
    (NARROW, f"{OFFERED};", BOTH_11),
    (NARROW, f"{PMD} ; , x", NARROW_NO_TAKEOVER),
    (WIDE, f"{PMD}; client_no_context_takeover", f"{PMD}; client_no_context_takeover"),
    (ALONE, OFFERED, f"{PMD}; server_no_context_takeover; client_no_context_takeover; {BOTH_11[20:]}"),
    (ALONE, PMD, f"{PMD}; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=11"),
]


@pytest.mark.parametrize(("options", "offer", "answer"), NEGOTIATIONS)
def test_negotiation(options: DeflateOptions, offer: str, answer: str | None) -> None:
    agreed = negotiate(offer, options)
    assert (agreed and agreed[1]) == answer
    if agreed is not None:
        named = dict(part.partition("=")[::2] for part in agreed[1].split("; "))
        assert agreed[0] == DeflateParameters(
            6,
            int(named.get("server_max_window_bits", 15)),
            int(named.get("client_max_window_bits", 15)),
            4,
            "server_no_context_takeover" in named,
            "client_no_context_takeover" in named,
            256,
        )
        assert agreed[0] is negotiate(f"{'x-unknown, ' * 30}{offer}", options)[0]  # type: ignore[index]


def test_offers_are_read_in_order() -> None:
    assert parse_offers('a; b="c"; D=e;f , G') == [Offer("a", (("b", "c"), ("d", "e"), ("f", None))), Offer("g", ())]
    for malformed in ("a b", ";", ";a", "a;;", "a;;b", "a;b=", 'a;b="', 'a;b=""', 'a;b="c d"', "a;b=c=d", "ä", "a\x00", "a;b=c d", "a\x0b"):
        with pytest.raises(ValueError, match="not a token"):
            parse_offers(malformed)


def test_a_final_semicolon_is_accepted() -> None:
    assert parse_offers("a;, b; c ; ,d") == [Offer("a", ()), Offer("b", (("c", None),)), Offer("d", ())]


@given(st.text(alphabet='ab;,= "\\\t\x00permessage-deflate', max_size=40))
def test_no_header_makes_negotiation_fail(header: str) -> None:
    agreed = negotiate(header, NARROW)
    assert agreed is None or agreed[1].startswith(PMD)


@pytest.mark.parametrize(
    ("name", "value"),
    [("level", 10), ("level", -1), ("window_bits", 8), ("window_bits", 16), ("memory_level", 0), ("memory_level", 10), ("threshold", -1)],
)
def test_options_out_of_range_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        DeflateOptions(**{name: value})
