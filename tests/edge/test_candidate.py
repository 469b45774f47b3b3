"""edge/candidate.py: what authenticators read of a request."""

from __future__ import annotations

from typing import Any

from tests.support.fakes import LOCAL, PEER, request
from wsdaemon.core.registry import Count
from wsdaemon.edge.candidate import Candidate, Entrance
from wsdaemon.edge.request import parse_head


def candidate(target: str, **headers: str) -> Candidate:
    return Candidate(parse_head(request(target, **headers)), PEER, LOCAL)


def test_query_and_cookies() -> None:
    one = candidate("/chat?a=1&b=&a=2%20x", cookie="name=value; empty=")
    assert (one.query("a"), one.query("b"), one.query("c")) == (["1", "2 x"], [], [])
    assert (one.cookie("name"), one.cookie("empty"), one.cookie("none")) == ("value", None, None)
    assert candidate("/?" + "&" * 2000 + "a=1").query("a") == [], "a thousand fields are looked at"


def test_the_mount_is_empty_until_it_is_known() -> None:
    one = candidate("/chat")
    assert one.mount == ""
    wires: Any = None
    one.entrance = Entrance("/{room}", wires, Count())
    assert one.mount == "/{room}"


def test_no_secret_in_its_repr() -> None:
    assert "secret" not in repr(candidate("/chat?token=secret", authorization="Bearer secret", cookie="a=secret"))
