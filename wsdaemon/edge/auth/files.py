"""Files that are read again when they change: htpasswd files, keys and tokens."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from twisted.logger import Logger

from ...settings.inherited import signature_at, signature_of
from ...settings.text import byte_order_mark

T = TypeVar("T")

LOOK_SECONDS = 1.0
"""Between two looks at a file that is in use; a look is one stat."""

FIRST_RETRY_SECONDS = 1.0
"""Until a changed file that could not be used is read again. The wait doubles with each failure."""

LAST_RETRY_SECONDS = 10.0
"""The longest of these waits: a withdrawn key stays valid for at most this long after the file can be read again."""

MAX_WARNINGS = 20
"""Lines in the log about the unusable parts of one file; one more line gives the number of the others."""

log = Logger(namespace="wsdaemon.auth")

Signature = tuple[object, ...]


class FileError(Exception):
    """A file that cannot be used. The text is one line and repeats nothing of the file's content."""


def no_warnings(value: object) -> Sequence[str]:
    """The file has no parts that could be unusable."""
    return ()


class WatchedFile(Generic[T]):
    """The value that `read` makes of a file's bytes, made again when the file changes.

    If a changed file cannot be used, the old value stays. The file counts as read only after a success: a failure is logged once, shown by
    `problem`, and followed by another attempt after a second, two, four, and then every ten seconds, whether the file changes again or not.
    The reason may be outside of the file: the process may have no descriptors left.
    """

    __slots__ = (
        "_clock", "_in_use", "_largest", "_looked", "_path", "_problem", "_read", "_retry_at", "_retry_seconds", "_secret", "_tried",
        "_value", "_warnings", "failures", "source",
    )  # fmt: skip

    def __init__(
        self,
        path: Path,
        read: Callable[[bytes], T],
        *,
        largest: int,
        source: str = "",
        secret: Callable[[T], bool] = lambda value: True,
        warnings: Callable[[T], Sequence[str]] = no_warnings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the file for the first time; FileError if it cannot be used.

        `read` raises FileError. `largest` is the file's largest size in bytes. `source` is the INI key that names the file. `secret` tells
        whether other users of the machine must not read the file. `warnings` gives a line for each part of the file that was left out.
        """
        self.source = source
        self.failures = 0
        self._path = path
        self._read = read
        self._largest = largest
        self._secret = secret
        self._warnings = warnings
        self._clock = clock
        self._looked = clock()
        self._problem: str | None = None
        self._tried: Signature = ()
        self._retry_seconds = FIRST_RETRY_SECONDS
        self._retry_at = 0.0
        self._value, self._in_use = self._load()

    def get(self) -> T:
        """The value. The file is looked at again when the last look is a second old."""
        now = self._clock()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._look(now, force=False)
        return self._value

    def refresh(self) -> None:
        """Take a changed file into use now, and one that could not be used before. Never raises."""
        self._look(self._clock(), force=True)

    def problem(self) -> str | None:
        """Why the value in use is older than the file, after a look at the file; None when the file is in use as it is."""
        self.get()
        return self._problem

    def _look(self, now: float, force: bool) -> None:
        found = signature_at(self._path)
        if found == self._in_use:
            if self._problem is not None:  # the file that is in use was put back
                self._succeeded()
            return
        if self._problem is not None and found == self._tried and now < self._retry_at and not force:
            return
        if found != self._tried:
            self._tried, self._retry_seconds = found, FIRST_RETRY_SECONDS
        try:
            self._value, self._in_use = self._load()
        except FileError as error:
            self._failed(str(error), now)
        else:
            self._succeeded()

    def _failed(self, problem: str, now: float) -> None:
        self.failures += 1
        self._retry_at = now + self._retry_seconds
        self._retry_seconds = min(2 * self._retry_seconds, LAST_RETRY_SECONDS)
        if problem != self._problem:
            self._problem = problem
            log.warn("{problem}; the old content stays in use", problem=problem)

    def _succeeded(self) -> None:
        self._problem, self._tried = None, ()
        log.info("{path}: read again", path=str(self._path))

    def _load(self) -> tuple[T, Signature]:
        """The value, and the signature of the file that it was read from."""
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                # A write during this read changes the signature once more, so the next look sees it.
                content = file.read(self._largest + 1)
        except OSError as error:
            raise FileError(f"{self._path}: {error.strerror}") from None
        if len(content) > self._largest:
            raise FileError(f"{self._path}: expected a file of up to {self._largest} bytes")
        if (problem := byte_order_mark(content)) is not None:
            raise FileError(f"{self._path}: {problem}")
        try:
            value = self._read(content)
        except FileError as error:
            raise FileError(f"{self._path}: {error}") from None
        self._warn(found.st_mode, value)
        return value, signature_of(found)

    def _warn(self, mode: int, value: T) -> None:
        path = str(self._path)
        if mode & stat.S_IROTH and self._secret(value):
            log.warn("{path} holds secrets and every user of this machine may read it; set its mode to 640 or 600", path=path)
        if mode & stat.S_IWOTH:
            log.warn("{path} decides who may connect and every user of this machine may write it; set its mode to 640 or 600", path=path)
        warnings = self._warnings(value)
        for warning in warnings[:MAX_WARNINGS]:
            log.warn("{path}: {warning}", path=path, warning=warning)
        if len(warnings) > MAX_WARNINGS:
            log.warn("{path}: {count} more parts of the file are left out", path=path, count=len(warnings) - MAX_WARNINGS)

