"""The common part of a worker's life and the hub's: the name, the log, the heartbeat, and the end with the supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from ..ops.logs import DaemonLog
from ..settings.daemon import LoggingSettings
from ..settings.inherited import InheritedDirectory, InheritedPath
from ..settings.ini import parse
from ..settings.model import Settings
from ..settings.problems import Problem
from .channel import MAX_MESSAGE_BYTES, Channel, Message
from .heartbeats import Heart, Heartbeats
from .inheritance import InheritanceError, Manifest, Role
from .inherited_log import begin_log
from .parent import end_with
from .title import name_process

SUPERVISOR_DIED: Final = signal.SIGVTALRM
"""The kernel's signal to a child whose supervisor has died. It may come after the end of the channel, which tells the same."""

END: Final = signal.SIGALRM
"""The alarm at LAST_SECONDS, whose default action ends the process. It is another signal, because a late SUPERVISOR_DIED must not."""

LAST_SECONDS: Final = 2.0
"""A child whose supervisor has died ends within this time, however busy it is."""

MAX_REASON_CHARACTERS: Final = 8 * 1024
"""The beginning and the end of a longer reason are told."""


class ChildProcess:
    """This process, as a child of the supervisor."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.heartbeats = Heartbeats(manifest.descriptors["heartbeats"])
        self.slot = self.heartbeats.hub if manifest.role is Role.HUB else self.heartbeats.worker(manifest.number)
        self.channel: Channel | None = None
        self.heart: Heart | None = None
        self._orphaned: Callable[[], None] = lambda: None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._dying = False
        self._files = {path: InheritedPath.of(path, file) for path, file in manifest.files.items()}

    @classmethod
    def begin(cls, role: Role) -> ChildProcess:
        """Take over what the supervisor left to this process. If no supervisor started it, it ends with status 2."""
        try:
            manifest = Manifest.read(os.environ)
        except InheritanceError as error:
            print(f"wsdaemon: {error}", file=sys.stderr)
            sys.exit(2)
        assert manifest.role is role
        child = cls(manifest)
        number = "" if role is Role.HUB else f" {manifest.number}"
        name_process(f"wsdaemon: {role.value}{number}", "wsdaemon:hub" if role is Role.HUB else f"wsdaemon:{manifest.number}")
        child._end_with_the_supervisor()
        child.slot.own(os.getpid())
        if "stack" in manifest.descriptors:
            faulthandler.register(signal.SIGQUIT, manifest.descriptors["stack"], all_threads=False)
        return child

    # -- the settings

    def read_settings(self) -> tuple[Settings, list[Problem]]:
        """The settings that the supervisor read, from the same bytes, and their problems."""
        manifest, problems = self.manifest, list[Problem]()
        base = InheritedDirectory.of(Path(manifest.directory, manifest.source).parent, self._files)
        return parse(manifest.settings.encode(), manifest.source, problems, base=base), problems

    def follow_files(self) -> None:
        """The start is over: files that were inherited are read again when they change, as far as this process may read them."""
        for path in self._files.values():
            path.pinned = False

    # -- the log

    def make_log(self, chosen: LoggingSettings) -> DaemonLog | None:
        """The log of this process, already in use; None if an observer of the operator's own takes the lines."""
        return begin_log(chosen, self.manifest.log, self.manifest.descriptors.get("log", -1), self.manifest.number or None)

    # -- the loop

    def join(
        self, loop: asyncio.AbstractEventLoop, received: Callable[[Message, Sequence[int]], None], orphaned: Callable[[], None]
    ) -> None:
        """Beat, and listen to the supervisor from now on. `orphaned` is called on the loop, once, when the supervisor has died.

        The process ends LAST_SECONDS later at the latest.
        """
        self._loop, self._orphaned = loop, orphaned
        self.channel = Channel(socket.socket(fileno=self.manifest.descriptors["supervisor"]), loop, received, self._supervisor_died)
        self.heart = Heart(self.slot, loop)
        self.heart.start()

    def ready(self) -> None:
        """Tell the supervisor that the start is over."""
        self.slot.become_ready()
        assert self.channel is not None
        self.channel.send("ready")

    def send(self, kind: str, descriptors: Sequence[int] = (), **fields: object) -> None:
        """Send a message to the supervisor."""
        assert self.channel is not None
        self.channel.send(kind, descriptors, **fields)

    def failed(self, reason: str) -> None:
        """Tell the supervisor why the start failed, also before join()."""
        if len(reason) > MAX_REASON_CHARACTERS:
            half = MAX_REASON_CHARACTERS // 2
            reason = f"{reason[:half]}\n...\n{reason[-half:]}"
        assert len(reason) < MAX_MESSAGE_BYTES
        if self.channel is not None:
            self.channel.send("failed", reason=reason)
            return
        with contextlib.suppress(ConnectionError):  # the supervisor has died
            os.write(self.manifest.descriptors["supervisor"], json.dumps({"kind": "failed", "reason": reason}).encode())

    # -- the supervisor's death

    def _end_with_the_supervisor(self) -> None:
        """Have the kernel tell this process when the supervisor has died, also if its loop hangs (prctl(2))."""
        signal.signal(SUPERVISOR_DIED, self._told_by_the_kernel)
        end_with(self.manifest.supervisor, SUPERVISOR_DIED)

    def _told_by_the_kernel(self, number: int, frame: FrameType | None) -> None:
        self._begin_to_die()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._supervisor_died)

    def _supervisor_died(self) -> None:
        """The signal and the end of the channel tell the same, in either order."""
        self._begin_to_die()
        orphaned, self._orphaned = self._orphaned, lambda: None
        orphaned()

    def _begin_to_die(self) -> None:
        if not self._dying:
            self._dying = True
            signal.signal(END, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, LAST_SECONDS)

