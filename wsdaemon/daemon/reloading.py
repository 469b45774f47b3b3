"""The command `reload`: read the settings file again, tell every difference, and have all of it applied, or nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from twisted.logger import Logger

from ..ops.systemd import Notifier
from ..settings.difference import SettingChange, difference
from ..settings.model import Settings
from ..settings.problems import Problem
from .control import OperationFailed, Say
from .reread import SettingsFile

UNREADABLE: Final = "{name}: this process may not read it any more; its content of the start stays in use"

log = Logger(namespace="wsdaemon")


class ReloadCommand:
    """The operation. SIGHUP asks for it, too."""

    def __init__(
        self, file: SettingsFile, settings: Callable[[], Settings], apply: Callable[[Settings, str], Awaitable[None]],
        refresh: Callable[[], Awaitable[Sequence[str]]], notifier: Notifier, status: Callable[[], str],
        beyond: Callable[[Settings], Iterable[Problem]] = lambda settings: (),
    ) -> None:  # fmt: skip
        """`settings` are those in force. `apply` takes new ones, with the text of their file, into use everywhere, or raises
        OperationFailed with every reason and leaves everything as it was. `refresh` reads certificates and secret files again, once the
        new settings are in use; it returns the reasons for which old ones stay in use. `beyond` finds the problems of modules and files,
        if the file itself has any."""
        self._file = file
        self._settings = settings
        self._apply = apply
        self._refresh = refresh
        self._notifier = notifier
        self._status = status
        self._beyond = beyond

    async def __call__(self, arguments: Mapping[str, Any], say: Say) -> Mapping[str, Any]:
        """`dry_run` true: only tell the difference. The answer has it in `changes`, and in `restart` the keys that need a restart."""
        dry_run = bool(arguments.get("dry_run", False))
        try:
            if not dry_run:
                self._notifier.reloading("reloading")
            changes = await self._reload(dry_run, say)
            if not dry_run:
                for reason in await self._refresh():
                    say(reason)
        except OperationFailed as failed:
            log.error("the reload is refused, and nothing has changed: {problems}", problems="; ".join(failed.problems))
            raise
        finally:
            if not dry_run:
                self._notifier.ready(self._status())
        waiting = [f"[{each.section}]" + (f" {each.key}" if each.key else "") for each in changes if not each.applied]
        if not dry_run:
            rest = f"; {', '.join(waiting)} will change at the next restart" if waiting else ""
            log.info("reloaded: {count} changes{rest}", count=len(changes) - len(waiting), rest=rest)
        return {"changes": [str(each) for each in changes], "restart": waiting}

    async def _reload(self, dry_run: bool, say: Say) -> list[SettingChange]:
        text = self._file.read()
        new = self._file.parse(text, self._beyond)
        changes = difference(self._settings(), new)
        for each in changes:
            say(str(each))
        for name in self._file.unreadable:
            say(UNREADABLE.format(name=name))
        if not dry_run and any(each.applied for each in changes):
            await self._apply(new, text)
        return changes
