"""The inheritance of a worker or the hub: one manifest in a memory file, and the descriptors that the manifest names.

The supervisor starts each child by fork and exec. One environment variable, WSDAEMON_INHERITED, has the number of an inherited memory
file with the manifest in JSON. Settings, keys and other secrets never stand in arguments or in the environment, and a child that is
started again inherits the same bytes.

Descriptors, by name:

    supervisor        the child's end of its channel to the supervisor (see `channel`)
    heartbeats        the shared page (see `heartbeats`)
    listener:NAME     a worker: the listening socket of that section
    admin             a worker: the listening socket of the admin pages, if there are any
    hub               a worker: its end of the socketpair to the hub (SOCK_STREAM)
    worker:N          the hub: its end of the socketpair to worker N
    predecessor       a hub that succeeds another: its end of the socketpair to that (see `hub.succession`)
    former heartbeats the shared page of the generation before, whose workers a hub that succeeds another serves too
    stack             a worker: the pipe that takes the stack of its main thread
    log               the open log file, if the log is a file
"""

from __future__ import annotations

import base64
import contextlib
import enum
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Self

from ..settings.inherited import InheritedFile, sealed_memory, signature_of
from ..settings.model import Settings
from ..settings.problems import Problem, SettingsError
from ..settings.reference import effective
from ..settings.schema import SectionSettings, keys_of
from ..settings.values import AppForm, FileForm, PathForm, ReferenceForm, Secret, SecretForm, app_text

VARIABLE: Final = "WSDAEMON_INHERITED"
"""The environment variable with the number of the manifest's descriptor."""

OF_THE_SUPERVISOR: Final = (
    "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "MAINPID",
)  # fmt: skip
"""Variables by which systemd speaks to the process that it started: no child of that process gets them."""

MAX_MANIFEST_BYTES: Final = 64 * 1024 * 1024

UNNAMED: Final = (
    'with workers expected "module:name" of a module that can be imported: each worker is a process of its own, which imports the app'
)

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
"""Of one file. Larger ones are no secrets, and a worker reads them itself."""


class InheritanceError(Exception):
    """The process was not started by a supervisor, or by one of another version. The text is for the operator."""


class Role(enum.StrEnum):
    WORKER = "worker"
    HUB = "hub"


@dataclass(frozen=True, slots=True, kw_only=True)
class InheritedLog:
    """Where the log goes, with twistd's own options taken into account."""

    destination: str
    """As in LogOptions: stdout, journal, syslog, or the path of the file that is open as `log`."""
    prefix: str
    """The name before each line in syslog."""
    observer: str = ""
    """`module.name` of an observer of the operator's own (twistd --logger), which then takes the place of all this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything that a child of the supervisor is told when it begins. The hub has the number 0, workers count from 1."""

    role: Role
    number: int
    generation: int
    supervisor: int
    """The supervisor's process id."""
    workers: int
    """How many workers there are."""
    settings: str = field(repr=False)
    """The text of the INI file."""
    source: str
    """The path of the INI file as the operator wrote it; it names the file in messages."""
    directory: str
    """The directory that the supervisor was started in, where modules are found too."""
    log: InheritedLog
    descriptors: Mapping[str, int]
    files: Mapping[str, InheritedFile] = field(default_factory=dict, repr=False)
    """Certificates, keys and other secrets, by path."""
    pages: Mapping[str, tuple[str, bytes]] = field(default_factory=dict, repr=False)
    """Web pages of WebSocketServer.page(): by path of the URL, the file's name and its content."""

    def write(self) -> int:
        """Write the manifest to a sealed memory file; its descriptor, which the caller closes after the child has started."""
        content = json.dumps(
            {
                **{name: getattr(self, name) for name in self.__slots__ if name not in ("files", "log", "pages")},
                "log": {name: getattr(self.log, name) for name in self.log.__slots__},
                "pages": {path: [name, _text(content)] for path, (name, content) in self.pages.items()},
                "files": told_files(self.files),
            }
        ).encode()
        return sealed_memory("wsdaemon-manifest", content)

    @classmethod
    def read(cls, environ: MutableMapping[str, str]) -> Self:
        """The manifest of this process. Its variable is taken out of the environment, and every inherited descriptor is closed on exec.

        InheritanceError if there is none.
        """
        number = environ.pop(VARIABLE, "")
        if not (number.isascii() and number.isdigit()):
            raise InheritanceError("this module is started by the supervisor of `twistd wsdaemon`, and by nothing else")
        try:
            content = os.pread(int(number), MAX_MANIFEST_BYTES, 0)
            os.close(int(number))
            told = json.loads(content)
            manifest = cls(**{**told, **_parsed(told)})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InheritanceError(f"{VARIABLE}={number} names no manifest of this version: {error}") from error
        for descriptor in manifest.descriptors.values():
            os.set_inheritable(descriptor, False)
        return manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Heritage:
    """Everything that each child inherits alike, as it was when the daemon started."""

    text: str = field(repr=False)
    """The content of the INI file."""
    directory: Path
    """The directory that the daemon was started in."""
    log: InheritedLog
    log_descriptor: Callable[[], int] = lambda: -1
    """The descriptor of the open log file; -1 if the log is none."""
    pages: Mapping[str, tuple[str, bytes]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings of a generation, and everything that its children inherit from the settings."""

    settings: Settings
    heritage: Heritage
    files: Mapping[str, InheritedFile]


def make_heritage(
    settings: Settings, directory: Path, log_descriptor: Callable[[], int], pages: Mapping[str, tuple[str, bytes]]
) -> Heritage:  # fmt: skip
    """The heritage of settings that were made in Python. SettingsError if a worker could not have them."""
    if problems := unnamed_apps(settings):
        raise SettingsError(problems)
    log = InheritedLog(destination=str(settings.logging.destination), prefix="wsdaemon")
    return Heritage(text=effective(settings), directory=directory, log=log, log_descriptor=log_descriptor, pages=pages)


def unnamed_apps(settings: Settings) -> list[Problem]:
    """The apps, factories and policies that a worker cannot import, because they have no name or that of the running program."""
    problems = []
    for mount in settings.mounts:
        for section in (mount, mount.options):
            for key in () if section is None else keys_of(type(section)).values():
                value = getattr(section, key.name)
                if isinstance(key.form, AppForm | ReferenceForm) and not (value is None or _importable(value)):
                    problems.append(settings.problem(f"mount:{mount.path}", UNNAMED, key.name, app_text(value)))
    return problems


def _importable(value: object) -> bool:
    return isinstance(value, str) and not value.startswith("__main__:")


def _parsed(told: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a manifest that JSON has no form for."""
    pages = {path: (name, base64.b64decode(content)) for path, (name, content) in told["pages"].items()}
    return {"role": Role(told["role"]), "log": InheritedLog(**told["log"]), "files": files_of(told["files"]), "pages": pages}


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def told_files(files: Mapping[str, InheritedFile]) -> dict[str, list[Any]]:
    """Files in values that JSON has forms for."""
    return {path: [_text(file.content), file.mode, file.signature] for path, file in files.items()}


def files_of(told: Mapping[str, Any]) -> dict[str, InheritedFile]:
    """The files of told_files()."""
    return {path: InheritedFile(base64.b64decode(content), mode, tuple(signature)) for path, (content, mode, signature) in told.items()}


def take_files(settings: Settings) -> dict[str, InheritedFile]:
    """The certificates, keys and other secrets that these settings name, by path.

    A file that cannot be read is left out: the worker that needs it reports the problem.
    """
    taken = {}
    for path in _named_files(settings):
        with contextlib.suppress(OSError), path.open("rb") as file:
            found = os.fstat(file.fileno())
            if stat.S_ISREG(found.st_mode) and found.st_size <= MAX_FILE_BYTES:
                taken[str(path)] = InheritedFile(file.read(MAX_FILE_BYTES), found.st_mode, signature_of(found))
    return taken


def _named_files(settings: Settings) -> Iterator[Path]:
    """The files that sections name in keys of the forms for files and for secrets."""
    for section in _sections(settings):
        for key in keys_of(type(section)).values():
            value = getattr(section, key.name)
            if isinstance(key.form, FileForm | PathForm | SecretForm) and value is not None:
                yield value.path if isinstance(value, Secret) else value


def _sections(settings: Settings) -> Iterator[SectionSettings]:
    """The sections of all kinds, and the options of the apps."""
    for part in fields(settings):
        value = getattr(settings, part.name)
        for section in value if isinstance(value, tuple) else (value,):
            if isinstance(section, SectionSettings):
                yield section
            options = getattr(section, "options", None)
            if isinstance(options, SectionSettings):
                yield options


def environment(environ: Mapping[str, str], manifest: int) -> dict[str, str]:
    """The environment of a child: that of the supervisor, without systemd's messages to it."""
    return {name: value for name, value in environ.items() if name not in OF_THE_SUPERVISOR} | {VARIABLE: str(manifest)}
