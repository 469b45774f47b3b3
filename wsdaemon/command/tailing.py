"""`tail`: the frames of one connection of a daemon, as they pass."""

from __future__ import annotations

import base64
import contextlib
import json
import sys
import time
from typing import Any

import click

from ..client import WebSocketClient
from ..core.closing import NORMAL
from ..core.sizes import size_text
from .admin_api import AdminPages, PagesChoice, admin_options
from .client_options import failure_of
from .exits import CommandFailed, Exit
from .output import as_json, coloured, harmless, print_json

LIVE_PATH = "/console/live"
"""The WebSocket of the admin pages."""

LARGEST_MESSAGE = "8MiB"
"""Of the daemon: as many frames as one tap holds, whose payloads JSON writes with up to six characters a byte."""

SHOWN_BYTES = 32
"""Bytes of a binary payload in one line."""

REFUSALS = {4401: Exit.REFUSED, 4403: Exit.REFUSED, 4404: Exit.FAILED, 4429: Exit.BUSY, 1013: Exit.BUSY}
"""The exit status for the close codes with which the daemon shows no frames."""


@click.command()
@click.argument("id", metavar="ID")
@admin_options
@click.option("--payload", is_flag=True, help="Show what is in the frames too, up to 4 KiB of each. Needs [admin] tap = payload.")
@click.option("--count", default=0, type=click.IntRange(0), metavar="N", help="End after N frames; 0: with the connection. Default: 0.")
@as_json
def tail(id: str, place: PagesChoice, payload: bool, count: int, json_output: bool) -> int:
    """Show the frames of one connection as they pass, by the id that `ls` and the log show.

    Of each frame: the time, the direction (in: from the client), the type, the bytes of payload on the wire, whether the message goes on in
    a further frame, and whether it is compressed. The payload itself is left out unless --payload is given. Needs `[admin] tap = on`, and a
    token with the role operate. With --json each frame is one line. Ends with the connection, or with Ctrl-C.
    """
    return Tail(place.pages(), id, payload, count, FrameLines(json_output)).run()


class FrameLines:
    """Frames on standard output, one a line; the rest on standard error."""

    def __init__(self, json_output: bool) -> None:
        self._json = json_output
        self._colours = coloured(sys.stdout)

    def began(self, connection: dict[str, Any], payload: bool) -> None:
        """The frames of this connection follow."""
        text = f"{connection['id']}: {connection['mount']}, {connection['address']}, {'with' if payload else 'without'} payloads"
        click.echo(harmless(text), err=True)

    def frame(self, record: dict[str, Any]) -> None:
        """One frame."""
        if self._json:
            print_json(record)
            return
        moment = time.strftime("%H:%M:%S", time.localtime(record["time"])) + f".{int(record['time'] * 1000) % 1000:03d}"
        marks = [str(record["type"]), size_text(record["size"])]
        marks += [mark for mark, there in (("to be continued", not record["final"]), ("compressed", record["compressed"])) if there]
        marks += [f"code {record['code']}"] if "code" in record else []
        head = f"{moment} {record['direction']:<3} {', '.join(marks)}"
        text = harmless(payload_text(record))
        click.echo(f"{self._styled(harmless(head), record)}{f': {text}' if text else ''}")

    def dropped(self, count: int) -> None:
        """So many frames came too fast."""
        if self._json:
            print_json({"dropped": count})
        else:
            click.echo(f"{count} frames were not shown, because they came too fast", err=True)

    def over(self, reason: str) -> None:
        """No more frames follow."""
        if self._json:
            print_json({"over": reason})
        else:
            click.echo(harmless(reason), err=True)

    def _styled(self, text: str, record: dict[str, Any]) -> str:
        if not self._colours:
            return text
        if record["opcode"] >= 8:
            return click.style(text, fg="red" if record["opcode"] == 8 else "yellow")
        return click.style(text, fg="cyan" if record["direction"] == "in" else "green")


def payload_text(record: dict[str, Any]) -> str:
    """The payload of a frame in one line: text as it is, bytes as hexadecimal digits. Empty if it is not there."""
    payload = record.get("payload")
    if payload is None:
        return ""
    more = " ..." if record.get("cut") else ""
    if record.get("encoding") != "base64":
        return f"{payload}{more}"
    data = base64.b64decode(payload)
    return data[:SHOWN_BYTES].hex(" ") + (" ..." if len(data) > SHOWN_BYTES else more)


class Tail:
    """One tap, from its request to its end."""

    def __init__(self, pages: AdminPages, id: str, payload: bool, count: int, lines: FrameLines) -> None:
        self._pages = pages
        self._wanted = {"token": pages.token or "", "tap": {"connection": id, "payload": payload}}
        self._left = count
        self._lines = lines
        self._failure: CommandFailed | None = None
        self._closed: tuple[int, str] | None = None
        self._over = False

    def run(self) -> int:
        """The exit status. CommandFailed."""
        pages = self._pages
        client = WebSocketClient(
            f"ws{pages.url.removeprefix('http')}{LIVE_PATH}", headers={} if pages.host is None else {"Host": pages.host}, tls=pages.tls,
            unix=pages.unix, on_open=self._on_open, on_message=self._on_message, on_close=self._on_close, on_error=self._on_error,
            reconnect=False, compression=False, ping_interval="25s", max_message=LARGEST_MESSAGE,
        )  # fmt: skip
        with contextlib.suppress(Exception):  # a failure is told by on_error
            client.run_forever()
        if self._failure is not None:
            raise self._failure
        if self._over or self._closed is None:
            return Exit.DONE
        code, reason = self._closed
        text = f"{self._pages.where}: {reason or f'the connection to the daemon was closed with {code}'}"
        raise CommandFailed(text, REFUSALS.get(code, Exit.LOST))

    def _on_open(self, client: WebSocketClient) -> None:
        client.send(json.dumps(self._wanted))

    def _on_message(self, client: WebSocketClient, message: str | bytes) -> None:
        try:
            self._show(client, json.loads(message))
        except BrokenPipeError:  # the reader of our output has enough
            self._failure = CommandFailed("standard output is closed")
            client.close()
        except (ValueError, KeyError, TypeError, AttributeError):
            self._failure = CommandFailed(f"{self._pages.where}: the answer is none of a wsdaemon of this version")
            client.close()

    def _show(self, client: WebSocketClient, found: dict[str, Any]) -> None:
        if self._over:
            return
        if "tap" in found:
            self._lines.began(found["tap"], found["payload"])
        elif "over" in found:
            self._over = True
            self._lines.over(found["over"])
        else:
            for record in found["frames"]:
                self._lines.frame(record)
                self._left -= 1
                if not self._left:
                    self._over = True
                    client.close()
                    return
            if found["dropped"]:
                self._lines.dropped(found["dropped"])

    def _on_close(self, client: WebSocketClient, code: int, reason: str) -> None:
        self._closed = code, reason
        self._over = self._over or code == NORMAL

    def _on_error(self, client: WebSocketClient, error: BaseException) -> None:
        self._failure = self._failure or CommandFailed(f"{self._pages.where}: {failure_of(error)}", Exit(failure_of(error).exit_code))
        client.close()
