"""A log that keeps its lines."""

from __future__ import annotations

from typing import Any


class Lines:
    """Keeps the lines of a log, and of each the level."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str]] = []

    @property
    def lines(self) -> list[str]:
        """Those of level info and above."""
        return [line for level, line in self.all if level != "debug"]

    def debug(self, format: str, **fields: Any) -> None:
        self.all.append(("debug", format.format(**fields)))

    def info(self, format: str, **fields: Any) -> None:
        self.all.append(("info", format.format(**fields)))

    def warn(self, format: str, **fields: Any) -> None:
        self.all.append(("warn", format.format(**fields)))

    def error(self, format: str, **fields: Any) -> None:
        self.all.append(("error", format.format(**fields)))

    def failure(self, format: str, failure: Any, **fields: Any) -> None:
        self.all.append(("failure", format.format(**fields)))
