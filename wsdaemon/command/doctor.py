"""`wsdaemon doctor`."""

from __future__ import annotations

import contextlib
import ssl
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import click

from ..client.target import Target, parse
from .admin_api import AdminPages, pages_of
from .client_options import pairs, trusting
from .connecting import seconds
from .doctor_tls import check_tls
from .doctor_tunnel import check_tunnel
from .doctor_way import check_compression, check_forged, check_idle, check_limit, check_smuggling, check_upgrade
from .exits import CommandFailed, Exit
from .findings import CERTIFICATE_FIX, CheckFinding, Verdict
from .output import as_json, coloured, console, harmless, print_json
from .raw import RawConnection, any_certificate

COLOURS = {Verdict.GOOD: "green", Verdict.NOTE: "cyan", Verdict.WARNING: "yellow", Verdict.PROBLEM: "red"}

OFFER = ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")


WITHHELD = "the certificate is not trusted, so that neither --header nor the query of the URL is sent: the checks below go without them"


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

    TLS, the upgrade, compression, the largest message, requests that could be smuggled, tunnels through a refused upgrade, the address
    that a client could forge (with the admin pages), and idle cuts. A server whose certificate is refused gets none of the given headers.
    Each finding has the very line to change. The exit status is 1 if there is any problem.
    """
    try:
        target = parse(url)
        sent = pairs(headers, ":", "--header")
        _check_values(sent)
        trusted = trusting(ca)
        trusted.set_alpn_protocols(["http/1.1"])
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


def _check_values(headers: list[tuple[str, str]]) -> None:
    """ValueError if a header cannot be sent: the reason has no value, because that may be a secret."""
    for name, value in headers:
        if not name.isascii() or not all(32 <= ord(character) < 127 or 160 <= ord(character) < 256 for character in name + value):
            raise ValueError("--header: expected a NAME in ASCII and a VALUE in Latin-1, without control characters")


def _examine(
    target: Target, trusted: ssl.SSLContext, headers: list[tuple[str, str]], pages: AdminPages | None, wait: float,
    progress: Callable[[float], object],
) -> Iterator[CheckFinding]:  # fmt: skip
    """All checks, the quick ones first. CommandFailed if there is no connection at all.

    A secure server whose certificate is refused gets neither the headers of the user nor the query, which may have credentials.
    """
    with RawConnection(target):
        pass
    context = None
    if target.secure:
        refused = False
        for finding in check_tls(target, trusted):
            refused = refused or (finding.check == "certificate" and finding.verdict is Verdict.PROBLEM)
            yield finding
        context = any_certificate() if refused else trusted  # `trusted` verifies in each connection: the next one may end elsewhere
        if refused and (headers or "?" in target.resource):
            headers, target = [], replace(target, resource=target.resource.partition("?")[0])
            yield CheckFinding("credentials", Verdict.WARNING, WITHHELD, CERTIFICATE_FIX)
    connect = partial(RawConnection, target, context)
    with connect() as raw:
        answer = raw.request([*headers, OFFER])
    upgrade = check_upgrade(answer)
    yield upgrade
    if upgrade.verdict is not Verdict.GOOD:
        return
    yield check_compression(answer)
    yield check_limit(connect, headers)
    yield from check_smuggling(connect, headers)
    yield check_tunnel(connect, headers)
    yield check_forged(connect, headers, pages)
    if wait:
        yield check_idle(connect, headers, wait, progress)


def _show(finding: CheckFinding) -> None:
    from rich.text import Text

    out = console()
    line = Text(f"{finding.verdict.value:<8}", style=COLOURS[finding.verdict])
    line.append(f" {finding.check}: ", style="bold")
    line.append(harmless(finding.text), style="not bold default")
    out.print(line)
    if finding.verdict is not Verdict.GOOD:
        for program, text in finding.fix.items():
            out.print(f"         {program}: {harmless(text)}")


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
