"""`reload`, `drain`, `resume`, `upgrade` and `reopen-logs`, by way of the control channel."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from ..ops.control import BUSY, DONE, ControlError, Outcome, ask, possible_paths
from ..settings.addresses import UnixAddress
from ..settings.control import NONE
from .connecting import seconds
from .exits import CommandFailed, Exit
from .output import as_json, complain, harmless, print_json
from .serving import config_option, settings_file

control_option = click.option(
    "--control", type=click.Path(dir_okay=False), metavar="PATH", help="The socket of the control channel. Default: that of the INI file."
)


def control_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name a daemon's control channel: config and control."""
    return config_option(control_option(command))


def control_paths(config: str | None, control: str | None) -> list[Path]:
    """The sockets that the daemon may have, the most likely one first. CommandFailed if the INI file has none.

    The file may have problems: it is the daemon that says which.
    """
    if control is not None:
        return [Path(control)]
    from ..settings import ini

    file = settings_file(config)
    settings, _ = ini.read(file)
    chosen = None if settings is None else settings.daemon.control
    if chosen == NONE:
        raise CommandFailed(f"{file}: [daemon] control = none, so that the daemon has no control channel")
    if isinstance(chosen, UnixAddress):
        return [Path(chosen.path)]
    return possible_paths(Path(file), os.environ, os.geteuid())


def tell(
    config: str | None, control: str | None, command: str, arguments: Mapping[str, Any] | None = None,
    on_line: Callable[[str], object] = click.echo,
) -> Outcome:  # fmt: skip
    """Have the daemon carry out an operation. CommandFailed if it cannot be asked."""
    paths = control_paths(config, control)
    failure: ControlError | None = None
    for path in paths:
        try:
            return ask(path, command, arguments, on_line)
        except ControlError as error:
            failure = failure or error
            if not isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError | PermissionError):
                raise CommandFailed(str(error), Exit.UNREACHABLE) from None
            if isinstance(error.__cause__, PermissionError):
                failure = error
    raise CommandFailed(str(failure), Exit.REFUSED if _is_forbidden(failure) else Exit.UNREACHABLE)


def _is_forbidden(failure: ControlError | None) -> bool:
    return failure is not None and isinstance(failure.__cause__, PermissionError)


def carry_out(config: str | None, control: str | None, json_output: bool, command: str, **arguments: object) -> int:
    """One operation: its progress, its results and its problems are printed; the exit status is the answer's."""
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        click.echo(harmless(line), err=json_output)

    outcome = tell(config, control, command, arguments, say)
    if json_output:
        print_json({"status": outcome.status, "problems": list(outcome.problems), **outcome.result})
    else:
        for line in _result_lines(outcome.result, said):
            click.echo(harmless(line))
    for problem in outcome.problems:
        complain(problem)
    if outcome.status == BUSY:
        if not outcome.problems:
            complain("the daemon is busy with another operation")
        return Exit.BUSY
    return Exit.DONE if outcome.status == DONE else Exit.FAILED


def _result_lines(result: Mapping[str, Any], said: Container[str]) -> Iterator[str]:
    """The results as lines, without entries that the lines of progress have told already."""
    for name, value in result.items():
        title = name.replace("_", " ")
        if isinstance(value, list):
            yield from (f"{title}: {each}" for each in value if str(each) not in said)
            if not value:
                yield f"{title}: none"
        else:
            yield f"{title}: {json.dumps(value) if isinstance(value, dict) else value}"


@click.command("reload")
@control_options
@click.option("--dry-run", is_flag=True, help="Check the settings and print the difference, and change nothing.")
@as_json
def reload_settings(config: str | None, control: str | None, dry_run: bool, json_output: bool) -> int:
    """Have the daemon read its settings again: all of them, or none if there is any problem."""
    return carry_out(config, control, json_output, "reload", dry_run=dry_run)


@click.command()
@control_options
@click.option("--over", metavar="TIME", help="Close the open connections evenly over this time. Default: `drain_over` of the INI file.")
@as_json
def drain(config: str | None, control: str | None, over: str | None, json_output: bool) -> int:
    """Take the daemon out of a balancer: readiness answers 503, and open connections are closed. It goes on accepting."""
    given = {} if over is None else {"over": seconds(over, "--over")}
    return carry_out(config, control, json_output, "drain", **given)


@click.command()
@control_options
@as_json
def resume(config: str | None, control: str | None, json_output: bool) -> int:
    """Take a drain back: readiness answers 200 again."""
    return carry_out(config, control, json_output, "resume")


@click.command()
@control_options
@as_json
def upgrade(config: str | None, control: str | None, json_output: bool) -> int:
    """Replace the daemon's code, with no connection refused or lost. Needs `workers`."""
    return carry_out(config, control, json_output, "upgrade")


@click.command("reopen-logs")
@control_options
@as_json
def reopen_logs(config: str | None, control: str | None, json_output: bool) -> int:
    """Have the daemon open its log file anew, after a rotation."""
    return carry_out(config, control, json_output, "reopen-logs")
