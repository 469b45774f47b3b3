"""The modules, files and sockets of a daemon. A start and `--check` take them by the same steps."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..apps.loading import LoadError
from ..core.absence import Absence, no_grace
from ..core.contract import Failed
from ..core.failed_logins import FailedLogins
from ..core.registry import Count
from ..edge.auth.contract import Authenticator
from ..edge.auth.files import FileError, WatchedFile
from ..edge.auth.make import Authenticators, AuthError, make_authenticators
from ..settings.broker import BrokerKind
from ..settings.listener import SpeaksTls
from ..settings.model import Settings
from ..settings.problems import Problem
from ..wire.frames import Frames, FramesUnavailable
from ..wire.frames import load as load_frames
from .apps import LoadedApp, load_app
from .listeners import load_certificates
from .order import NO_REDIS, has_redis, redis_brokers
from .parts import StartError
from .sockets import ADMIN, Bound, SocketSource, take_sockets
from .watch import Watch

if TYPE_CHECKING:
    from ..edge.auth.shared_tickets import TicketShelf
    from ..edge.certificates import Certificates
    from .brokers import Brokers
    from .redis import RedisBrokers
    from .shared import Shared


def find_modules(python_path: Iterable[Path], directory: Path) -> None:
    """Let imports find modules in `python_path` before all others, and in `directory` after all others."""
    before = [str(path) for path in python_path]
    sys.path[:0] = [path for path in before if path not in sys.path]
    if str(directory) not in sys.path:
        sys.path.append(str(directory))


def take_resources(
    settings: Settings, source: SocketSource, directory: Path | None, watch: Watch, absence: Absence, shared: Shared | None = None,
    kept: Kept | None = None,
) -> Resources:  # fmt: skip
    """The resources of a daemon. `directory` is by default the current one. `shared`: the parts that several workers share.
    `kept`: those in force that a reload goes on with.

    Redis, if [broker] asks for it, keeps rooms and tickets in place of the hub. StartError with every problem; then no socket is open.
    """
    redis = redis_brokers(settings, watch.connections) if kept is None else kept.redis
    brokers, shelf = (None, None) if shared is None else (shared.brokers, shared.tickets)
    if redis is not None:
        brokers, shelf = redis, redis.tickets
    resources = Resources(settings, source, watch.app_failed, directory or Path.cwd(), absence.grace, brokers, shelf, kept or NOTHING)
    resources.redis = redis
    if resources.problems:
        resources.close()
        raise StartError(*resources.problems)
    return resources


@dataclass(frozen=True, slots=True)
class Kept:
    """The resources in force that a reload goes on with."""

    apps: Mapping[str, LoadedApp] = field(default_factory=dict)
    """By the path of the mount."""
    authenticators: Mapping[str, Authenticator] = field(default_factory=dict)
    certificates: Mapping[str, Certificates] = field(default_factory=dict)
    """By the section of the listener or of the admin pages."""
    failed_logins: FailedLogins | None = None
    token: WatchedFile[str] | None = None
    tokens: Mapping[str, WatchedFile[str]] = field(default_factory=dict)
    redis: RedisBrokers | None = None
    threads: Count | None = None


NOTHING = Kept()


class Resources:
    """Modules, files and sockets. A fault of one hides no other: all are in `problems`, and nothing may be served if there is any."""

    def __init__(
        self, settings: Settings, source: SocketSource, app_failed: Failed, directory: Path, grace: Callable[[], float] = no_grace,
        brokers: Brokers | None = None, shelf: TicketShelf | None = None, kept: Kept = NOTHING,
    ) -> None:  # fmt: skip
        """`source` gives the sockets. `directory` is the one that the process was started in. `grace` is for rates, see Absence.
        `brokers` chooses the brokers of rooms, see `load_app`. `shelf` keeps tickets for other processes too.

        `kept` are those in force, in a reload.

        Nothing is served or started. If the process is told to stop meanwhile, no socket stays open.
        """
        self.problems: list[Problem] = []
        self.redis: RedisBrokers | None = None
        """The brokers of rooms in Redis."""
        self._settings = settings
        self._kept = kept
        find_modules(settings.daemon.python_path, directory)
        self.frames = self._load_frames()
        self.threads = kept.threads or Count(settings.daemon.max_threads)
        """The threads of plain functions, those of all mounts."""
        self.apps: dict[str, LoadedApp] = {}
        """By the path of the mount."""
        if settings.broker is not None and settings.broker.kind is BrokerKind.REDIS and not has_redis():
            self._report("broker", NO_REDIS, "kind", settings.broker.kind)
        self._load_apps(app_failed, grace, brokers)
        self.authenticators = self._load_authenticators(shelf)
        self.certificates: dict[str, Certificates] = {}
        """By the section of the listener or of the admin pages, if it speaks TLS."""
        self._load_all_certificates()
        self.token = self._load_token()
        self.tokens: dict[str, WatchedFile[str]] = {}
        """The tokens with some of the roles, by the name of the section."""
        self._load_tokens()
        self.sockets: dict[str, Bound] = {}
        """By the name of the section."""
        try:
            self.problems += take_sockets(settings, source, self.sockets, {})
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the sockets and remove their files."""
        for bound in self.sockets.values():
            bound.close()

    def _report(self, section: str, message: str, key: str | None = None, value: str | None = None) -> None:
        self.problems.append(self._settings.problem(section, message, key, value))

    def _load_frames(self) -> Frames:
        wanted = self._settings.daemon.accelerator
        try:
            return load_frames("python" if wanted == "off" else wanted)
        except FramesUnavailable as error:
            self._report("daemon", str(error), "accelerator", wanted)
            return load_frames("python")

    def _load_apps(self, failed: Failed, grace: Callable[[], float], brokers: Brokers | None) -> None:
        for mount in self._settings.mounts:
            try:
                self.apps[mount.path] = self._kept.apps.get(mount.path) or load_app(
                    mount, failed, grace, brokers, [*self._kept.apps.values(), *self.apps.values()], self.threads
                )
            except LoadError as error:
                self._report(f"mount:{mount.path}", error.message, error.key, error.reference)

    def _load_authenticators(self, shelf: TicketShelf | None) -> Authenticators:
        try:
            return make_authenticators(
                self._settings, shelf=shelf, kept=self._kept.authenticators, failed_logins=self._kept.failed_logins
            )
        except AuthError as error:
            self.problems += error.problems
            return Authenticators(())

    def _load_all_certificates(self) -> None:
        for listener in self._settings.listeners:
            self._load_certificates(listener, f"listener:{listener.name}")
        if self._settings.admin is not None:
            self._load_certificates(self._settings.admin, ADMIN)

    def _load_certificates(self, listener: SpeaksTls, section: str) -> None:
        if not listener.secure:
            return
        if section in self._kept.certificates:
            self.certificates[section] = self._kept.certificates[section]
            return
        from ..edge.tls import CertificateError

        try:
            certificates = load_certificates(self._settings, listener)
        except CertificateError as error:
            for text in error.problems:
                self._report_file(listener, section, text)
        else:
            if certificates is not None:
                self.certificates[section] = certificates

    def _report_file(self, listener: SpeaksTls, section: str, text: str) -> None:
        """Report a certificate, a key or a CA file at the key that names it."""
        places = [(section, key, getattr(listener, key)) for key in ("tls_certificate", "tls_key", "client_ca")]
        pairs = [pair for pair in self._settings.tls if pair.name in listener.tls]
        places += [(f"tls:{pair.name}", key, getattr(pair, key)) for pair in pairs for key in ("certificate", "key")]
        for place, key, path in places:
            if path is not None and text.startswith(f"{path}: "):
                self._report(place, text, key)
                return
        self._report(section, text)

    def _load_token(self) -> WatchedFile[str] | None:
        admin = self._settings.admin
        if admin is None or admin.token_file is None:
            return None
        if self._kept.token is not None:
            return self._kept.token
        from .admin import watch_token

        try:
            return watch_token(admin.token_file.path)
        except FileError as error:
            self._report(ADMIN, str(error), "token_file")
            return None

    def _load_tokens(self) -> None:
        if self._settings.admin is None:
            return
        for token in self._settings.tokens:
            if token.file is None:  # reported already
                continue
            if token.name in self._kept.tokens:
                self.tokens[token.name] = self._kept.tokens[token.name]
                continue
            from .admin import watch_token

            try:
                self.tokens[token.name] = watch_token(token.file.path, f"[token:{token.name}] file")
            except FileError as error:
                self._report(f"token:{token.name}", str(error), "file")
