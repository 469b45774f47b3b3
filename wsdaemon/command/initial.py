"""`wsdaemon init`: a commented ws.ini, and systemd units for this machine."""

from __future__ import annotations

import os
import pwd
import secrets
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from .exits import CommandFailed, Exit
from .initial_texts import InitialChoices, SystemdKind, settings_text, unit_texts

SYSTEMD_RUNS = Path("/run/systemd/system")
"""A directory that exists if systemd runs the machine; sd_booted(3)."""

TOKEN_FILE = "admin-token"  # noqa: S105 - the name of the file


@click.command()
@click.argument("directory", default=".", type=click.Path(file_okay=False))
@click.option("--address", metavar="ADDRESS", help="Where the daemon listens. Default: tcp:8080:interface=127.0.0.1.")
@click.option("--mount", "mounts", multiple=True, metavar="PATH=APP", help="A mount and its app. May be repeated. Default: /echo=echo.")
@click.option("--tls-certificate", metavar="FILE", help="The certificate and its chain, as PEM. Needs --tls-key.")
@click.option("--tls-key", metavar="FILE", help="The key of the certificate, as PEM.")
@click.option("--workers", metavar="N", help="How many processes serve; a number or `auto`. Default: one process without a supervisor.")
@click.option("--admin/--no-admin", default=None, help="Admin pages on 127.0.0.1:9464, with a token in a file of its own.")
@click.option(
    "--systemd", type=click.Choice([kind.value for kind in SystemdKind]), help="The systemd units: `socket` has systemd open the port."
)
@click.option("--user", metavar="NAME", help="The account of the service. Default: one that systemd makes (DynamicUser=).")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing: take the defaults.")
@click.option("--force", is_flag=True, help="Overwrite files.")
def init(directory: str, yes: bool, force: bool, **given: Any) -> None:
    """Write ws.ini, and systemd units for this machine, into DIRECTORY. The result passes `wsdaemon check`."""
    ask = not yes and sys.stdin.isatty()
    folder = Path(directory).absolute()
    choices = _choices(given, ask, folder)
    files: dict[Path, tuple[str, int]] = {folder / "ws.ini": (settings_text(choices), 0o644)}
    if choices.admin:
        files[folder / TOKEN_FILE] = (secrets.token_hex(32) + "\n", 0o600)
    units = unit_texts(choices, folder / "ws.ini")
    files |= {folder / name: (text, 0o644) for name, text in units.items()}
    _write(files, force)
    if choices.admin and choices.user is not None:
        _give_token(folder / TOKEN_FILE, choices.user)
    for path in files:
        click.echo(f"wrote {path}")
    _check(folder / "ws.ini")
    _tell_next(choices, folder, units)


def _choices(given: dict[str, Any], ask: bool, folder: Path) -> InitialChoices:
    """The choices of the flags, of the answers to questions, and of the defaults. CommandFailed."""
    kind = given["systemd"]
    if kind is None:
        kind = "none"
        if ask and SYSTEMD_RUNS.is_dir():
            kind = click.prompt("systemd units", type=click.Choice([each.value for each in SystemdKind]), default="service")
    systemd = SystemdKind(kind)
    address = given["address"]
    if address is None and systemd is not SystemdKind.SOCKET:
        address = "tcp:8080:interface=127.0.0.1"
        if ask:
            address = click.prompt("Address to listen on", default=address)
    mounts = list(given["mounts"])
    if not mounts:
        mounts = [click.prompt("First mount, as PATH=APP", default="/echo=echo")] if ask else ["/echo=echo"]
    if (given["tls_certificate"] is None) != (given["tls_key"] is None):
        raise CommandFailed("--tls-certificate and --tls-key belong together", Exit.USAGE)
    # A user that systemd makes anew could not read the file with the token.
    may_have_admin = systemd is SystemdKind.NONE or given["user"] is not None
    admin = given["admin"]
    if admin and not may_have_admin:
        raise CommandFailed("--admin with units needs --user NAME: an account that can read the token", Exit.USAGE)
    if admin is None:
        admin = may_have_admin and (not ask or click.confirm("Admin pages on 127.0.0.1:9464", default=True))
    if given["user"] is not None:
        _known(given["user"])
    return InitialChoices(
        address=address or "tcp:8080", mounts=_mounts(mounts), workers=given["workers"], admin=admin, systemd=systemd, user=given["user"],
        tls=None if given["tls_key"] is None else (_absolute(given["tls_certificate"]), _absolute(given["tls_key"])),
    )  # fmt: skip


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


def _known(user: str) -> None:
    try:
        pwd.getpwnam(user)
    except KeyError:
        raise CommandFailed(f"--user: there is no account {user}", Exit.USAGE) from None


def _mounts(given: list[str]) -> tuple[tuple[str, str], ...]:
    found = []
    for text in given:
        path, between, app = text.rpartition("=")
        if not between or not path.startswith("/") or not app or any(ord(character) < 33 for character in text) or "]" in path:
            raise CommandFailed(f"--mount {text}: expected PATH=APP, as in /echo=echo", Exit.USAGE)
        found.append((path, app))
    return tuple(found)


def _write(files: dict[Path, tuple[str, int]], force: bool) -> None:
    """All files, or none if one is there already and `force` is not given. CommandFailed."""
    there = [str(path) for path in files if path.exists() or path.is_symlink()]
    if there and not force:
        raise CommandFailed(f"{', '.join(there)}: there already; --force overwrites")
    try:
        for path, (text, mode) in files.items():
            _make_folder(path.parent)
            new = path.with_name(f".{path.name}.{os.getpid()}")
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(descriptor, mode)  # a umask such as 077 would hide the settings from the user of the units
                file.write(text)
            if force:
                new.replace(path)
            else:
                try:
                    path.hardlink_to(new)  # unlike a rename it overwrites no file that has come meanwhile
                finally:
                    new.unlink()
    except OSError as error:
        raise CommandFailed(f"{error.filename or path}: {error.strerror or error}") from None


def _make_folder(folder: Path) -> None:
    """Make a folder that every user can enter, whatever the umask. One that exists keeps its mode. OSError."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in missing:
        each.chmod(0o755)


def _give_token(token: Path, user: str) -> None:
    """Make the token's file that of the units' user, which only root can do: if it stays another's, a warning says so."""
    account = pwd.getpwnam(user)
    if os.geteuid() == 0:
        os.chown(token, account.pw_uid, account.pw_gid)
    elif os.geteuid() != account.pw_uid:
        click.echo(f"warning: {user} cannot read {token}, because only root can give it away: chown {user} {token}", err=True)


def _check(file: Path) -> None:
    """The checks of `wsdaemon check`. CommandFailed with every problem."""
    from ..daemon.check import examine
    from ..daemon.reactor import install
    from ..settings import ini

    settings, problems = ini.read(file)
    if settings is not None:
        install()
        checked = examine(settings, Path.cwd())
        problems += checked.problems
        for warning in checked.warnings:
            click.echo(f"warning: {warning}", err=True)
    if problems:
        raise CommandFailed(f"{file} needs your hand before a daemon can start:\n" + "\n".join(str(problem) for problem in problems))


def _tell_next(choices: InitialChoices, folder: Path, units: Iterable[str]) -> None:
    click.echo()
    if choices.systemd is SystemdKind.NONE:
        click.echo(f"Start it: wsdaemon run -c {folder / 'ws.ini'}")
        return
    names = " ".join(str(folder / name) for name in units)
    started = "wsdaemon.socket wsdaemon-activated.service" if choices.systemd is SystemdKind.SOCKET else "wsdaemon.service"
    click.echo(f"Check the units:   systemd-analyze verify {names}")
    click.echo(f"Install the units: cp {names} /etc/systemd/system/ && systemctl daemon-reload && systemctl enable --now {started}")
