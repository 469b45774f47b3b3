"""A worker's part of a reload with workers; see reload_all."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from twisted.logger import Logger

from ..settings.addresses import Address
from ..settings.inherited import InheritedFile
from .channel import MAX_MESSAGE_BYTES, Message, close_all
from .control import OperationFailed
from .daemon import Daemon
from .memory_files import read_memory
from .reload import Reload
from .reread import SettingsFile
from .sockets import Bound

MAX_PROBLEM_CHARACTERS: Final = MAX_MESSAGE_BYTES // 16
"""Of all problems together, whose characters JSON may write as six each."""

log = Logger(namespace="wsdaemon")


class ReloadHere:
    """Prepares, commits and undoes new settings as the supervisor says."""

    def __init__(
        self, daemon: Daemon, source: str, directory: Path, files: Mapping[str, InheritedFile], send: Callable[..., None]
    ) -> None:  # fmt: skip
        """`source` is the settings file, `files` its secret files as the supervisor read them, `send` sends to the supervisor."""
        self._daemon = daemon
        self._file = SettingsFile(source, directory, files)
        self._send = send
        self.choose_levels: Callable[[str, Mapping[str, str]], object] = lambda level, levels: None
        """Changes the levels of the log."""
        self._reload: Reload | None = None
        self._task: asyncio.Task[None] | None = None

    def received(self, message: Message, descriptors: Sequence[int]) -> bool:
        """Take a message, with its descriptors; False if it is none of a reload."""
        number, kind = message.get("number"), message["kind"]
        if kind == "prepare":
            self._task = self._daemon.loop.create_task(self._prepare(number, message["sections"], list(descriptors), self._task))
        elif kind == "commit":
            self._commit(number)
        elif kind == "reload":
            self._send("reloaded", number=number, problems=_bounded(self._daemon.reload()))
        elif kind == "undo":
            self._task = self._daemon.loop.create_task(self._undo(self._task))
        else:
            return False
        return True

    async def _prepare(self, number: Any, sections: Sequence[str], descriptors: list[int], before: asyncio.Task[None] | None) -> None:
        await _over(before)
        try:
            if len(descriptors) != len(sections) + 1:  # the kernel drops those for which this process has no room
                raise OperationFailed("this worker has too many open files for the sockets of new listeners")
            text = _read(descriptors.pop(0)).decode()
            source = _Sent(dict(zip(sections, descriptors, strict=True)))
            descriptors = []
            try:
                reload = Reload(self._daemon, self._file.parse(text), source)
                await reload.prepare()
            except BaseException:
                source.close()
                raise
            self._reload = reload
        except OperationFailed as failed:
            self._refuse(number, failed.problems)
        except Exception as error:
            log.failure("new settings cannot be prepared")
            self._refuse(number, [f"{type(error).__name__}: {error}"])
        else:
            self._send("prepared", number=number)
        finally:
            close_all(descriptors)

    def _refuse(self, number: Any, problems: Sequence[str]) -> None:
        self._send("refused", number=number, problems=_bounded(problems))

    def _commit(self, number: Any) -> None:
        reload, self._reload = self._reload, None
        if reload is not None:
            reload.commit()
            self.choose_levels(reload.settings.logging.level, reload.settings.logging.levels)
        self._send("committed", number=number)

    async def _undo(self, before: asyncio.Task[None] | None) -> None:
        if before is not None and not before.done():
            before.cancel()
        await _over(before)
        reload, self._reload = self._reload, None
        if reload is not None:
            await reload.undo()


class _Sent:
    """The sockets of new listeners, as the supervisor has bound them."""

    def __init__(self, descriptors: dict[str, int]) -> None:
        self._descriptors = descriptors

    def take(self, section: str, address: Address, backlog: int) -> Bound:
        sock = socket.socket(fileno=self._descriptors.pop(section))
        sock.setblocking(False)
        return Bound(sock)

    def close(self) -> None:
        """Close those that nothing has taken."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])


async def _over(task: asyncio.Task[None] | None) -> None:
    if task is not None and not task.done():
        await asyncio.wait([task])


def _bounded(problems: Sequence[str]) -> list[str]:
    """As many of the problems as fit into one message."""
    left, told = MAX_PROBLEM_CHARACTERS, list[str]()
    for problem in problems:
        told.append(problem[:left])
        left -= len(told[-1])
        if left <= 0:
            break
    return told


def _read(descriptor: int) -> bytes:
    try:
        return read_memory(descriptor)
    finally:
        os.close(descriptor)
