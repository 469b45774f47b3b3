"""`ls`, `kick`, `publish` and `token`, by way of the admin pages."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from ..core.sizes import size_text
from .admin_api import PagesChoice, admin_options, chosen_url, segment
from .exits import CommandFailed, Exit
from .output import as_json, console, harmless, print_json, seconds_text, table
from .serving import settings_file

LARGEST_MESSAGE = 64 * 1024 * 1024
"""Bytes of standard input in one publication. The daemon's `max_body` is smaller, as a rule."""

COLUMNS = ("id", "mount", "user", "address", "age", "in", "out", "backlog", "dropped")


def connection_row(connection: dict[str, Any], now: float) -> list[object]:
    """A connection as a row of COLUMNS."""
    age = max(0.0, now - connection.get("opened_at", now))
    return [
        connection["id"], connection["mount"], connection.get("user") or "-", connection["address"], seconds_text(age),
        connection.get("messages_in", 0), connection.get("messages_out", 0), size_text(connection.get("backlog", 0)),
        connection.get("dropped", 0),
    ]  # fmt: skip


@click.command("ls")
@admin_options
@click.option("--mount", metavar="PATH", help="Only connections of this mount, as its section names it.")
@click.option("--listener", metavar="NAME", help="Only connections that this listener accepted.")
@click.option("--user", metavar="NAME", help="Only connections of this user.")
@click.option("--address", metavar="IP", help="Only connections from this address; `unix`: from unix sockets.")
@click.option("--limit", default=100, type=click.IntRange(0), metavar="N", help="The most connections; 0: all. Default: 100.")
@as_json
def list_connections(place: PagesChoice, limit: int, json_output: bool, **filters: str | None) -> None:
    """List the open connections of a daemon."""
    found, count = place.pages().connections(limit, **filters)
    if json_output:
        print_json({"connections": found, "count": count})
        return
    now = time.time()
    console().print(table(COLUMNS, (connection_row(each, now) for each in found), right=COLUMNS[4:]))
    if len(found) < count:
        click.echo(f"{len(found)} of {count}: --limit 0 lists all", err=True)


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@admin_options
@click.option("--code", default=4403, type=click.IntRange(3000, 4999), metavar="CODE", help="The close code. Default: 4403.")
@click.option("--reason", default="removed", metavar="TEXT", help="The reason that the client is told. Default: removed.")
@as_json
def kick(ids: tuple[str, ...], place: PagesChoice, code: int, reason: str, json_output: bool) -> int:
    """Close connections, by the ids that `ls` and the log show."""
    pages = place.pages()
    failed = False
    for name in ids:
        try:
            answer = pages.ask("DELETE", f"/api/connections/{segment(name)}", {"code": code, "reason": reason})
        except CommandFailed as error:
            if error.exit_code != Exit.FAILED:
                raise
            failed = True
            error.show()
            continue
        if json_output:
            print_json(answer)
        else:
            click.echo(harmless(f"{answer['id']} closes with {answer['code']}"))
    return Exit.FAILED if failed else Exit.DONE


@click.command()
@click.argument("room")
@click.argument("message", required=False)
@admin_options
@click.option("--mount", metavar="PATH", help="The mount, as its section names it. Needed where several mounts have rooms.")
@click.option("--key", metavar="KEY", help="Publish only once, however often the same key is given.")
@click.option("-b", "--binary", is_flag=True, help="Publish a binary message.")
@click.option("--content-type", metavar="TYPE", help="The message's content type. Default: text/plain, or application/octet-stream.")
@as_json
def publish(
    room: str, message: str | None, place: PagesChoice, mount: str | None, key: str | None, binary: bool, content_type: str | None,
    json_output: bool,
) -> None:  # fmt: skip
    """Publish MESSAGE, or all of standard input, into a room."""
    if message is None:
        body = sys.stdin.buffer.read(LARGEST_MESSAGE + 1)
        if len(body) > LARGEST_MESSAGE:
            raise CommandFailed(f"standard input is longer than {LARGEST_MESSAGE} bytes")
    else:
        body = message.encode("utf-8", "surrogateescape")
    for option, value in (("--key", key), ("--content-type", content_type)):
        if value is not None and not (value.isascii() and value.isprintable()):
            raise CommandFailed(f"{option}: expected printable ASCII", Exit.USAGE)
    headers = {"Content-Type": content_type or ("application/octet-stream" if binary else "text/plain; charset=utf-8")}
    if key is not None:
        headers["Idempotency-Key"] = key
    path = f"/api/rooms/{segment(room)}/messages"
    answer = place.pages().ask("POST", path, {"mount": mount}, body, headers)
    if json_output:
        print_json(answer)
    else:
        again = ", a repetition that was not published again" if answer["duplicate"] else f", to {answer['members']} members"
        click.echo(harmless(f"{answer['room']}: offset {answer['offset']}{again}"))


@click.command()
@click.argument("user")
@admin_options
@click.option("--auth", "name", metavar="NAME", help="The NAME of the section [auth:NAME] with kind = ticket. Default: the only one.")
@click.option("--claims", metavar="JSON", help="A JSON object that the app is told.")
@click.option("--path", metavar="PATH", help="The one path that the ticket opens. Default: any.")
@click.option("--expires", type=float, metavar="SECONDS", help="End the connection this many seconds from now.")
@as_json
def token(
    user: str, place: PagesChoice, name: str | None, claims: str | None, path: str | None, expires: float | None, json_output: bool,
) -> None:  # fmt: skip
    """Make a ticket that lets USER open one connection."""
    wanted: dict[str, object] = {"identity": user}
    if claims is not None:
        try:
            wanted["claims"] = json.loads(claims)
        except ValueError:
            wanted["claims"] = None
        if not isinstance(wanted["claims"], dict):
            raise CommandFailed("--claims: expected a JSON object", Exit.USAGE)
    if path is not None:
        wanted["path"] = path
    if expires is not None:
        wanted["expires"] = time.time() + expires
    pages = place.pages()
    chosen = name or _only_ticket_section(place.config, chosen_url(place.config, place.url))
    answer = pages.ask(
        "POST", f"/api/tickets/{segment(chosen)}", body=json.dumps(wanted).encode(), headers={"Content-Type": "application/json"}
    )
    if json_output:
        print_json(answer)
    else:
        click.echo(harmless(str(answer["ticket"])))


def _only_ticket_section(config: str | None, url: str | None) -> str:
    from ..settings import ini

    if url is not None and config is None:
        raise CommandFailed("name the section [auth:NAME]: --auth NAME", Exit.USAGE)
    file = settings_file(config)
    settings, _ = ini.read(file)
    names = [] if settings is None else [auth.name for auth in settings.auths if auth.kind == "ticket"]
    if len(names) != 1:
        raise CommandFailed(f"{file} has {len(names)} sections [auth:NAME] with kind = ticket: --auth NAME chooses one", Exit.USAGE)
    return names[0]
