"""Targets by token, from a file or a directory of files in websockify's format. Changed files are read again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ...core.rare_lines import RareLines
from ...settings.problems import BadValue
from ...settings.targets import StreamTarget, parse_tokens
from ...settings.text import byte_order_mark

LOOK_SECONDS = 1.0
"""Between two looks at the files, if clients come."""

MAX_FILE_BYTES = 4 * 1024 * 1024
"""The largest file."""

MAX_FILES = 1000
"""Files of a directory; more are an error."""

Signature = tuple[tuple[str, int, int, int], ...]


class TokensError(Exception):
    """The files cannot be used. The text repeats nothing of their lines."""


class Tokens:
    """The targets. `path` is read when this is made: TokensError.

    If a changed file cannot be used, the targets before the change stay, and a line of the log says so.
    """

    def __init__(self, path: Path, lines: RareLines, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._lines = lines
        self._clock = clock
        self._looked = clock()
        self._signature: Signature = self._sign()
        self._targets = self._read()

    def get(self, token: str) -> StreamTarget | None:
        """The target of a token."""
        now = self._clock()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._look()
        return self._targets.get(token)

    def _look(self) -> None:
        try:
            signature = self._sign()
            if signature == self._signature:
                return
            self._targets = self._read()
            self._signature = signature
        except TokensError as error:
            self._lines.warn(("tokens", str(error)), "{problem}; the targets before the change stay in use", problem=str(error))

    def _files(self) -> Iterator[Path]:
        try:
            if not self._path.is_dir():
                yield self._path
                return
            files = sorted(path for path in self._path.iterdir() if path.is_file() and not path.name.startswith("."))
        except OSError as error:
            raise TokensError(f"{self._path}: {error.strerror}") from None
        if len(files) > MAX_FILES:
            raise TokensError(f"{self._path}: expected up to {MAX_FILES} files")
        yield from files

    def _sign(self) -> Signature:
        signs = []
        for path in self._files():
            try:
                found = path.stat()
            except OSError as error:
                raise TokensError(f"{path}: {error.strerror}") from None
            signs.append((str(path), found.st_ino, found.st_size, found.st_mtime_ns))
        return tuple(signs)

    def _read(self) -> dict[str, StreamTarget]:
        targets: dict[str, StreamTarget] = {}
        for path in self._files():
            try:
                with path.open("rb") as file:
                    content = file.read(MAX_FILE_BYTES + 1)
                    owner = os.fstat(file.fileno()).st_mode
            except OSError as error:
                raise TokensError(f"{path}: {error.strerror}") from None
            if len(content) > MAX_FILE_BYTES:
                raise TokensError(f"{path}: expected a file of up to {MAX_FILE_BYTES} bytes")
            if (problem := byte_order_mark(content)) is not None:
                raise TokensError(f"{path}: {problem}")
            try:
                targets.update(parse_tokens(content.decode()))
            except UnicodeDecodeError:
                raise TokensError(f"{path}: expected UTF-8 text") from None
            except BadValue as error:
                raise TokensError(f"{path}: {error}") from None
            if owner & 0o002:
                self._lines.warn(
                    ("mode", str(path)), "{path} decides who may connect where, and every user of this machine may write it", path=str(path)
                )
        return targets
