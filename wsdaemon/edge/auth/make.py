"""From [auth:NAME] sections to authenticators. Each kind's module, and the library behind it, is loaded when a section asks for it."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.logger import Logger

from ...core.failed_logins import FailedLogins
from ...core.reloading import Reloading
from ...settings.auth import (
    AuthSettings,
    BasicAuthSettings,
    HttpAuthSettings,
    JwtAuthSettings,
    TicketAuthSettings,
    TlsAuthSettings,
)
from ...settings.model import Settings
from ...settings.problems import Problem
from .chain import Chain
from .contract import Authenticator
from .files import FileError

# Each kind is imported where it is made: a daemon that checks no token does not pay for the libraries in memory.

if TYPE_CHECKING:
    from .shared_tickets import TicketShelf

log = Logger(namespace="wsdaemon.auth")


class AuthError(Exception):
    """Sections that cannot be used. `problems` has all; `str()` is one line for each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Authenticators(Mapping[str, Authenticator]):
    """The authenticators of all sections by name. A part of the daemon that is started and stopped."""

    def __init__(self, authenticators: Iterable[Authenticator], failed_logins: FailedLogins | None = None) -> None:
        self._by_name = {each.name: each for each in authenticators}
        self.failed_logins = failed_logins or FailedLogins(log)
        """Logs the failed logins of all mounts, and of the admin pages."""

    def __getitem__(self, name: str) -> Authenticator:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def chain(self, names: Iterable[str]) -> Chain | None:
        """The authenticators of a mount with `auth = names`; None for a mount without authentication."""
        chosen = [self._by_name[name] for name in names]
        return Chain(chosen, failed=self.failed_logins) if chosen else None

    @property
    def files(self) -> list[Reloading]:
        """The files of all sections that are read again when they change."""
        return [file for each in self._by_name.values() for file in each.files]

    def refresh(self) -> None:
        """SIGHUP: take changed files into use now."""
        for each in self._by_name.values():
            each.refresh()

    async def start(self) -> None:
        """Nothing to do: threads and connections are made when they are needed first."""

    async def stop(self) -> None:
        """Let go of threads and connections."""
        await self.stop_without(())

    async def stop_without(self, kept: Collection[Authenticator]) -> None:
        """The same but for those in `kept`, which serve on after a reload."""
        for each in self._by_name.values():
            try:
                if each not in kept:
                    await each.close()
            except Exception:
                log.failure("[auth:{name}] did not stop cleanly", name=each.name)


def make_authenticators(
    settings: Settings, *, now: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic,
    shelf: TicketShelf | None = None, kept: Mapping[str, Authenticator] | None = None, failed_logins: FailedLogins | None = None,
) -> Authenticators:
    """Authenticators for all the sections, their files read. `now` gives seconds since 1970. AuthError with every problem.

    `shelf`: where tickets are kept for other processes too. `kept`: authenticators in force, by name, that a reload goes on with.
    """
    made: list[Authenticator] = []
    problems: list[Problem] = []
    for section in settings.auths:
        where = f"auth:{section.name}"
        if kept is not None and section.name in kept:
            made.append(kept[section.name])
            continue
        missing = [package for module, package in sorted(section.needs.items()) if importlib.util.find_spec(module) is None]
        if missing:
            verb = "is" if len(missing) == 1 else "are"
            needs = f"needs {' and '.join(missing)}, which {verb} not installed; pip install 'wsdaemon[auth]'"
            problems.append(settings.problem(where, needs, "kind", section.kind))
            continue
        try:
            made.append(_make(section, now, clock, shelf))
        except FileError as error:
            problems.append(settings.problem(where, str(error), _key_of(section, str(error))))
        except OSError as error:  # ssl.SSLError is one
            problems.append(settings.problem(where, error.strerror or "the file cannot be read", "ca_file"))
    if problems:
        raise AuthError(problems)
    return Authenticators(made, failed_logins)


def _key_of(section: AuthSettings, text: str) -> str | None:
    """The key that names the file with which `text` begins."""
    for each in fields(section):
        value = getattr(section, each.name)
        path = getattr(value, "path", value)
        if isinstance(path, Path) and text.startswith(f"{path}: "):
            return each.name
    return None


def _make(section: AuthSettings, now: Callable[[], float], clock: Callable[[], float], shelf: TicketShelf | None) -> Authenticator:
    """FileError, or OSError of a ca_file."""
    match section:
        case BasicAuthSettings():
            from .basic import BasicAuthenticator

            return BasicAuthenticator(section, clock)
        case JwtAuthSettings():
            from .jwt import JwtAuthenticator

            return JwtAuthenticator(section, now, clock)
        case TlsAuthSettings():
            from .tls import TlsAuthenticator

            return TlsAuthenticator(section, now)
        case HttpAuthSettings():
            from .http import HttpAuthenticator

            return HttpAuthenticator(section, clock)
        case TicketAuthSettings():
            from .ticket import TicketAuthenticator, TicketBook

            if shelf is not None:
                from .shared_tickets import SharedTicketBook

                return TicketAuthenticator(section.name, SharedTicketBook(shelf, section.lifetime, section.max_tickets, section.name), now)
            return TicketAuthenticator(section.name, TicketBook(clock, section.lifetime, section.max_tickets, section.name), now)
    raise TypeError(f"no authenticator for the kind {section.kind}")
