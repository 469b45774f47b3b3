"""The scripts of places and tickets, on a real server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.redis_servers import Server
from wsdaemon.brokers.links.redis_keys import Names
from wsdaemon.brokers.links.redis_place_scripts import RELEASE, RESERVE, SHELVE, UNSHELVE

INDEX = Names("test", "/rooms").index

pytestmark = pytest.mark.live


def test_an_owner_has_a_share_of_the_places_and_gives_them_back(server: Server) -> None:
    with server.client() as client:

        def reserve(room: str, owner: str, now: int) -> Any:
            return client.eval(RESERVE, 4, *INDEX, room, owner, 3, 2, now)

        assert reserve("a", "ada", 1) == reserve("a", "ada", 2) == reserve("b", "ada", 3) == [b"ok"]
        assert reserve("c", "ada", 4) == [b"share", [b"a", b"b"]]
        assert reserve("c", "bob", 5) == [b"ok"]
        assert reserve("d", "", 6) == [b"full", [b"a", b"b", b"c"]]
        assert client.eval(RELEASE, 4, *INDEX, "a", "c", "unknown") == [b"ok"]
        assert client.hgetall(INDEX[3]) == {b"ada": b"1"}
        assert reserve("d", "", 7) == [b"ok"]


def test_tickets_have_a_number_and_are_taken_once(server: Server) -> None:
    with server.client() as client:

        def shelve(name: str) -> Any:
            return client.eval(SHELVE, 2, f"ticket:{name}", "tickets", name, "content", 60_000, 2)

        assert [shelve(name) for name in "abc"] == [1, 1, 0]
        assert client.eval(UNSHELVE, 2, "ticket:a", "tickets", "a") == b"content"
        assert client.eval(UNSHELVE, 2, "ticket:a", "tickets", "a") is None
        assert shelve("c") == 1
