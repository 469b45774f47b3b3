"""ops/admin/health.py: whether the daemon lives, whether it serves, and its state."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tests.support.admin import TOKEN, ask, problem
from wsdaemon.core.registry import Count
from wsdaemon.ops.admin.health import HealthPages, MountView
from wsdaemon.ops.admin.site import AdminSite


class State:
    """How far a daemon is."""

    def __init__(self) -> None:
        self.value = "starting"

    def __call__(self) -> str:
        return self.value


def health(state: State) -> AdminSite:
    times = iter([100.0, 107.5])
    pages = HealthPages(
        version="1", state=state, count=Count(10), listeners=[], wall=lambda: 1_790_000_000.0, clock=lambda: next(times),
        mounts=[MountView("/a", "echo", Count(5)), MountView("/b", "rooms", Count(), lambda: {"rooms": 1, "members": 2})],
    )  # fmt: skip
    return AdminSite(pages.pages(), lambda: TOKEN, "1")


def test_live_and_ready() -> None:
    state = State()
    pages = health(state)
    seen = []
    for state.value in ("starting", "ready", "draining", "stopped"):
        live, ready = ask(pages, "GET /livez", token=None), ask(pages, "GET /readyz", token=None)
        assert (live.status, live.body) == (200, b"live\n")
        seen.append((ready.status, ready.body))
    assert seen == [(503, b"starting\n"), (200, b"ready\n"), (503, b"draining\n"), (503, b"stopped\n")]


def test_an_order_that_is_away_is_not_ready() -> None:
    state, away = State(), [True]
    pages = AdminSite(
        HealthPages(version="1", state=state, count=Count(), listeners=[], mounts=[], away=lambda: away[0]).pages(), lambda: TOKEN, "1"
    )
    for state.value, away[0], status in (("ready", True, 503), ("ready", False, 200), ("starting", True, 503)):
        assert ask(pages, "GET /readyz", token=None).status == status
    state.value, away[0] = "ready", True
    assert ask(pages, "GET /readyz", token=None).body == b"the order of the rooms cannot be reached\n"


@dataclass
class File:
    source: str
    failures: int = 0
    told: str | None = None

    def problem(self) -> str | None:
        return self.told


def test_a_changed_file_that_cannot_be_used_is_shown() -> None:
    good, stale = File("[auth:a] file"), File("[admin] token_file", 3, "/etc/token: Too many open files")
    pages = AdminSite(
        HealthPages(version="1", state=lambda: "ready", count=Count(), listeners=[], mounts=[], reloading=lambda: [good, stale]).pages(),
        lambda: TOKEN,
        "1",
    )
    ready = ask(pages, "GET /readyz", token=None)
    assert ready.status == 200, "the daemon serves with the old content"
    assert ready.body == b"ready\n[admin] token_file: the changed file cannot be used, the old content is in use\n"
    assert json.loads(ask(pages, "GET /status").body)["files"] == [
        {"source": "[auth:a] file", "problem": None, "failures": 0},
        {"source": "[admin] token_file", "problem": "/etc/token: Too many open files", "failures": 3},
    ]
    stale.told = None
    assert ask(pages, "GET /readyz", token=None).body == b"ready\n"


def test_status() -> None:
    pages = health(State())
    assert problem(ask(pages, "GET /status", token=None)) == (401, "no_token")
    status = json.loads(ask(pages, "GET /status").body)
    assert status.pop("pid") > 0
    assert status == {
        "version": "1",
        "state": "starting",
        "started_at": 1_790_000_000.0,
        "uptime_seconds": 7.5,
        "connections": {"now": 0, "total": 0, "most": 10},
        "listeners": [],
        "mounts": [
            {"path": "/a", "app": "echo", "connections": {"now": 0, "total": 0, "most": 5}},
            {"path": "/b", "app": "rooms", "connections": {"now": 0, "total": 0, "most": None}, "rooms": 1, "members": 2},
        ],
        "certificates": [],
        "files": [],
    }
