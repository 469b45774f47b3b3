"""Prometheus and its promtool read our alert rules, metrics and dashboard: promtool checks them, and Prometheus scrapes a real daemon."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.daemon import ROOT, SECONDS, Daemon, Program, program
from tests.support.scraped import admin_port, fetch, scraped

pytestmark = pytest.mark.live

RULES = ROOT / "packaging" / "prometheus" / "wsdaemon.rules.yml"
DASHBOARD: dict[str, Any] = json.loads((ROOT / "packaging" / "grafana" / "wsdaemon.json").read_text())
DESCRIPTIONS = dict(re.findall(r'- alert: (\w+)\n(?:.*\n)*?          description: "(.+)"\n', RULES.read_text()))

ALERTS: dict[str, tuple[dict[str, str], dict[str, str], dict[str, str], str]] = {
    "WsdaemonDown": (
        {'up{job="wsdaemon"}': "0x60"}, {'up{job="wsdaemon"}': "1x60", 'up{job="other"}': "0x60"},
        {"severity": "critical", "instance": "a", "job": "wsdaemon"}, "a does not answer",
    ),
    "WsdaemonNotReady": (
        {'wsdaemon_ready{}': "0x60"}, {'wsdaemon_ready{}': "0x3 1x57"},
        {"severity": "critical", "instance": "a"}, "a takes no new clients",
    ),
    "WsdaemonNearlyFull": (
        {'wsdaemon_connections{mount="/x"}': "60x60", 'wsdaemon_connections{mount="/y"}': "35x60",
         'wsdaemon_connections_limit{}': "100x60"},
        {'wsdaemon_connections{mount="/x"}': "60x60", 'wsdaemon_connections{instance="b",mount="/y"}': "35x60",
         'wsdaemon_connections_limit{}': "100x60", 'wsdaemon_connections_limit{instance="b"}': "100x60"},
        {"severity": "warning", "instance": "a"}, "a has 95% of its connections",
    ),
    "WsdaemonOutOfFiles": (
        {'wsdaemon_refused_total{reason="descriptors"}': "0+1x60"}, {'wsdaemon_refused_total{reason="descriptors"}': "7x60"},
        {"severity": "critical", "instance": "a", "reason": "descriptors"}, "a has no open files left for clients",
    ),
    "WsdaemonLoopIsLate": (
        {'wsdaemon_loop_latency_seconds_bucket{le="0.5"}': "0x60", 'wsdaemon_loop_latency_seconds_bucket{le="1.0"}': "0+100x60",
         'wsdaemon_loop_latency_seconds_bucket{le="+Inf"}': "0+100x60"},
        {'wsdaemon_loop_latency_seconds_bucket{le="0.1"}': "0+100x60", 'wsdaemon_loop_latency_seconds_bucket{le="+Inf"}': "0+100x60"},
        {"severity": "warning", "instance": "a"}, "The event loop of a is late by 995ms",
    ),
    "WsdaemonStalls": (
        {'wsdaemon_stalls_total{mount="/x"}': "0+1x60"}, {'wsdaemon_stalls_total{mount="/x"}': "0x50 5x10"},
        {"severity": "warning", "instance": "a", "mount": "/x"}, "Code at /x held the event loop of a 20 times in ten minutes",
    ),
    "WsdaemonClientsTurnedAway": (
        {'wsdaemon_refused_total{listener="web",reason="full"}': "0+60x60"},
        {'wsdaemon_refused_total{listener="web",reason="origin"}': "0+60x60"},
        {"severity": "warning", "instance": "a", "listener": "web", "reason": "full"}, "a turns away 2 clients a second: full",
    ),
    "WsdaemonFailedLogins": (
        {'wsdaemon_refused_total{reason="auth_refused"}': "0+300x60"}, {'wsdaemon_refused_total{reason="auth_refused"}': "0+60x60"},
        {"severity": "warning", "instance": "a"}, "10 failed logins a second at a",
    ),
    "WsdaemonSlowClients": (
        {'wsdaemon_dropped_messages_total{mount="/x"}': "0+600x60"}, {'wsdaemon_dropped_messages_total{mount="/x"}': "0+60x60"},
        {"severity": "warning", "instance": "a", "mount": "/x"}, "a drops 20 messages a second for slow clients of /x",
    ),
    "WsdaemonCertificateExpires": (
        {'wsdaemon_certificate_expiry_days{certificate="cert.pem"}': "3.5x60"},
        {'wsdaemon_certificate_expiry_days{certificate="cert.pem"}': "30x60"},
        {"severity": "critical", "instance": "a", "certificate": "cert.pem"}, "cert.pem of a expires in 3.5 days",
    ),
    "WsdaemonFileNotInUse": (
        {'wsdaemon_file_stale{source="users"}': "1x60"}, {'wsdaemon_file_stale{source="users"}': "0x60"},
        {"severity": "critical", "instance": "a", "source": "users"}, "a cannot use the changed file of users",
    ),
    "WsdaemonLinkLost": (
        {'wsdaemon_link_connected{mount="/x"}': "0x60"}, {'wsdaemon_link_connected{mount="/x"}': "1x60"},
        {"severity": "critical", "instance": "a", "mount": "/x"}, "a cannot reach the order of the rooms of /x",
    ),
}  # fmt: skip
"""Each alert: series with which it fires, series with which it is silent (a sample each 30 s; of instance a,
unless they name it), the labels of the alert, and its summary."""


@pytest.fixture(scope="module")
def promtool() -> str:
    return program("promtool", "Debian's prometheus")


def checked(line: list[str], given: str = "") -> str:
    """The output of a promtool that finds nothing wrong."""
    done = subprocess.run(line, input=given, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def of_an_instance(name: str) -> str:
    return name if "instance=" in name else name.replace("{", '{instance="a",').replace(",}", "}")


def test_promtool_reads_the_rules(promtool: str) -> None:
    assert "12 rules found" in checked([promtool, "check", "rules", str(RULES)])
    assert ALERTS.keys() == DESCRIPTIONS.keys()


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_fires_when_it_should_and_else_is_silent(name: str, promtool: str, tmp_path: Path) -> None:
    firing, silent, labels, summary = ALERTS[name]
    alert = {"exp_labels": labels, "exp_annotations": {"summary": summary, "description": DESCRIPTIONS[name]}}

    def case(series: dict[str, str], alerts: list[dict[str, Any]]) -> dict[str, Any]:
        given = [{"series": of_an_instance(name), "values": values} for name, values in series.items()]
        asked = {"eval_time": "30m", "alertname": name, "exp_alerts": alerts}
        return {"interval": "30s", "input_series": given, "alert_rule_test": [asked]}

    tests = {"rule_files": [str(RULES)], "evaluation_interval": "30s", "tests": [case(firing, [alert]), case(silent, [])]}
    path = tmp_path / "tests.yml"
    path.write_text(json.dumps(tests))  # which is YAML as well
    checked([promtool, "test", "rules", str(path)])


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with scraped(tmp_path_factory.mktemp("scraped")) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def prometheus(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a Prometheus that scrapes the daemon five times a second and knows our rules."""
    folder = tmp_path_factory.mktemp("prometheus")
    job = {"job_name": "wsdaemon", "static_configs": [{"targets": [f"127.0.0.1:{admin_port(daemon)}"]}]}
    settings = {"global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"}, "rule_files": [str(RULES)], "scrape_configs": [job]}
    (folder / "prometheus.yml").write_text(json.dumps(settings))
    options = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:0"]
    with Program([program("prometheus", "Debian's prometheus"), *options], folder) as server:
        port = int(server.output.wait_for(r'msg="Listening on" address=127\.0\.0\.1:(\d+)')[0][1])
        server.output.wait_for("Server is ready to receive web requests")
        yield port


def series(port: int, query: str) -> list[dict[str, Any]]:
    answer = json.loads(fetch(port, "/api/v1/query?" + urlencode({"query": query})))
    assert answer["status"] == "success", (query, answer)
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def until(condition: Callable[[], bool], step: Callable[[], None]) -> None:
    """Takes steps until the condition holds; each step waits for an answer of the daemon."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        step()


def queries() -> Iterator[tuple[str, str, str]]:
    """Title, query and legend of each query of the dashboard, with the values that Grafana would put in."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"].replace("$__rate_interval", "5s").replace("$instance", ".*").replace("$mount", ".*")
            yield panel["title"], query, target["legendFormat"]


NO_CAUSE = re.compile(r"wsdaemon_(?:certificate|link|stalls|refused|crowded_out|dropped|file|connections_closed)\w*")
"""Metrics of which this daemon has no series, because it has no TLS, no Redis, no stall, no refused client, and no client that left."""


def test_the_metrics_are_as_prometheus_wants_them(daemon: Daemon, promtool: str) -> None:
    assert checked([promtool, "check", "metrics"], fetch(admin_port(daemon), "/metrics")) == ""


def test_every_panel_shows_a_real_scrape(daemon: Daemon, prometheus: int) -> None:
    shown = list(queries())
    assert len(shown) > 30
    expected = [query for _, query, _ in shown if not NO_CAUSE.search(query)]
    assert len(expected) > 20
    with daemon.connect() as client, daemon.connect("/rooms/lobby") as publisher, daemon.connect("/rooms/lobby") as member:

        def talk() -> None:
            for sender, receiver in ((client, client), (publisher, member)):
                sender.send("hello")
                assert receiver.recv(SECONDS) == "hello"

        until(lambda: all(series(prometheus, query) for query in expected), talk)
        for title, query, legend in shown:
            for found in series(prometheus, query):
                assert set(re.findall(r"\{\{(\w+)\}\}", legend)) - {"worker"} <= found["metric"].keys(), (title, query)
        assert float(series(prometheus, "sum(wsdaemon_connections)")[0]["value"][1]) == 3
    assert series(prometheus, 'ALERTS{alertstate="firing"}') == []
