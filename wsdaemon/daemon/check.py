"""`--check`: everything that a start would need, without serving."""

from __future__ import annotations

import sys

from ..apps.loading import LoadError
from ..core.connection import Connection
from ..edge.auth.make import AuthError, make_authenticators
from ..edge.tls import CertificateError
from ..settings.model import Settings
from .listeners import load_certificates
from .mounts import load_target, make_mount_app


def check(settings: Settings) -> int:
    """Print what would be served and what is wrong; the exit status, 0 or 1."""
    problems = [*_mount_problems(settings), *_certificate_problems(settings), *_auth_problems(settings)]
    for problem in problems:
        print(f"wsdaemon: {problem}", file=sys.stderr)
    if problems:
        return 1
    for warning in settings.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for listener in settings.listeners:
        scheme = "wss" if listener.secure else "ws"
        print(f"listener {listener.name}: {scheme} on {listener.address}")
        for mount in settings.mounts:
            if not listener.mounts or mount.path in listener.mounts:
                print(f"  {mount.path}  {mount.app}")
    if settings.admin is not None:
        print(f"admin: http on {settings.admin.address}")
    print(f"{settings.source} is good")
    return 0


def _mount_problems(settings: Settings) -> list[str]:
    sys.path[:0] = [str(path) for path in settings.daemon.python_path]
    problems = []
    for mount in settings.mounts:
        try:
            make_mount_app(mount, load_target(mount), _ignored)
        except LoadError as error:
            problems.append(f"{settings.source}: [mount:{mount.path}] app = {error}")
    return problems


def _ignored(connection: Connection, doing: str, error: BaseException) -> None:
    """No connection is ever made."""


def _certificate_problems(settings: Settings) -> list[str]:
    problems = []
    for listener in settings.listeners:
        try:
            load_certificates(settings, listener)
        except CertificateError as error:
            problems.append(f"{settings.source}: [listener:{listener.name}] {error}")
    return problems


def _auth_problems(settings: Settings) -> list[str]:
    try:
        make_authenticators(settings)
    except AuthError as error:
        return list(error.problems)
    return []
