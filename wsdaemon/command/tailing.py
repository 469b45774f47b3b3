"""`tail`: the frames of one connection of a daemon, as they pass."""

from __future__ import annotations

import base64
import contextlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from ..client import WebSocketClient
from ..core.closing import NORMAL, SERVICE_RESTART
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

NO_CONNECTION = 4404

PAUSES_SECONDS = (0.1, 0.4, 1.0, 2.0)
"""Before each new try, if frames were shown and a reload or an upgrade has ended that."""


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
    token with the role operate. With --json each frame is one line. Ends with the connection, or with Ctrl-C. A reload or an upgrade of the
    daemon does not end it: it asks again, and says so.
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
        text += f", in worker {connection['worker']}" if "worker" in connection else ""
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

    def again(self, reason: str) -> None:
        """The daemon is asked again for the frames; some may be missing."""
        if self._json:
            print_json({"again": reason})
        else:
            click.echo(f"{harmless(reason)}: asking again; frames may be missing here", err=True)

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
    form = "not inflated: " if record["compressed"] and not record.get("inflated") else ""
    return form + data[:SHOWN_BYTES].hex(" ") + (" ..." if len(data) > SHOWN_BYTES else more)


class Tail:
    """The frames of one connection, from the first request to its end. After a reload or an upgrade they are asked for again."""

    def __init__(
        self, pages: AdminPages, id: str, payload: bool, count: int, lines: FrameLines, pause: Callable[[float], None] = time.sleep
    ) -> None:  # fmt: skip
        self._pages = pages
        self._wanted = {"token": pages.token or "", "tap": {"connection": id, "payload": payload}}
        self._left = count
        self._lines = lines
        self._pause = pause
        self._tries = 0
        """New tries since frames were shown the last time."""
        self._shown = False
        self._failure: CommandFailed | None = None
        self._unreached: CommandFailed | None = None
        self._closed: tuple[int, str] | None = None
        self._again = ""
        """Why the daemon is to be asked again."""
        self._over = False

    def run(self) -> int:
        """The exit status. CommandFailed."""
        while True:
            self._look()
            if self._failure is not None:
                raise self._failure
            if self._over:
                return Exit.DONE
            if self._tries == len(PAUSES_SECONDS) or not self._to_be_asked_again():
                return self._end()
            self._pause(PAUSES_SECONDS[self._tries])
            self._tries += 1

    def _look(self) -> None:
        """Show frames for as long as the daemon sends them."""
        pages = self._pages
        self._unreached, self._closed, self._again = None, None, ""
        client = WebSocketClient(
            f"ws{pages.url.removeprefix('http')}{LIVE_PATH}", headers={} if pages.host is None else {"Host": pages.host}, tls=pages.tls,
            unix=pages.unix, on_open=self._on_open, on_message=self._on_message, on_close=self._on_close, on_error=self._on_error,
            reconnect=False, compression=False, ping_interval="25s", max_message=LARGEST_MESSAGE,
        )  # fmt: skip
        with contextlib.suppress(Exception):  # a failure is told by on_error
            client.run_forever()

    def _to_be_asked_again(self) -> bool:
        """Whether frames were shown, and their end may be that of a reload or an upgrade."""
        if not self._shown:
            return False
        code, reason = self._closed or (0, "")
        if not self._tries and (self._again or code == SERVICE_RESTART):
            self._lines.again(self._again or reason)
            return True
        # the daemon may not have the connection in its new process yet, or no place to be asked at
        return bool(self._tries) and (code in (NO_CONNECTION, SERVICE_RESTART) or self._unreached is not None)

    def _end(self) -> int:
        """The exit status. CommandFailed."""
        if self._unreached is not None:
            raise self._unreached
        if self._closed is None:
            return Exit.DONE
        code, reason = self._closed
        if code == NO_CONNECTION and self._shown:
            self._lines.over("the connection has ended while its frames were not shown")
            return Exit.DONE
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
            self._shown, self._tries = True, 0
        elif found.get("again"):
            self._again = found["over"]
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
        self._over = self._over or (code == NORMAL and not self._again)

    def _on_error(self, client: WebSocketClient, error: BaseException) -> None:
        self._unreached = self._unreached or CommandFailed(f"{self._pages.where}: {failure_of(error)}", Exit(failure_of(error).exit_code))
        client.close()
