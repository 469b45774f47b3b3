"""A line editor with history for `connect` on a terminal, by the standard library's readline."""

from __future__ import annotations

import contextlib
import os
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

PROMPT = "> "
MOST_LINES = 1000
"""Lines of the history."""


def history_path() -> Path:
    """The file with the history (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "wsdaemon" / "history"


class Prompt:
    """Reads lines in one thread, while other threads print above the line that is being typed."""

    def __init__(self) -> None:
        self._printing = threading.Lock()
        self._reading = False
        self._readline = _readline()

    def lines(self) -> Iterator[str]:
        """The lines that are typed, without their ends, until Ctrl-D."""
        while True:
            self._reading = True
            try:
                line = input(PROMPT)
            except EOFError:
                return
            finally:
                self._reading = False
            yield line

    def above(self, text: str) -> None:
        """Print a line above the prompt, and show the prompt with what is typed again."""
        with self._printing:
            if not self._reading:
                sys.stdout.write(f"{text}\n")
            else:
                typed = "" if self._readline is None else self._readline.get_line_buffer()
                sys.stdout.write(f"\r\x1b[K{text}\n{PROMPT}{typed}")
            sys.stdout.flush()

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Within it, history is kept in its file. Afterwards the terminal is as before, even if a line was being typed."""
        before = termios.tcgetattr(sys.stdin.fileno())
        path = history_path()
        if self._readline is not None:
            with contextlib.suppress(OSError):
                self._readline.read_history_file(path)
        try:
            yield
        finally:
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, before)
            if self._reading:
                sys.stdout.write("\r\x1b[K")
                sys.stdout.flush()
            if self._readline is not None:
                self._write(self._readline, path)

    def _write(self, readline: ModuleType, path: Path) -> None:
        """A history that cannot be written is no reason to fail: the conversation has happened."""
        readline.set_history_length(MOST_LINES)
        with contextlib.suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            readline.write_history_file(path)


def _readline() -> ModuleType | None:
    """The line editor, which some builds of Python lack: then lines are read without it."""
    try:
        import readline
    except ImportError:
        return None
    return readline
