"""Results as text: a table for each test, one for the docs, and everything as JSON."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .catalogue import BEFORE, LIMIT, PEERS, SUBJECT, TESTS
from .preparing import CannotRun
from .results import Figure, Results, Verdict, shown

COLUMNS = {"us": "CPU us", "bytes": "bytes", "ms": "p99 ms"}
UNITS = {"us": "µs", "bytes": "bytes", "ms": "ms"}
NAMES = {BEFORE: "wsdaemon before", LIMIT: "C limit", "autobahn": "stock Autobahn"}
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


LOAD_BUSY = 0.85
"""Cores from which on the load generator is late to read: a latency that it measured then is an upper bound of the server's."""


def bounded(test: str, figure: Figure) -> bool:
    """Whether this latency is only known to be at most that: the load generator was about as busy as it can be."""
    return TESTS[test].paced and figure.load >= LOAD_BUSY


def name_of(server: str) -> str:
    """The name that readers know."""
    return NAMES.get(server, server)


def table(results: Results, test: str) -> str:
    """All that is known about one test, for the terminal."""
    others = (BEFORE, LIMIT, "picows") if (test, BEFORE) in results.samples else (LIMIT, "picows")
    ratio_heads = "".join(f"{'x C limit' if other == LIMIT else f'x {other}':>10}" for other in others)
    heads = f"{COLUMNS[TESTS[test].unit]:>10}{ratio_heads}{'per s':>12}{'p50 us':>10}{'p99 us':>10}"
    lines = [f"\n{test}: {TESTS[test].title}", f"{'server':20}{heads}{'foreign':>9}{'n':>6}"]
    for server in results.servers:
        if (test, server) not in results.samples:
            continue
        figure = results.figure(test, server)
        if figure is None:
            lines.append(f"{server:20}{'-':>10}  failed")
            continue
        ratios = [results.ratio((test, server), (test, other)) for other in others]
        cells = "".join(f"{'-' if ratio is None else shown(ratio, 2):>10}" for ratio in ratios)
        note = ("" if figure.quiet else "  * not quiet") + (f"  {figure.failed} failed" if figure.failed else "")
        note += f"  at most: load generator at {figure.load:.2f} of its CPU" if bounded(test, figure) else ""
        lines.append(
            f"{server:20}{shown(figure.cost, 2):>10}{cells}{shown(figure.rate, 0):>12}{shown(figure.p50_us, 0):>10}"
            f"{shown(figure.p99_us, 0):>10}{figure.foreign:>9.2f}{figure.used:>4}/{figure.taken}{note}"
        )
    return "\n".join(lines)


def markdown(results: Results) -> str:
    """The costs: a row for each test, a column for each server."""
    servers = results.servers
    lines = ["| | " + " | ".join(name_of(server) for server in servers) + " |", "|---|" + "---:|" * len(servers)]
    for test in results.tests:
        cells = []
        for server in servers:
            figure = results.figure(test, server)
            if figure is None:
                cells.append("-")
            else:
                cells.append(("≤ " if bounded(test, figure) else "") + shown(figure.cost, 2) + ("" if figure.quiet else " *"))
        lines.append(f"| {TESTS[test].title}, {UNITS[TESTS[test].unit]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def processor() -> str:
    """The name of this machine's CPU."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(errors="replace"), re.MULTILINE)
    return found[1] if found else platform.machine()


def everything(results: Results, versions: Mapping[str, Mapping[str, str]], seconds: float) -> dict[str, Any]:
    """For a file of JSON: each sample, the medians, the goals, and what it was measured with."""
    figures = {
        test: {server: asdict(figure) for server in results.servers if (figure := results.figure(test, server))} for test in results.tests
    }
    return {
        "when": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "processor": processor(),
        "cpus": os.cpu_count(),
        "seconds": seconds,
        "versions": versions,
        "titles": {test: TESTS[test].title for test in results.tests},
        "units": {test: UNITS[TESTS[test].unit] for test in results.tests},
        "names": {server: name_of(server) for server in results.servers},
        "figures": figures,
        "goals": [{"text": str(verdict), "measured": verdict.measured, "reached": verdict.reached} for verdict in results.verdicts()],
        "samples": [{"test": test, "server": server, "samples": samples} for (test, server), samples in results.samples.items()],
    }


def figures_text(results: Results, found: Mapping[str, Any], verdicts: Sequence[Verdict]) -> str:
    """The part of the docs page between its marks."""
    servers = [server for server in results.servers if server not in (SUBJECT, LIMIT)]
    versions = ", ".join(f"{name_of(server)} {_version(found['versions'], server)}".strip() for server in servers)
    rounds = max((len(samples) for samples in results.samples.values()), default=0)
    where = f"CPython {found['python']}, Linux {found['kernel'].split('-')[0]}, {found['processor']}, {found['cpus']} CPUs"
    head = [f"{found['when']}, {where}; medians of {rounds} {'rounds' if rounds > 1 else 'round'}.", f"Beside wsdaemon: {versions}."]
    foot = "Less is better. `-`: it has no such thing. `*`: other work disturbed every sample. `≤`: the load generator had no CPU to spare."
    lines = [*head, "", markdown(results), "", foot]
    if verdicts:
        lines += ["", "| goal | at most | measured | |", "|---|---:|---:|---|"]
        for verdict in verdicts:
            measured = "-" if verdict.measured is None else shown(verdict.measured, 2)
            word = "reached" if verdict.reached else "**not reached**"
            most = f"{shown(verdict.goal.most, 2)} {verdict.goal.measure}"
            lines.append(f"| {TESTS[verdict.goal.test].title} | {most} | {measured} | {word} |")
    return "\n".join(lines)


def _version(versions: Mapping[str, Mapping[str, str]], server: str) -> str:
    if server == BEFORE:
        return versions[BEFORE].get("commit", "")
    peer = PEERS[server]
    if peer.system:
        return ", ".join(" ".join(item) for item in versions.get("system", {}).items() if item[0] in peer.system.values())
    return versions.get(peer.home, {}).get(peer.packages.split(maxsplit=1)[0], "") if peer.packages else ""


def write_docs(page: Path, text: str) -> None:
    """Puts new figures between the marks of the docs page. CannotRun when the marks are not there."""
    before = page.read_text()
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(before):
        raise CannotRun(f"{page.name} has no line {BEGIN}")
    page.write_text(pattern.sub(lambda match: f"{BEGIN}\n{text}\n{END}", before))


def write_json(path: Path, found: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(found, indent=1) + "\n")
