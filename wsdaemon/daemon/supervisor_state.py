"""The state of a supervisor across its re-execution, in a sealed memory file, as a manifest is for a child.

An upgrade replaces the program of the supervisor's process (execve(2)): its number, its children and its open descriptors stay. The new
program finds the file by the environment variable WSDAEMON_INHERITED. Descriptors, by name:

    listener:NAME, admin    the listening sockets
    control                 the listening socket of the control channel, if there is one
    asker                   the connection of the command `upgrade` that waits for its answer, if there is one
    log                     the open log file, if the log is a file
    heartbeats              the page of the generation that runs
    channel:N, stack:N      the supervisor's ends of what it shares with each child; the hub is 0
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol, Self

from ..settings.inherited import InheritedDirectory, InheritedFile, InheritedPath, sealed_memory
from ..settings.ini import parse
from ..settings.model import Settings
from ..settings.problems import Problem
from .inheritance import MAX_MANIFEST_BYTES, VARIABLE, InheritanceError, InheritedLog, files_of, told_files
from .sockets import LeftSocket

PROTOCOL: Final = 1
"""The version of this state, of the manifests and of the channels. A supervisor and its children of another version refuse each other."""

OTHER_VERSION: Final = "the new code speaks version {new} of the upgrade protocol and the running daemon {old}: restart the daemon"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningChild:
    """A child of the generation that runs."""

    number: int
    """0 is the hub."""
    pid: int
    ready_for: float
    """Seconds since its start was over."""


class ControlSocket(Protocol):
    """The control channel as far as the next program needs it."""

    @property
    def left(self) -> LeftSocket | None:
        """Its socket, if there is one."""

    @property
    def descriptor(self) -> int: ...

    @property
    def asker(self) -> int:
        """The descriptor of the connection whose operation is under way; -1 if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorState:
    """Everything that the supervisor knows."""

    protocol: int = PROTOCOL
    since: float
    """When the daemon was started, in seconds since 1970."""
    state: str
    generation: int
    workers: int
    children: Sequence[RunningChild]
    settings: str = field(repr=False)
    """The text of the INI file that the generation began with."""
    new_settings: str = field(repr=False)
    """The text that the next generation begins with."""
    source: str
    directory: str
    log: InheritedLog
    pidfile: str
    """The absolute path of twistd's pidfile; empty if there is none."""
    control: LeftSocket | None
    sockets: Mapping[str, LeftSocket]
    """By section."""
    descriptors: Mapping[str, int]
    counts: Mapping[str, Any]
    """The metrics of workers, see Gathering.left."""
    files: Mapping[str, InheritedFile] = field(default_factory=dict, repr=False)

    def write(self) -> int:
        """Write it to a sealed memory file; its descriptor, which is the caller's."""
        content = asdict(replace(self, files={})) | {"files": told_files(self.files)}
        return sealed_memory("wsdaemon-supervisor", json.dumps(content).encode())

    @classmethod
    def read(cls, environ: MutableMapping[str, str]) -> Self:
        """The state of the program before. Its variable is taken out of the environment, and every descriptor is closed on exec again.

        InheritanceError if there is none, or one of another version.
        """
        number = environ.pop(VARIABLE, "")
        if not (number.isascii() and number.isdigit()):
            raise InheritanceError("this module is started by the command `upgrade` of a running daemon, and by nothing else")
        try:
            content = os.pread(int(number), MAX_MANIFEST_BYTES, 0)
            os.close(int(number))
            told = json.loads(content)
            if told["protocol"] != PROTOCOL:
                raise InheritanceError(OTHER_VERSION.format(new=PROTOCOL, old=told["protocol"]))
            return cls(**{**told, **_parsed(told)})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InheritanceError(f"{VARIABLE}={number} names no state of a supervisor: {error}") from error

    def close_on_exec(self) -> None:
        """The descriptors are this process' from now on: no child inherits them by chance."""
        for descriptor in self.descriptors.values():
            os.set_inheritable(descriptor, False)

    def read_settings(self, text: str) -> tuple[Settings | None, list[Problem]]:
        """Settings from one of the two texts, with the files that only a privileged process could read, and all problems."""
        problems = list[Problem]()
        files = {path: InheritedPath.of(path, file) for path, file in self.files.items()}
        base = InheritedDirectory.of(Path(self.directory, self.source).parent, files)
        settings = parse(text.encode(), self.source, problems, base=base)
        for path in files.values():
            path.pinned = False
        return settings, problems


def _parsed(told: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that JSON has no form for."""
    return {
        "files": files_of(told["files"]),
        "log": InheritedLog(**told["log"]),
        "children": [RunningChild(**child) for child in told["children"]],
        "sockets": {section: _socket(left) for section, left in told["sockets"].items()},
        "control": None if told["control"] is None else _socket(told["control"]),
    }


def _socket(told: Mapping[str, Any]) -> LeftSocket:
    return LeftSocket(**{**told, "file": None if told["file"] is None else tuple(told["file"])})
