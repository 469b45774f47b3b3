"""The rule on log lines: no client makes the daemon log more than one line a minute for each reason.

A call of a Logger writes its line each time. So each of them in rooms that clients reach is listed here, with the reason why no client can
repeat it. Every other line goes through core.rare_lines, whose bounds its own tests show. Lines of level debug are exempt: an operator who
turns them on wants to see each client.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import wsdaemon

HOUSE = Path(wsdaemon.__file__).parent
ROOMS = ("edge", "wire", "core", "apps", "brokers", "ops", "daemon")
LEVELS = {"info", "warn", "error", "critical", "failure"}

OPERATOR = "the operator's act: the start, a stop, a reload, a changed file or certificate"
RARE = "inside the mechanism that bounds lines"
CLOSING = "the closing line of a connection that was open"
CHILDREN = "a process that starts or ends, or is lost: one that does so again and again does it every ten seconds"
BOUNDED = "bounded by its own clock, tested where it is"

DIRECT = {
    "core/rare_lines.py": RARE,
    "core/background.py": "one stop: MAX_LINES lines at most, then a count",
    "core/refusals.py": RARE,
    "core/failed_logins.py": BOUNDED,
    "edge/renewal.py": OPERATOR,
    "edge/auth/files.py": OPERATOR,
    "edge/auth/make.py": OPERATOR,
    "ops/connection_log.py": CLOSING,
    "ops/log_standard.py": "the operator's own code, through Python's logging",
    "ops/logs.py": OPERATOR,
    "ops/systemd.py": OPERATOR,
    "daemon/announcement.py": OPERATOR,
    "daemon/assembly.py": OPERATOR,
    "daemon/capacity.py": OPERATOR,
    "daemon/coming.py": OPERATOR,
    "daemon/control.py": OPERATOR,
    "daemon/daemon.py": OPERATOR,
    "daemon/development.py": "--dev alone, on addresses that no other machine reaches: the developer wants each traceback",
    "daemon/drain.py": OPERATOR,
    "daemon/hooks.py": OPERATOR,
    "daemon/handover.py": "one hand-over: one line about its version, or about a worker that hangs",
    "daemon/handover_here.py": "an upgrade, which is the operator's act: one line for each link between two workers, at either side",
    "daemon/hub.py": CHILDREN,
    "daemon/hub_brokers.py": CHILDREN,
    "daemon/keeper.py": CHILDREN,
    "daemon/next_generation.py": OPERATOR,
    "daemon/parts.py": OPERATOR,
    "daemon/pidfile.py": OPERATOR,
    "daemon/redis.py": OPERATOR,
    "daemon/reexecution.py": OPERATOR,
    "daemon/process.py": OPERATOR,
    "daemon/reload_all.py": OPERATOR,
    "daemon/reload_here.py": OPERATOR,
    "daemon/reloading.py": OPERATOR,
    "daemon/retiring.py": OPERATOR,
    "daemon/signals.py": OPERATOR,
    "daemon/sockets.py": OPERATOR,
    "daemon/successor.py": OPERATOR,
    "daemon/supervisor.py": CHILDREN,
    "daemon/worker.py": OPERATOR,
}
"""Modules that call a Logger directly, and why no client can repeat those lines."""


def direct_calls() -> Iterator[tuple[str, int]]:
    """File and line of each call of a method that logs, but for those of a RareLines, which is called `lines` everywhere."""
    for room in ROOMS:
        for path in sorted((HOUSE / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
                    receiver = ast.unparse(node.func.value).rpartition(".")[2]
                    if receiver.removeprefix("_") in ("log", "logger", "app_log", "admin_log", "connection_log"):
                        yield path.relative_to(HOUSE).as_posix(), node.lineno


def test_every_line_that_a_client_can_cause_is_bounded() -> None:
    unknown = [f"{path}:{line}" for path, line in direct_calls() if path not in DIRECT]
    assert unknown == [], "use core.rare_lines, or say here why no client can repeat it"


def test_the_list_names_no_module_that_is_quiet() -> None:
    assert set(DIRECT) - {path for path, _ in direct_calls()} - {"ops/connection_log.py"} == set()


def test_a_logger_has_a_name_that_the_rule_knows() -> None:
    """Or a call of it would not be seen above."""
    for room in ROOMS:
        for path in (HOUSE / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "Logger":
                    name = ast.unparse(node.targets[0]).rpartition(".")[2].removeprefix("_")
                    assert name in ("log", "logger", "app_log", "admin_log", "connection_log"), f"{path}:{node.lineno}"
