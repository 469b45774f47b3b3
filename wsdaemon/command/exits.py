"""The exit statuses of all commands, and the failure that ends one."""

from __future__ import annotations

import enum
from typing import IO, Any

import click

from .output import complain


class Exit(enum.IntEnum):
    """The exit status of a command. docs/command.md has the same table."""

    DONE = 0
    FAILED = 1
    """The command found a problem, or the daemon answered with one."""
    USAGE = 2
    """The command line is wrong."""
    BUSY = 3
    """The daemon is busy with another operation: try again later."""
    UNREACHABLE = 4
    """No connection: DNS, TCP, TLS, a certificate, a proxy, or no answer in time."""
    REFUSED = 5
    """The server answered, and refused: an HTTP status other than 101, a missing token."""
    LOST = 6
    """The connection ended otherwise than with the close codes 1000, 1001 or none."""
    INTERRUPTED = 130
    """Ctrl-C, as shells report it."""


class CommandFailed(click.ClickException):
    """Ends the command: the message goes to standard error."""

    def __init__(self, message: str, status: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.exit_code = int(status)  # type: ignore[misc]  # each instance has its own

    def show(self, file: IO[Any] | None = None) -> None:
        """One line as all messages of the command have it."""
        complain(self.message)
