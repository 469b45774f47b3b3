"""Files that are read again when they change: htpasswd files and keys."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from twisted.logger import Logger

T = TypeVar("T")

LOOK_EVERY = 1.0
"""Seconds between two looks at a file that is in use; a look is one stat."""

log = Logger(namespace="wsdaemon.auth")

Signature = tuple[object, ...]


class FileError(Exception):
    """A file that cannot be used. Its text is one line, and has nothing that stands in the file."""


class WatchedFile(Generic[T]):
    """What a file holds, as `read` makes it of the file's bytes. A changed file that is bad is logged once, and the old content stays."""

    __slots__ = ("_clock", "_largest", "_looked", "_path", "_read", "_secret", "_seen", "_value")

    def __init__(
        self,
        path: Path,
        read: Callable[[bytes], T],
        *,
        largest: int,
        secret: Callable[[T], bool] = lambda value: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`read` raises FileError. `secret` says whether others must not read the file. `largest` is in bytes. FileError when it is bad."""
        self._path = path
        self._read = read
        self._largest = largest
        self._secret = secret
        self._clock = clock
        self._looked = clock()
        self._seen: Signature = ()
        self._value = self._load()

    def get(self) -> T:
        """The content, looked at again when the last look is a second ago."""
        now = self._clock()
        if now - self._looked >= LOOK_EVERY:
            self._looked = now
            self.refresh()
        return self._value

    def refresh(self) -> None:
        """Take the content of a changed file now. Never raises."""
        try:
            seen = _signature(self._path.stat())
        except OSError as error:
            seen = ("unreadable", error.errno)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._value = self._load()
        except FileError as error:
            log.warn("{problem}; the old content stays in use", problem=str(error))
        else:
            log.info("{path}: read again", path=str(self._path))

    def _load(self) -> T:
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                # What is written while this reads it changes the signature once more, and is seen by the next look.
                self._seen = _signature(found)
                content = file.read(self._largest + 1)
        except OSError as error:
            raise FileError(f"{self._path}: {error.strerror}") from None
        if len(content) > self._largest:
            raise FileError(f"{self._path}: expected a file of up to {self._largest} bytes")
        try:
            value = self._read(content)
        except FileError as error:
            raise FileError(f"{self._path}: {error}") from None
        self._warn(found.st_mode, value)
        return value

    def _warn(self, mode: int, value: T) -> None:
        if mode & stat.S_IROTH and self._secret(value):
            log.warn("{path} holds secrets and everybody may read it; set its mode to 640 or 600", path=str(self._path))
        if mode & stat.S_IWOTH:
            log.warn("{path} says who may come in and everybody may write it; set its mode to 640 or 600", path=str(self._path))


def _signature(found: os.stat_result) -> Signature:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
