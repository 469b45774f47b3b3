"""`wsdaemon run` and `wsdaemon check`."""

from __future__ import annotations

import grp
import os
import pwd
import sys
import sysconfig
from pathlib import Path
from typing import NoReturn

import click

from .exits import CommandFailed, Exit
from .output import as_json, coloured, print_json

PLACES = ("ws.ini", "/etc/wsdaemon/ws.ini")
"""The files that are taken when the command line names none, the first that exists."""

TWISTD = "from twisted.scripts.twistd import run; run()"
"""The program of the script `twistd`, where that is not installed beside this Python."""


def settings_file(given: str | None) -> str:
    """The INI file of the command line, or the first that exists. CommandFailed if there is none, or another user can have made it.

    A settings file names the code that a daemon runs, and a command may stand in any directory.
    """
    if given is not None:
        return given
    for place in PLACES:
        if Path(place).is_file():
            if not all(_is_ours(each) for each in (Path(place), Path(place).absolute().parent)):
                text = f"{place} or its directory belongs to another user, or others may write to it: if you trust it, name it with -c"
                raise CommandFailed(text, Exit.USAGE)
            return place
    raise CommandFailed(f"name the INI file: -c FILE (there is no {' and no '.join(PLACES)}); `wsdaemon init` writes one", Exit.USAGE)


def _is_ours(path: Path) -> bool:
    """Whether only this user and root can change a file or directory. A group of the user's own, with its name, has no other members."""
    found, user = path.stat(), os.geteuid()
    if found.st_uid not in (0, user) or found.st_mode & 0o002:
        return False
    if not found.st_mode & 0o020 or found.st_gid == 0:
        return True
    try:
        group, name = grp.getgrgid(found.st_gid), pwd.getpwuid(user).pw_name
    except KeyError:
        return False
    return group.gr_name == name and set(group.gr_mem) <= {name}


config_option = click.option(
    "-c", "--config", metavar="FILE", type=click.Path(dir_okay=False), help="The INI file. Default: ws.ini here, or /etc/wsdaemon/ws.ini."
)


def twistd_line(file: str, twistd: tuple[str, ...] = (), options: tuple[str, ...] = ()) -> list[str]:
    """The command line that serves `file` in the foreground: the start that `twistd -n wsdaemon -c FILE` has."""
    script = Path(sysconfig.get_path("scripts"), "twistd")
    program = [str(script)] if script.is_file() else ["-c", TWISTD]
    return [sys.executable, *program, "--nodaemon", *twistd, "wsdaemon", *options, "-c", file]


@click.command()
@config_option
@click.option("--pidfile", default="", metavar="FILE", help="Write the process id there. Default: no file.")
@click.option("--uid", metavar="USER", help="Become this user once the ports are open (only for root).")
@click.option("--gid", metavar="GROUP", help="Become this group once the ports are open (only for root).")
@click.option(
    "--dev", is_flag=True,
    help="For development, on this machine alone: restart when code changes, show exceptions in close reasons, accept pages of localhost, "
    "and show frames on a terminal.",
)  # fmt: skip
@click.option("--frame-log", is_flag=True, help="With --dev: show frames also if standard error is no terminal.")
def run(config: str | None, pidfile: str, uid: str | None, gid: str | None, dev: bool, frame_log: bool) -> NoReturn:
    """Serve an INI file in the foreground.

    The process becomes `twistd --nodaemon wsdaemon -c FILE`: the same start, the same signals, the same exit status. Ctrl-C stops it.
    """
    file = settings_file(config)
    given = {"--uid": uid, "--gid": gid}
    if frame_log and not dev:
        raise click.UsageError("--frame-log shows frames with --dev alone")
    options = tuple(name for name, chosen in (("--dev", dev), ("--frame-log", frame_log)) if chosen)
    twistd = (f"--pidfile={pidfile}", *(f"{name}={value}" for name, value in given.items() if value is not None))
    line = twistd_line(file, twistd, options)
    if coloured(sys.stderr):
        click.echo(click.style(f"wsdaemon serves {file}; Ctrl-C stops it", dim=True), err=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(line[0], line)  # noqa: S606 - this Python


@click.command()
@config_option
@click.option("--print-config", is_flag=True, help="Print the effective settings as an INI file instead.")
@as_json
def check(config: str | None, print_config: bool, json_output: bool) -> int | None:
    """Check an INI file as a start would, without serving.

    Files, imports, certificates and addresses are checked. A daemon that runs beside it notices nothing. The exit status is 1 if a
    start would fail.
    """
    file = settings_file(config)
    if json_output and print_config:
        raise click.UsageError("--print-config prints an INI file, and --json prints JSON: choose one")
    if json_output:
        return _check_as_json(file)
    from ..tap import Options

    # The end is a SystemExit with the status.
    Options().parseOptions(["--config", file, "--print-config" if print_config else "--check"])  # type: ignore[no-untyped-call]
    return None


def _check_as_json(file: str) -> int:
    from ..daemon.check import Checked, examine
    from ..daemon.reactor import install
    from ..settings import ini

    settings, problems = ini.read(file)
    checked = Checked()
    if settings is not None:
        install()
        checked = examine(settings, Path.cwd())
        problems += checked.problems
    fields = ("source", "line", "section", "key", "value", "message")
    found = [{name: getattr(problem, name) for name in fields} for problem in sorted(problems, key=lambda each: each.line or 0)]
    answer: dict[str, object] = {"file": file, "good": not found, "problems": found, "warnings": list(checked.warnings)}
    if settings is not None:
        answer["listeners"] = [
            {
                "name": listener.name,
                "address": str(listener.address),
                "scheme": "wss" if listener.secure else "ws",
                "mounts": [mount.path for mount in settings.mounts if not listener.mounts or mount.path in listener.mounts],
            }
            for listener in settings.listeners
        ]
        answer["mounts"] = [{"path": mount.path, "app": str(mount.app)} for mount in settings.mounts]
        answer["admin"] = None if settings.admin is None else str(settings.admin.address)
    print_json(answer)
    return Exit.FAILED if found else Exit.DONE
