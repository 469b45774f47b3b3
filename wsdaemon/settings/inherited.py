"""Files of the settings that a process inherited from its supervisor, which may have been the only one that could read them.

The supervisor reads certificates, keys and other secrets before it drops its privileges. In a worker the settings then have an
InheritedPath for each: such a path opens the inherited bytes, until the file on disk is another one that the worker can read.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


@dataclass(frozen=True, slots=True)
class InheritedFile:
    """A file of the settings as the supervisor read it."""

    content: bytes = field(repr=False)
    mode: int
    """st_mode."""
    signature: tuple[int, ...]
    """See signature_of(): a file with another one is another file."""


def signature_of(found: os.stat_result) -> tuple[int, ...]:
    """Device, inode, size, and the times of the last change of content and of the inode in ns."""
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def signature_at(path: Path) -> tuple[object, ...]:
    """The signature of the file at this path. It changes when the file does, or what a symbolic link leads to, or the leave to read it."""
    try:
        return signature_of(path.stat())
    except OSError as error:
        return ("unreadable", error.errno)


def sealed_memory(name: str, content: bytes) -> int:
    """A memory file with this content, which cannot change any more; its descriptor."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(os.dup(descriptor), "wb") as memory:
        memory.write(content)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    return descriptor


class InheritedPath(type(Path())):  # type: ignore[misc]  # the class of paths on this system
    """The path of an inherited file. `str()` is the path in the settings; `os.fspath()` leads to the bytes that count now.

    While it is `pinned`, those are the inherited bytes: a worker that is started again begins with the same ones as the others did.
    """

    _descriptor: int = -1  # of paths that are derived from one of these, such as its parent
    _signature: tuple[int, ...] = ()
    pinned: bool = True

    @classmethod
    def of(cls, path: str, file: InheritedFile) -> InheritedPath:
        """The path of this file, whose bytes are kept in a memory file for as long as the process lives."""
        made = cls(path)
        made._descriptor = sealed_memory("wsdaemon-file", file.content)
        os.fchmod(made._descriptor, stat.S_IMODE(file.mode) | stat.S_IRUSR)
        made._signature = file.signature
        return made

    def _is_inherited(self) -> bool:
        """Whether the inherited bytes count."""
        if self._descriptor < 0 or self.pinned:
            return self._descriptor >= 0
        path = str(self)
        try:
            return signature_of(os.stat(path)) == self._signature or not os.access(path, os.R_OK, effective_ids=True)  # noqa: PTH116
        except OSError:
            return True

    def __fspath__(self) -> str:
        return f"/proc/self/fd/{self._descriptor}" if self._is_inherited() else str(self)

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        if self._is_inherited():
            return os.fstat(self._descriptor)
        return os.stat(str(self), follow_symlinks=follow_symlinks)  # noqa: PTH116

    def open(self, *arguments: Any, **options: Any) -> IO[Any]:
        opened: IO[Any] = open(os.fspath(self), *arguments, **options)  # noqa: PTH123, SIM115
        return opened


class InheritedDirectory(type(Path())):  # type: ignore[misc]
    """The directory that relative paths in the settings start from, in a process that inherited some of the files."""

    _files: Mapping[str, InheritedPath] = {}

    @classmethod
    def of(cls, path: Path, files: Mapping[str, InheritedPath]) -> InheritedDirectory:
        """`files` by their paths in the settings, made absolute."""
        made = cls(path)
        made._files = files
        return made

    def __truediv__(self, other: Any) -> Path:
        joined = Path(str(self), other)
        return self._files.get(str(joined), joined)
