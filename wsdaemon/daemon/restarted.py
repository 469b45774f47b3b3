"""`--dev`: the serving process, as a child of the one that watches its files (see `restarting`)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import sysconfig
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Final

from ..settings.addresses import Address
from .parent import end_with
from .sockets import Bound, ListenError

VARIABLE: Final = "WSDAEMON_DEVELOPMENT"
"""The environment variable with all that the parent tells its child, in JSON."""

GO: Final = b"go\n"

REPORT_SECONDS: Final = 0.25
"""Between two looks for modules that were imported meanwhile."""


def files_of(modules: Mapping[str, Any], directories: Sequence[Path]) -> list[str]:
    """The files of those modules that lie below one of the directories, without Python's own and those of installed packages."""
    standard = Path(sysconfig.get_path("stdlib"))
    found = set()
    for module in list(modules.values()):
        path = getattr(module, "__file__", None)
        if not isinstance(path, str):
            continue
        file = Path(path).absolute()
        installed = {"site-packages", "dist-packages"} & set(file.parts) or file.is_relative_to(standard)
        if not installed and any(file.is_relative_to(directory) for directory in directories):
            found.add(str(file))
    return sorted(found)


class GivenSockets:
    """The listening sockets that the parent keeps open, by section and address."""

    def __init__(self, descriptors: Mapping[str, int]) -> None:
        self._descriptors = descriptors

    def take(self, section: str, address: Address, backlog: int) -> Bound:
        descriptor = self._descriptors.get(f"{section} {address}")
        if descriptor is None:
            raise ListenError("the settings file has changed while the daemon was starting")
        return Bound(socket.socket(fileno=os.dup(descriptor)))


class Restarted:
    """This process, as the parent's child. It ends with the parent."""

    name = "report of loaded files"

    def __init__(self, channel: socket.socket, descriptors: Mapping[str, int]) -> None:
        self.sockets = GivenSockets(descriptors)
        self.directories: Sequence[Path] = ()
        self._channel = channel
        self._reported: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Restarted | None:
        """The child that the parent has made of this process; None if this is the parent itself."""
        told = environ.pop(VARIABLE, "")
        if not told:
            return None
        fields = json.loads(told)
        for descriptor in (fields["channel"], *fields["sockets"].values()):
            os.set_inheritable(descriptor, False)
        end_with(fields["parent"], signal.SIGKILL)
        return cls(socket.socket(fileno=fields["channel"]), fields["sockets"])

    def wait(self) -> None:
        """Until the parent wants this process to serve. If the parent has no use for it, the process ends."""
        if self._channel.recv(len(GO)) != GO:
            sys.exit(0)

    async def start(self) -> None:
        """Report now, and again whenever modules were imported."""
        self._channel.setblocking(False)
        asyncio.get_running_loop().add_reader(self._channel, self._parent_ended)
        self._report()

    async def stop(self) -> None:
        asyncio.get_running_loop().remove_reader(self._channel)
        if self._timer is not None:
            self._timer.cancel()

    def report(self, files: Iterable[str]) -> None:
        """Tell the parent of the files that it does not know yet. It reads several times a second."""
        new = sorted(set(files) - self._reported)
        if new:
            self._channel.setblocking(True)
            self._channel.sendall(json.dumps(new).encode() + b"\n")
            self._channel.setblocking(False)
            self._reported.update(new)

    def _report(self) -> None:
        self.report(files_of(sys.modules, self.directories))
        self._timer = asyncio.get_running_loop().call_later(REPORT_SECONDS, self._report)

    def _parent_ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._channel)
        os.kill(os.getpid(), signal.SIGTERM)
