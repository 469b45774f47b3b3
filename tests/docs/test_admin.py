"""docs/admin.md says what is there: its examples meet routes, and its table has the metrics."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

from tests.ops.admin.test_exposition import page, samples
from tests.support.admin import EVERYTHING, head, shown
from tests.support.fakes import Loop
from wsdaemon.ops.admin.publishing import parse
from wsdaemon.ops.admin.routes import Table

DOCS = Path(__file__).resolve().parents[2] / "docs" / "admin.md"
TEXT = DOCS.read_text(encoding="utf-8")


def test_every_example_meets_a_route() -> None:
    table = Table((route, shown) for route in EVERYTHING)
    found = set()
    for command in re.findall(r"(?m)^curl (?:[^\n']|'[^']*')+$", TEXT):
        address = re.search(r"(?:\$ADMIN|http://localhost)(/[^\s\"]+)", command)
        assert address is not None, command
        method = "DELETE" if "-X DELETE" in command else "POST" if " -d " in command or " --data-binary " in command else "GET"
        asked = head(f"{method} {address[1]}")
        route, _, segments = table.find(asked)
        route.values(segments, asked)
        found.add(route.name)
    assert found >= {"ready", "publish", "publish_many", "history", "presence", "remove", "list_rooms", "issue_ticket"}


def test_the_example_of_many_is_understood() -> None:
    body = re.search(r"-d '(\{\"messages.*?)'", TEXT, re.DOTALL)
    assert body is not None
    assert [wanted.room for wanted in parse(body[1].encode())] == ["lobby", "orders"]
    for block in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL):
        json.loads(block)


def test_every_metric_is_in_the_table() -> None:
    with Loop() as loop:
        body = page(loop).body.decode()
    begun_later = {"wsdaemon_connections_closed_total", "wsdaemon_stalls_total"}
    there = {name for name, _ in samples(body) if name.startswith("wsdaemon_")} | begun_later
    there = {re.sub(r"_(bucket|count|sum)$", "", name) for name in there}
    rows = [line.split("|")[1] for line in TEXT.splitlines() if line.startswith("| `wsdaemon_")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == there


def test_every_page_is_named() -> None:
    for route in EVERYTHING:
        path = urlsplit(route.path).path
        assert path in TEXT or path.startswith("/api/")
