"""`wsdaemon connect`."""

from __future__ import annotations

import sys
from typing import Any

import click

from ..settings.form import DurationForm
from ..settings.problems import BadValue
from .client_options import client_options, make_client
from .conversation import Conversation
from .exits import CommandFailed, Exit
from .output import as_json
from .prompt import Prompt
from .showing import JsonShown, PipeShown, TerminalShown


def seconds(text: str, option: str) -> float:
    """A duration of the command line, such as 10s. CommandFailed."""
    try:
        return DurationForm().convert(text)
    except BadValue as error:
        raise CommandFailed(f"{option}: {error}", Exit.USAGE) from None


@click.command()
@click.argument("url")
@client_options
@click.option("-b", "--binary", is_flag=True, help="Send binary messages: of a pipe each piece that is read, of a terminal each line.")
@click.option("--wait", default="0", metavar="TIME", help="How long to stay after the end of standard input. Default: 0.")
@click.option("--close-timeout", default="30s", metavar="TIME", help="How long the closing handshake may take. Default: 30s.")
@click.option("--ping-interval", default="25s", metavar="TIME", help="How long the connection may be silent before a ping. 0: no pings.")
@click.option("-v", "--verbose", is_flag=True, help="Tell of the opening and of the end, also without a terminal.")
@as_json
def connect(
    url: str, binary: bool, wait: str, close_timeout: str, ping_interval: str, verbose: bool, json_output: bool, **given: Any
) -> int:
    """Talk to a WebSocket server.

    On a terminal, each line is a message; Ctrl-D closes the connection, and /help shows the commands. In a pipe, each line of standard
    input is a text message and each message a line of standard output. At the end of standard input the client sends a Close frame, and
    prints messages until the closing handshake has ended.

    The exit status is 0 if that ended with 1000, 1001 or no code, 4 if the server was not reached, 5 if it refused, and 6 if the
    connection was lost or closed with another code.
    """
    interactive = sys.stdin.isatty() and sys.stdout.isatty() and not json_output
    prompt = Prompt() if interactive else None
    shown: JsonShown | TerminalShown | PipeShown
    if json_output:
        shown = JsonShown()
    elif prompt is not None:
        shown = TerminalShown(prompt.above)
    else:
        shown = PipeShown(binary, verbose or sys.stderr.isatty())
    conversation = Conversation(shown, binary=binary, linger=seconds(wait, "--wait"), prompt=prompt)
    client = make_client(
        url, given, conversation.callbacks(), close_timeout=close_timeout, ping_interval=ping_interval, queue="wait", queue_bytes="64MiB"
    )
    return conversation.hold(client)
