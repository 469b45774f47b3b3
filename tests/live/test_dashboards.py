"""packaging/: the dashboard for Grafana and the alert rules for Prometheus name metrics and labels that a real daemon has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.daemon import ROOT
from tests.support.scraped import admin_port, fetch, scraped

RULES = (ROOT / "packaging" / "prometheus" / "wsdaemon.rules.yml").read_text()
DASHBOARD: dict[str, Any] = json.loads((ROOT / "packaging" / "grafana" / "wsdaemon.json").read_text())

METRIC = re.compile(r"\b(?:wsdaemon|process)_\w+")
GROUPED = re.compile(r"\b(?:by|on) \(([\w, ]+)\)")
MATCHED = re.compile(r'(\w+)(?:=~|!~|!=|=)"')
SHOWN = re.compile(r"\{\{ ?(?:\$labels\.)?(\w+) ?\}\}")

OF_PROMETHEUS = {"instance", "job"}
"""Labels that a scrape adds."""

OF_SOME = {"wsdaemon_certificate_expiry_days": {"listener", "certificate"}, "wsdaemon_link_connected": {"mount"},
           "wsdaemon_link_losses_total": {"mount"}, "wsdaemon_refused_total": {"listener", "mount", "reason"},
           "wsdaemon_connections_closed_total": {"mount", "listener", "code", "by"}, "wsdaemon_stalls_total": {"mount"},
           "process_resident_memory_bytes": {"worker"}, "process_cpu_seconds_total": {"worker"}}  # fmt: skip
"""Labels that the scraped daemon has no cause to show: it has no TLS, no Redis, no workers and no refused client."""


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The labels of each metric of a real scrape; each counter and histogram under the names of its samples."""
    with scraped(tmp_path_factory.mktemp("scraped")) as daemon:
        text = fetch(admin_port(daemon), "/metrics")
    names: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        endings = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(family.type, [""])
        names |= {family.name + ending: set(OF_SOME.get(family.name + ending, ())) for ending in endings}
        for sample in family.samples:
            names.setdefault(sample.name, set()).update(sample.labels)
    return names


def rules() -> Iterator[tuple[str, str, str]]:
    """Name, query and the rest of each alert, of a file that has them in the order of this pattern and no others."""
    found = re.findall(r"^      - alert: (\w+)\n        expr: (.+)\n((?:        .+\n)+)", RULES, re.MULTILINE)
    assert len(found) == RULES.count("- alert:") == RULES.count("expr:") == 12
    yield from found


def queries() -> Iterator[tuple[str, str, str]]:
    """Title, query and legend of each query of the dashboard."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target["legendFormat"]


@pytest.mark.live
@pytest.mark.parametrize(("name", "query", "shown"), [*rules(), *queries()])
def test_every_query_names_metrics_and_labels_that_there_are(name: str, query: str, shown: str, labels: dict[str, set[str]]) -> None:
    asked = [metric for metric in METRIC.findall(query) if metric in labels]
    assert asked == METRIC.findall(query), f"{name}: {query}"
    known = OF_PROMETHEUS.union(*(labels[metric] for metric in asked))
    if asked:
        used = {part.strip() for group in GROUPED.findall(query) for part in group.split(",")} | set(MATCHED.findall(query))
        assert used | set(SHOWN.findall(shown)) <= known, f"{name}: {query}"
    assert query.count("(") == query.count(")") and query.count("{") == query.count("}") and query.count('"') % 2 == 0


def test_every_alert_says_how_bad_it_is_and_how_it_is_mended() -> None:
    for name, query, rest in rules():
        assert name.startswith("Wsdaemon") and re.search(r" (?:==|<|>) [\d.]+$", query), name
        assert re.search(r"^          severity: (?:warning|critical)$", rest, re.MULTILINE), name
        assert re.search(r'^          summary: ".+"$', rest, re.MULTILINE), name
        assert re.search(r'^          description: ".+\."$', rest, re.MULTILINE), name


def test_the_dashboard_holds_together() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 20
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels) and all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    for panel in panels:
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"} and panel["targets"], panel["title"]
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    used = {word for _, query, _ in queries() for word in re.findall(r"\$(\w+)", query)}
    assert used - {"__rate_interval"} <= variables == {"datasource", "instance", "mount"}
