"""ops/admin/exposition.py: what Prometheus reads."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.support.fakes import Loop
from tests.support.metrics import FakeWire, connection
from wsdaemon.core.handshake import Headers
from wsdaemon.core.histogram import Histogram
from wsdaemon.core.registry import Count
from wsdaemon.ops.admin.contract import PageRequest
from wsdaemon.ops.admin.exposition import MAX_REASONS, MetricsPage, Sources
from wsdaemon.ops.admin.health import MountView
from wsdaemon.ops.metrics import Totals


@dataclass
class Gate:
    refused_by_mount: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def refused(self) -> dict[str, int]:
        return {reason: count for counts in self.refused_by_mount.values() for reason, count in counts.items()}


@dataclass
class Certificate:
    certificate: str
    days: float


@dataclass
class Certificates:
    def expiries(self) -> tuple[Certificate, ...]:
        return (Certificate("/etc/www.pem", 2.0), Certificate("/etc/old.pem", -1.0))


@dataclass
class Listener:
    name: str = "here"
    accepted: int = 7
    crowded_out: int = 1
    handshakes: int = 2
    port: int | None = 443
    gate: Gate = field(default_factory=lambda: Gate({"": {"path": 1}, "/chat": {"origin": 3}}))
    certificates: Certificates | None = None


class StaleFile:
    source = "[auth:staff] file"
    failures = 3

    def problem(self) -> str | None:
        return "/etc/htpasswd: Too many open files"


def page(loop: Loop, accept: str = "", listener: Listener | None = None, totals: Totals | None = None) -> Any:
    sources = Sources(
        version="1",
        frames="compiled",
        ready=lambda: True,
        count=Count(100),
        totals=totals or Totals(),
        connections=[connection(FakeWire(1, 2, 3, 4, 5))],
        listeners=[listener or Listener(certificates=Certificates())],
        mounts=[MountView("/chat", "rooms", Count(), lambda: {"rooms": 4, "members": 9})],
        loop_latency=Histogram(),
        round_trips=Histogram(),
        reloading=lambda: [StaleFile()],
        links=lambda: {"/chat": (True, 2)},
    )
    asked = PageRequest(Headers([(b"accept", accept.encode())] if accept else []), {})
    [(route, handler)] = MetricsPage(sources, True).pages()
    assert route.open
    task: asyncio.Task[Any] = loop.create_task(handler(asked))  # type: ignore[arg-type]
    loop.settle()
    return task.result()


def samples(body: str, parser: Any = parse) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {(one.name, frozenset(one.labels.items())): one.value for family in parser(body) for one in family.samples}


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return f"wsdaemon_{name}", frozenset(labels.items())


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0", "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"])
def test_the_page_is_what_prometheus_reads(accept: str) -> None:
    with Loop() as loop:
        answer = page(loop, accept)
    openmetrics = "openmetrics" in accept
    assert answer.status == 200
    assert answer.content_type.startswith("application/openmetrics-text" if openmetrics else "text/plain; version=0.0.4")
    found = samples(answer.body.decode(), parse_openmetrics if openmetrics else parse)
    place = {"mount": "/chat", "listener": "here"}
    expected = {
        key("connections", **place): 1,
        key("file_stale", source="[auth:staff] file"): 1,
        key("file_failures_total", source="[auth:staff] file"): 3,
        key("connections_opened_total", **place): 1,
        key("received_messages_total", **place): 1,
        key("sent_messages_total", **place): 2,
        key("received_bytes_total", **place): 3,
        key("sent_bytes_total", **place): 4,
        key("backlog_bytes", **place): 5,
        key("accepted_total", listener="here"): 7,
        key("crowded_out_total", listener="here"): 1,
        key("handshakes", listener="here"): 2,
        key("refused_total", listener="here", mount="/chat", reason="origin"): 3,
        key("refused_total", listener="here", mount="", reason="path"): 1,
        key("certificate_expiry_seconds", listener="here", certificate="/etc/www.pem"): 2 * 86400,
        key("certificate_expiry_seconds", listener="here", certificate="/etc/old.pem"): -86400,
        key("certificate_expiry_days", listener="here", certificate="/etc/www.pem"): 2,
        key("certificate_expiry_days", listener="here", certificate="/etc/old.pem"): -1,
        key("rooms", mount="/chat"): 4,
        key("room_members", mount="/chat"): 9,
        key("ready"): 1,
        key("connections_limit"): 100,
        key("info", version="1", frames="compiled"): 1,
        key("loop_latency_seconds_count"): 0,
        key("ping_round_trip_seconds_bucket", le="+Inf"): 0,
    }
    assert {one: found[one] for one in expected} == expected
    assert any(name == "process_open_fds" for name, _ in found)


@pytest.mark.parametrize("version", ["q", "1.x", "\N{ARABIC-INDIC DIGIT ONE}.0"])
def test_a_version_that_is_none_is_as_good_as_no_wish(version: str) -> None:
    """The library of Prometheus raises for it, or puts it into the answer's Content-Type."""
    with Loop() as loop:
        answer = page(loop, f"application/openmetrics-text;version={version}")
    assert answer.content_type.startswith("text/plain; version=0.0.4")


def test_reasons_have_a_bound() -> None:
    with Loop() as loop:
        answer = page(loop, listener=Listener(gate=Gate({"/chat": {f"reason{number}": 1 for number in range(MAX_REASONS + 50)}})))
    found = samples(answer.body.decode())
    assert sum(name == "wsdaemon_refused_total" for name, _ in found) == MAX_REASONS + 1
    assert found[key("refused_total", listener="here", mount="/chat", reason="other")] == 50


def test_closes_are_shown_by_code_and_by_whom() -> None:
    totals = Totals()
    ended = connection(FakeWire())
    ended._ended(1001, "", "client")
    totals.closed(ended, FakeWire(5).counts())
    with Loop() as loop:
        found = samples(page(loop, totals=totals).body.decode())
    assert found[key("connections_closed_total", mount="/chat", listener="here", code="1001", by="client")] == 1
    assert found[key("connections_opened_total", mount="/chat", listener="here")] == 2
    assert found[key("received_messages_total", mount="/chat", listener="here")] == 6
