"""`status` and `top`: how a daemon stands."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from ..core.sizes import counted
from .admin_api import AdminPages, PagesChoice, admin_options, chosen_url
from .connecting import seconds
from .controlling import control_option, tell
from .exits import CommandFailed, Exit
from .operating import COLUMNS, connection_row
from .output import as_json, coloured, console, harmless, print_json, seconds_text, table

if TYPE_CHECKING:
    from rich.console import Group

TOP_CONNECTIONS = 5000
"""Connections that `top` reads at each look; with more it shows the busiest of these."""


@click.command()
@admin_options
@control_option
@as_json
def status(place: PagesChoice, control: str | None, json_output: bool) -> int:
    """Show how a daemon stands: state, generation, workers, listeners and mounts.

    The control channel answers; with --url the admin pages do.
    """
    url = place.url if control is not None else chosen_url(place.config, place.url)
    if url is not None:
        found = place.pages().get("/status")
    else:
        outcome = tell(place.config, control, "status")
        if outcome.status != Exit.DONE:
            raise CommandFailed("; ".join(outcome.problems) or "the daemon does not tell its status")
        found = dict(outcome.result)
    if json_output:
        print_json(found)
    else:
        show_status(found)
    return Exit.DONE


def connections_now(found: Any) -> int:
    """The open connections, in the control channel's form or that of the admin pages."""
    return int(found["now"]) if isinstance(found, dict) else int(found or 0)


def show_status(found: dict[str, Any]) -> None:
    """A status for people."""
    out = console()
    since = found.get("since") or found.get("started_at")
    uptime = "" if since is None else f", up {seconds_text(max(0.0, time.time() - since))}"
    out.print(harmless(f"wsdaemon {found['version']}: {found['state']}, process {found['pid']}{uptime}"))
    generation = f", generation {found['generation']}" if found.get("generation") else ""
    out.print(harmless(f"{counted(connections_now(found.get('connections')), 'connection')}{generation}"))
    for listener in found.get("listeners", ()):
        address, port = str(listener.get("address") or ""), listener.get("port")
        shown = "" if port is None or address.startswith(f"tcp:{port}:") or address == f"tcp:{port}" else f"port {port}"
        out.print(harmless(f"listener {listener['name']}: {address} {shown}".replace(":  ", ": ").rstrip()))
    for mount in found.get("mounts", ()):
        count = f", {counted(connections_now(mount['connections']), 'connection')}" if "connections" in mount else ""
        out.print(harmless(f"mount {mount['path']}: {mount['app']}{count}"))
    children = [("hub", found["hub"])] if isinstance(found.get("hub"), dict) else []
    children += [(f"worker {worker.get('number', '')}", worker) for worker in found.get("workers") or () if isinstance(worker, dict)]
    if children:
        rows = [
            (name, child.get("pid") or "-", child.get("generation", "-"), child.get("state", "-"), child.get("connections", "-"))
            for name, child in children
        ]
        out.print(table(("process", "pid", "generation", "state", "connections"), rows, right=("pid", "generation", "connections")))


class Busiest:
    """The connections of one look, with the rates since the look before."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[int, int]] = {}
        self._at = 0.0

    def rated(self, connections: list[dict[str, Any]], now: float) -> list[tuple[float, float, dict[str, Any]]]:
        """(messages in, messages out) per second with each connection, the busiest first. New connections count from their opening."""
        passed = max(now - self._at, 0.001) if self._at else None
        counts = {each["id"]: (int(each.get("messages_in", 0)), int(each.get("messages_out", 0))) for each in connections}
        found = []
        for each in connections:
            received, sent = counts[each["id"]]
            before = self._before.get(each["id"], (0, 0) if passed is not None else (received, sent))
            span = passed or 1.0
            found.append((max(0, received - before[0]) / span, max(0, sent - before[1]) / span, each))
        self._before, self._at = counts, now
        return sorted(found, key=lambda row: (-(row[0] + row[1]), row[2]["id"]))


@click.command()
@admin_options
@click.option("--interval", default="2s", metavar="TIME", help="How long between two looks. Default: 2s.")
@click.option("--count", default=0, type=click.IntRange(0), metavar="N", help="How many looks; 0: until Ctrl-C. Default: 0.")
@click.option("--lines", default=20, type=click.IntRange(1, 1000), metavar="N", help="How many connections are shown. Default: 20.")
@as_json
def top(place: PagesChoice, interval: str, count: int, lines: int, json_output: bool) -> int:
    """Show the busiest connections, again and again. In a pipe each look follows the last; with --json it is one line."""
    pages = place.pages()
    pause = seconds(interval, "--interval")
    busy, looks = Busiest(), 0
    from rich.live import Live

    live = Live(console=console(), screen=True, auto_refresh=False) if coloured(sys.stdout) and not json_output else None
    with live or contextlib.nullcontext():
        while True:
            look = _look(pages, busy, lines)
            if live is not None:
                live.update(_drawn(look), refresh=True)
            elif json_output:
                print_json(look)
            else:
                console().print(_drawn(look))
            looks += 1
            if looks == count:
                return Exit.DONE
            time.sleep(pause)


def _look(pages: AdminPages, busy: Busiest, lines: int) -> dict[str, Any]:
    found = pages.get("/status")
    connections, count = pages.connections(TOP_CONNECTIONS)
    now = time.time()
    rated = busy.rated(connections, now)
    shown = [{**each, "in_per_second": round(received, 3), "out_per_second": round(sent, 3)} for received, sent, each in rated[:lines]]
    return {
        "time": round(now, 3), "state": found["state"], "version": found["version"], "count": count,
        "in_per_second": round(sum(row[0] for row in rated), 3), "out_per_second": round(sum(row[1] for row in rated), 3),
        "connections": shown,
    }  # fmt: skip


def _drawn(look: dict[str, Any]) -> Group:
    from rich.console import Group
    from rich.text import Text

    head = (
        f"wsdaemon {look['version']}: {look['state']}, {counted(look['count'], 'connection')}, "
        f"{look['in_per_second']:,.0f} messages in and {look['out_per_second']:,.0f} out per second"
    )
    rows = [
        [*connection_row(each, look["time"]), f"{each['in_per_second']:,.1f}", f"{each['out_per_second']:,.1f}"]
        for each in look["connections"]
    ]
    columns = (*COLUMNS, "in/s", "out/s")
    return Group(Text(harmless(head), style="bold"), table(columns, rows, right=columns[4:]))
