"""`wsdaemon doctor`."""

from __future__ import annotations

import contextlib
import ssl
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import click

from ..client.target import Target, parse
from .admin_api import AdminPages, pages_of
from .client_options import pairs
from .connecting import seconds
from .doctor_tls import check_tls
from .doctor_way import check_compression, check_forged, check_idle, check_limit, check_smuggling, check_upgrade
from .exits import CommandFailed, Exit
from .findings import CheckFinding, Verdict
from .output import as_json, coloured, console, print_json
from .raw import RawConnection

COLOURS = {Verdict.GOOD: "green", Verdict.NOTE: "cyan", Verdict.WARNING: "yellow", Verdict.PROBLEM: "red"}

OFFER = ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")


@click.command()
@click.argument("url")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Send this request header, as for authentication.")
@click.option("--ca", type=click.Path(exists=True), metavar="PATH", help="A file or folder of authorities, instead of the system's.")
@click.option("--idle-time", default="75s", metavar="TIME", help="How long to be silent at most; 0: leave that check out. Default: 75s.")
@click.option("-c", "--config", type=click.Path(dir_okay=False), metavar="FILE", help="The INI file of the daemon, for its admin pages.")
@click.option("--admin-url", metavar="URL", help="The admin pages of the daemon, as http://HOST:PORT or unix:PATH.")
@click.option("--admin-token-file", type=click.Path(exists=True, dir_okay=False), metavar="FILE", help="The file with the admin token.")
@as_json
def doctor(
    url: str, headers: tuple[str, ...], ca: str | None, idle_time: str, config: str | None, admin_url: str | None,
    admin_token_file: str | None, json_output: bool,
) -> int:  # fmt: skip
    """Examine the way to a daemon from outside, through its proxies.

    TLS, the upgrade, compression, the largest message, requests that could be smuggled, the address that a client could forge (with the
    admin pages), and idle cuts. Each finding has the very line to change. The exit status is 1 if there is any problem.
    """
    try:
        target = parse(url)
        sent = pairs(headers, ":", "--header")
        trusted = _context(ca)
    except (ValueError, OSError) as error:
        raise CommandFailed(str(error), Exit.USAGE) from None
    pages = None
    if config is not None or admin_url is not None:
        pages = pages_of(config, admin_url, admin_token_file, ca)
    wait = seconds(idle_time, "--idle-time")
    found = []
    with _progress(wait, coloured(sys.stderr) and not json_output) as progress:
        for finding in _examine(target, trusted, sent, pages, wait, progress):
            found.append(finding)
            if not json_output:
                _show(finding)
    if json_output:
        print_json({"url": str(target), "findings": [finding.as_json() for finding in found]})
    return Exit.FAILED if any(finding.verdict is Verdict.PROBLEM for finding in found) else Exit.DONE


def _context(ca: str | None) -> ssl.SSLContext:
    folder = ca is not None and Path(ca).is_dir()
    return ssl.create_default_context(cafile=None if folder else ca, capath=ca if folder else None)


def _examine(
    target: Target, trusted: ssl.SSLContext, headers: list[tuple[str, str]], pages: AdminPages | None, wait: float,
    progress: Callable[[float], object],
) -> Iterator[CheckFinding]:  # fmt: skip
    """All checks, the quick ones first. CommandFailed if there is no connection at all."""
    connect = partial(RawConnection, target)
    with connect() as raw:
        answer = raw.request([*headers, OFFER])
    if target.secure:
        yield from check_tls(target, trusted)
    upgrade = check_upgrade(answer)
    yield upgrade
    if upgrade.verdict is not Verdict.GOOD:
        return
    yield check_compression(answer)
    yield check_limit(connect, headers)
    yield from check_smuggling(connect, headers)
    yield check_forged(connect, headers, pages)
    if wait:
        yield check_idle(connect, headers, wait, progress)


def _show(finding: CheckFinding) -> None:
    from rich.text import Text

    out = console()
    line = Text(f"{finding.verdict.value:<8}", style=COLOURS[finding.verdict])
    line.append(f" {finding.check}: ", style="bold")
    line.append(finding.text, style="not bold default")
    out.print(line)
    if finding.verdict is not Verdict.GOOD:
        for program, text in finding.fix.items():
            out.print(f"         {program}: {text}")


@contextlib.contextmanager
def _progress(wait: float, visible: bool) -> Iterator[Callable[[float], object]]:
    """Tells on standard error how long the silence still lasts, if that is a terminal."""
    if not visible or not wait:
        yield lambda passed: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("silent, to measure idle cuts"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(error=True), transient=True) as progress:
        task = progress.add_task("", total=wait, visible=False)
        yield lambda passed: progress.update(task, completed=passed, visible=True)
