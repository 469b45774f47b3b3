"""Logs that tests read, and what they are written to."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from twisted.logger import ILogObserver, LogEvent, Logger, formatEvent, globalLogPublisher

from wsdaemon.ops.log_destinations import DescriptorDestination
from wsdaemon.ops.log_format import TextRenderer, TextShape
from wsdaemon.ops.logs import DaemonLog, LevelFilter


def log_to(destination: Any, complaints: list[str] | None = None) -> DaemonLog:
    """A log in the shape that is easiest to compare."""
    return DaemonLog(
        LevelFilter("debug", {}), TextRenderer(TextShape.PREFIXED), destination, ([] if complaints is None else complaints).append
    )


@contextmanager
def lines_meanwhile(show: Callable[[LogEvent], str] = formatEvent) -> Iterator[list[str]]:
    """The lines that are logged meanwhile, as `show` has them."""
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        lines.append(show(event))

    observer = cast(ILogObserver, observe)
    globalLogPublisher.addObserver(observer)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(observer)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def logger_to(log: DaemonLog, namespace: str = "wsdaemon.test") -> Logger:
    observer: Any = log
    return Logger(namespace, observer=observer)


class Pipe:
    """Standard output that is a pipe."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)

    def text(self) -> str:
        try:
            return os.read(self.reading, 1 << 20).decode()
        except BlockingIOError:
            return ""


def fill(destination: DescriptorDestination, entry: bytes) -> int:
    """Write until no more is taken: how many entries were."""
    for count in itertools.count():
        try:
            destination.write(entry)
        except BlockingIOError:
            return count
    raise AssertionError
