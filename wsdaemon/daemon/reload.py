"""A reload of one serving process: new settings are prepared beside those in force, and then swapped in within one turn of the loop.

`prepare` makes and starts everything that is new: apps, certificates, authenticators, sockets. If anything fails, it is stopped again and
nothing has changed. `commit` cannot fail: from then on new connections get the new settings; open ones stay on those that they began with.
Apps that no mount runs any more are stopped after their last connection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..settings.addresses import Address
from ..settings.daemon import LoggingSettings
from ..settings.difference import in_force, keeps_app
from ..settings.model import ListenerSettings, Settings
from .assembly import Assembly
from .check import problems_beyond
from .control import OperationFailed
from .inheritance import take_files
from .mounts import FactoryStep, Mount, app_names
from .parts import AppStep, StartError, Step, start_in_order, stop_in_order
from .reloading import ReloadCommand
from .reread import SettingsFile
from .resources import Kept
from .sockets import ADMIN, Bound, SocketSource, addresses_of, refuse_own

if TYPE_CHECKING:
    from .daemon import Daemon


class _Lent(Bound):
    """A socket of the settings in force, lent to new ones: its owner closes it."""

    def __init__(self, owner: Bound) -> None:
        self.owner = owner
        super().__init__(owner.sock)

    def close(self) -> None:
        """The owner closes it."""


class _Sockets:
    """The sockets of new settings: those in force where section and address are the same, else new ones."""

    def __init__(self, settings: Settings, sockets: Mapping[str, Bound], source: SocketSource) -> None:
        self._addresses = addresses_of(settings)
        self._sockets = sockets
        self._source = source
        self._new: list[Bound] = []

    def take(self, section: str, address: Address, backlog: int) -> Bound:
        if self._addresses.get(section) == address:
            return _Lent(self._sockets[section])
        refuse_own(address, self._addresses)
        self._new.append(self._source.take(section, address, backlog))
        return self._new[-1]

    def close_new(self) -> None:
        """The new settings are not taken."""
        while self._new:
            self._new.pop().close()


def kept_resources(old: Settings, new: Settings, assembly: Assembly) -> Kept:
    """The apps, authenticators and certificates that the new settings leave as they are."""
    resources = assembly.resources
    mounts = {each.path: each for each in old.mounts}
    auths, pairs = {each.name: each for each in old.auths}, (old.tls, new.tls)
    listeners = {each.name: each for each in old.listeners}
    same = [each for each in new.listeners if each.name in listeners and _same_tls(listeners[each.name], each, pairs)]
    unchanged = {f"listener:{each.name}" for each in same}
    return Kept(
        apps={each.path: resources.apps[each.path] for each in new.mounts if each.path in mounts and keeps_app(mounts[each.path], each)},
        authenticators={each.name: resources.authenticators[each.name] for each in new.auths if auths.get(each.name) == each},
        certificates={
            section: certificates
            for section, certificates in resources.certificates.items()
            if section == ADMIN or section in unchanged
        },
        failed_logins=resources.authenticators.failed_logins,
        threads=resources.threads,
        token=resources.token if _token_files(old).get("") == _token_files(new).get("") else None,
        tokens={name: file for name, file in resources.tokens.items() if _token_files(old)[name] == _token_files(new).get(name)},
        redis=resources.redis,
    )


def _token_files(settings: Settings) -> dict[str, str]:
    """The files of the admin pages' tokens by name; the one with all roles has an empty name. Changes of their content are read anyway."""
    files = {each.name: each.file for each in settings.tokens}
    if settings.admin is not None:
        files[""] = settings.admin.token_file
    return {name: str(file.path) for name, file in files.items() if file is not None}


def _same_tls(old: ListenerSettings, new: ListenerSettings, pairs: tuple[Sequence[Any], Sequence[Any]]) -> bool:
    keys = ("tls", "tls_certificate", "tls_key", "client_ca", "client_certificate")
    before, after = [[pair for pair in named if pair.name in new.tls] for named in pairs]
    return before == after and all(getattr(old, key) == getattr(new, key) for key in keys)


class Reload:
    """One reload of a daemon: prepared, and then committed or undone."""

    def __init__(self, daemon: Daemon, new: Settings, source: SocketSource) -> None:
        """`new` are the settings of the file; `source` gives the sockets of new listeners."""
        self.settings = in_force(daemon.settings, new)
        self._daemon = daemon
        self._old = daemon.assembly
        self._sockets = _Sockets(daemon.settings, daemon.assembly.resources.sockets, source)
        self._new: Assembly | None = None
        self._fresh: list[Step] = []

    async def prepare(self) -> None:
        """Make and start everything that is new. OperationFailed with every problem, and then nothing has changed."""
        daemon, old = self._daemon, self._old
        try:
            resources = daemon.take(self.settings, self._sockets, kept=kept_resources(daemon.settings, self.settings, old))
            resources.sockets = {name: getattr(bound, "owner", bound) for name, bound in resources.sockets.items()}
            self._new = daemon.assemble(self.settings, resources, earlier=old)
            self._fresh = await start_in_order(_begun(self._new, old), self.settings.daemon.start_timeout)
        except StartError as error:
            self._sockets.close_new()
            raise OperationFailed(*error.problems) from None
        except BaseException:
            self._sockets.close_new()
            raise

    async def undo(self) -> None:
        """Another process cannot take the new settings: stop everything that is new."""
        await stop_in_order(self._fresh)
        self._sockets.close_new()

    def commit(self) -> None:
        """Take the new settings into use for connections that begin from now on."""
        assert self._new is not None
        daemon, old, new = self._daemon, self._old, self._new
        for change in new.changes:
            change()
        removed = [listener for listener in old.listeners if listener not in new.listeners]
        old.listening.renew(new.listening)
        new = replace(new, listening=old.listening, changes=())
        _swap(daemon, self.settings, new)
        ended = [_OldAuthenticators(old, new), *_begun(old, new)]
        servers = [server for mount in old.mounts if mount not in new.mounts for server in _servers(mount)]
        used = {id(server) for mount in new.mounts for server in _servers(mount)}
        new.tools.retiring.add(
            ended, [server for server in servers if id(server) not in used],
            lambda: any(each.lagging for each in new.listeners) or any(each.handshakes for each in removed),
        )  # fmt: skip


def _swap(daemon: Daemon, settings: Settings, assembly: Assembly) -> None:
    listening = [step for step in daemon.started if step is assembly.listening]
    daemon.started = [daemon.started[0], *daemon.before, *assembly.parts, *listening]
    daemon.settings, daemon.assembly = settings, assembly
    daemon.reload = assembly.reload
    daemon.mounts, daemon.listeners = assembly.mounts, assembly.listeners
    daemon.watch.choose(settings.logging.connections, settings.logging.access_format)
    daemon.connections.background.apps = app_names(settings)


class _OldAuthenticators:
    """The authenticators that a reload has replaced: handshakes of before may still wait for them."""

    name = "replaced authenticators"

    def __init__(self, old: Assembly, new: Assembly) -> None:
        self._old, self._kept = old.resources.authenticators, list(new.resources.authenticators.values())

    async def start(self) -> None:
        """They have been started."""

    async def stop(self) -> None:
        await self._old.stop_without(self._kept)


def _begun(of: Assembly, other: Assembly) -> list[Step]:
    """The parts with a start and a stop of their own that one assembly has and the other lacks."""
    steps = [step for step in of.parts if isinstance(step, AppStep | FactoryStep) or step is of.renewal]
    return [step for step in steps if step not in other.parts]


def _servers(mount: Mount) -> list[object]:
    """The app of a mount, or the Autobahn factory in its place: see `server_of`."""
    return [mount.app if mount.app is not None else mount.wires.protocols.factory]


def reloading_of(daemon: Daemon, directory: Path, choose_levels: Callable[[LoggingSettings], object]) -> ReloadCommand:
    """The command `reload` of a daemon of one process that has a settings file. Reads the secret files, so call it with all privileges.

    `directory` is the one that the daemon was started in; `choose_levels` changes the levels of the log.
    """
    source = daemon.settings.source
    file = SettingsFile(source, directory, take_files(daemon.settings))

    async def apply(new: Settings, text: str) -> None:
        reload = Reload(daemon, new, daemon.sockets)
        await reload.prepare()
        reload.commit()
        choose_levels(daemon.settings.logging)

    async def refresh() -> list[str]:
        return daemon.reload()

    return ReloadCommand(
        file, lambda: daemon.settings, apply, refresh, daemon.notifier,
        lambda: f"{daemon.state.value}, {len(daemon.connections)} connections",
        beyond=lambda settings: problems_beyond(settings, directory),
    )  # fmt: skip
