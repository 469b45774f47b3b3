"""The settings file, read again for a reload: whole new settings, or every problem."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..settings import ini
from ..settings.inherited import InheritedDirectory, InheritedFile, InheritedPath
from ..settings.model import Settings
from ..settings.problems import Problem, joined
from .control import OperationFailed


class SettingsFile:
    """The settings file of a daemon, and the secret files that it named at the start, when the process may have had more rights."""

    def __init__(self, source: str, directory: Path, files: Mapping[str, InheritedFile]) -> None:
        """`source` is the path as the operator wrote it; `directory` the one that the daemon was started in. `files`: see `take_files`."""
        self._source = source
        self._directory = directory
        self._files = files
        self._inherited: dict[str, InheritedPath] = {}

    def read(self) -> str:
        """The content of the file. OperationFailed if it cannot be read."""
        problems: list[Problem] = []
        content = ini.read_content(str(self._directory / self._source), problems)
        if content is None:
            raise OperationFailed(*problems)
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise OperationFailed(f"{self._source}: expected UTF-8 text") from None

    def parse(self, text: str, beyond: Callable[[Settings], Iterable[Problem]] = lambda settings: ()) -> Settings:
        """The settings of this content, with the secret files read again. OperationFailed with every problem.

        `beyond` finds the problems of modules and files that the usable settings name; it is asked if there are others.
        """
        problems: list[Any] = []
        base = InheritedDirectory.of((self._directory / self._source).parent, {name: self._path(name) for name in self.unreadable})
        settings = ini.parse(text.encode(), self._source, problems, base=base)
        if problems:
            raise OperationFailed(*joined(problems, beyond(settings)))
        return settings

    @property
    def unreadable(self) -> list[str]:
        """The files of the start that this process may not read any more. Their content of the start stays in use."""
        return [name for name in self._files if not os.access(name, os.R_OK, effective_ids=True)]

    def _path(self, name: str) -> InheritedPath:
        path = self._inherited.get(name)
        if path is None:
            path = self._inherited[name] = InheritedPath.of(name, self._files[name])
            path.pinned = False
        return path
