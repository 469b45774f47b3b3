"""The command itself: its subcommands, each imported when it is asked for, and its end."""

from __future__ import annotations

import importlib
import os
import signal
import sys

import click

from ..version import __version__
from .exits import CommandFailed, Exit
from .output import complain

PROGRAM = "wsdaemon"

SUBCOMMANDS = {
    "run": "serving:run",
    "check": "serving:check",
    "init": "initial:init",
    "connect": "connecting:connect",
    "bench": "bench:bench",
    "doctor": "doctor:doctor",
    "status": "standing:status",
    "top": "standing:top",
    "ls": "operating:list_connections",
    "kick": "operating:kick",
    "tail": "tailing:tail",
    "publish": "operating:publish",
    "token": "operating:token",
    "reload": "controlling:reload_settings",
    "drain": "controlling:drain",
    "resume": "controlling:resume",
    "upgrade": "controlling:upgrade",
    "reopen-logs": "controlling:reopen_logs",
    "completion": "completion:completion",
}
"""The module of each subcommand and the name in it, in the order of the help."""


class Subcommands(click.Group):
    """Imports the module of a subcommand when it is needed, so that `wsdaemon run` starts without the libraries of the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table."""
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The subcommand of that name."""
        if cmd_name not in SUBCOMMANDS:
            return None
        module, _, name = SUBCOMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(f"{__package__}.{module}"), name)
        return command


@click.group(
    name=PROGRAM,
    cls=Subcommands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="Exit statuses: 0 done, 1 failed, 2 wrong usage, 3 busy, 4 unreachable, 5 refused, 6 connection lost, 130 interrupted.",
)
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
def cli() -> None:
    """The WebSocket daemon: serves, checks and operates itself, and connects to other servers."""


@cli.result_callback()
def _end(status: int | None) -> None:
    """A subcommand returns its exit status, or None for success."""
    click.get_current_context().exit(int(status or Exit.DONE))


def main() -> None:
    """The program: runs the command line and ends the process with its exit status."""
    try:
        status = cli.main(prog_name=PROGRAM, standalone_mode=False)
    except click.ClickException as error:
        if isinstance(error, CommandFailed):
            error.show()
        else:
            _show_usage(error)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(Exit.INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output, such as `head`, has enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    sys.exit(status if isinstance(status, int) else Exit.DONE)


def _show_usage(error: click.ClickException) -> None:
    """A wrong command line: the usage, and the reason. Without any command: the help."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return
    if isinstance(error, click.UsageError) and error.ctx is not None:
        click.echo(error.ctx.get_usage(), err=True)
        click.echo(f"Try '{error.ctx.command_path} --help'.", err=True)
    complain(error.format_message())
