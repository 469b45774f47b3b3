"""The answer to the command `status`."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from typing import Any

from wsdaemon.daemon.status import describe, describe_child
from wsdaemon.settings.build import build, section
from wsdaemon.version import __version__


def test_a_daemon_of_one_process() -> None:
    listener = section("listener:web", address="tcp:0:interface=127.0.0.1", mounts=["/echo"])
    settings = build([listener, section("mount:/echo", app="echo"), section("mount:/t", app="ticker")], "ws.ini")
    told = describe(settings, state="ready", since=5.0, ports=[8080], connections=3)
    assert json.loads(json.dumps(told)) == {
        "version": __version__, "pid": os.getpid(), "generation": 0, "state": "ready", "since": 5.0, "settings": "ws.ini",
        "connections": 3, "workers": [], "hub": None,
        "listeners": [{"name": "web", "address": "tcp:0:interface=127.0.0.1", "port": 8080, "tls": False, "mounts": ["/echo"]}],
        "mounts": [{"path": "/echo", "app": "echo"}, {"path": "/t", "app": "ticker"}],
    }  # fmt: skip


def test_children_that_have_ended_start_and_serve() -> None:
    process = SimpleNamespace(pid=77)
    starting: Any = SimpleNamespace(process=process, ready_since=None)
    ready: Any = SimpleNamespace(process=process, ready_since=4.0)
    told = [describe_child(number, 1, child, 2, 1000.0) for number, child in enumerate([None, starting, ready])]
    assert [(each["state"], each["pid"], each["ready_since"]) for each in told] == [
        ("ended", None, None), ("starting", 77, None), ("ready", 77, 1004.0),
    ]  # fmt: skip
    assert told[2] == {"number": 2, "pid": 77, "generation": 1, "state": "ready", "connections": 2, "ready_since": 1004.0}
