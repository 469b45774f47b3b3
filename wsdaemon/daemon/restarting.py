"""`--dev`: the parent, which starts the serving process anew whenever a file of the user's code or the settings file has changed.

It holds the listening sockets, so that a client which connects during a restart waits for the new process and is not refused. A spare
child has imported the daemon already and waits; a restart costs no more than the import of the user's own modules.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ..settings import ini
from ..settings.model import Settings
from ..settings.problems import Problem, SettingsError
from .development import refusals
from .restarted import GO, VARIABLE
from .sockets import Bound, ListenError, Sockets, wanted_sockets

LOOK_SECONDS: Final = 0.3
"""Between two looks at the files."""

SETTLE_SECONDS: Final = 0.05
"""An editor may write several files, each in several steps: the restart waits until none has changed for so long."""

STOP_SECONDS: Final = 5.0
"""A child that has not ended so long after SIGTERM is killed."""

KILLED: Final = f"the daemon did not stop within {STOP_SECONDS:g} s, and was killed"

MAX_FILES: Final = 5000
"""Files that are watched."""

_SKIPPED = {"node_modules", "site-packages", "dist-packages", "__pycache__"}

Signature = tuple[int, int, int] | None


def signature(path: str) -> Signature:
    """Changes with the file's content; None: there is no such file."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a string, for each file at each look
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def python_files(directories: Iterable[Path]) -> Iterator[str]:
    """The modules below these directories, at most MAX_FILES, without hidden directories and installed packages."""
    count = 0
    for directory in directories:
        for folder, inner, names in os.walk(directory):
            inner[:] = [name for name in inner if not name.startswith(".") and name not in _SKIPPED]
            for name in names:
                if name.endswith(".py"):
                    yield os.path.join(folder, name)  # noqa: PTH118 - a path for each file at each look
                    count += 1
                    if count >= MAX_FILES:
                        return


class WatchedFiles:
    """Files and their signatures at the start of the child."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._seen: dict[str, Signature] = {path: signature(path) for path in paths}

    def renew(self) -> None:
        """A child starts: it reads the files as they are now."""
        self._seen = {path: signature(path) for path in self._seen}

    def add(self, paths: Iterable[str], since: float) -> None:
        """The child has read these files too. One that was written after `since`, in seconds since the epoch, counts as changed."""
        for path in paths:
            if path not in self._seen and len(self._seen) < MAX_FILES:
                found = signature(path)
                self._seen[path] = None if found is not None and found[0] > since * 1e9 else found

    def changed(self) -> list[str]:
        """The files that differ from those that the child has read."""
        return [path for path, seen in self._seen.items() if signature(path) != seen]

    def settled(self, sleep: Callable[[float], object] = time.sleep) -> None:
        """Wait until no file changes any more, for a second at most."""
        before = None
        for _ in range(20):
            now = [signature(path) for path in self._seen]
            if now == before:
                return
            before = now
            sleep(SETTLE_SECONDS)


class ServingChild:
    """A child. It serves once it is told to go."""

    def __init__(self, line: Sequence[str], sockets: Mapping[str, int]) -> None:
        self.sockets = dict(sockets)
        self.channel, theirs = socket.socketpair()
        with theirs:
            told = {"parent": os.getpid(), "channel": theirs.fileno(), "sockets": self.sockets}
            # Bytecode is told apart by seconds and size: two quick changes of one size would be taken for one.
            environ = os.environ | {VARIABLE: json.dumps(told), "PYTHONDONTWRITEBYTECODE": "1"}
            self._process = subprocess.Popen(  # noqa: S603 - this Python, with its own command line
                line, env=environ, pass_fds=[theirs.fileno(), *self.sockets.values()],
                preexec_fn=_leave_interrupts_to_the_parent,  # noqa: PLW1509 - the parent has one thread
            )  # fmt: skip
        self.channel.setblocking(False)
        self._received = bytearray()
        self.reported = False

    def go(self) -> None:
        """Serve."""
        with contextlib.suppress(OSError):  # it has ended; status() tells
            self.channel.send(GO)

    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    def read(self) -> list[str]:
        """The files that it has reported since."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while data := self.channel.recv(65536):
                self._received += data
        *lines, rest = self._received.split(b"\n")
        self._received = bytearray(rest)
        self.reported = self.reported or bool(lines)
        return [path for line in lines for path in json.loads(line)]

    def stop(self, hurried: Callable[[], bool] = lambda: False) -> bool:
        """End it: with SIGTERM, and if it takes too long or there is a hurry, with SIGKILL. Whether it was killed."""
        killed = False
        deadline = time.monotonic() + STOP_SECONDS
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        while self._process.poll() is None:
            if hurried() or time.monotonic() >= deadline:
                self._process.kill()
                killed = True
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)
        self.channel.close()
        return killed


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Restarts:
    """The life of the parent."""

    def __init__(self, line: Sequence[str], source: str, directory: Path, say: Callable[[str], object]) -> None:
        """`line` starts a child, `source` is the path of the INI file, `directory` the one that modules are found in."""
        self._line = line
        self._source = source
        self._say = say
        self._directories = [directory]
        self._home = directory
        self._files = WatchedFiles([str(Path(source).absolute())])
        self._bound: dict[str, Bound] = {}
        self._maker = Sockets(os.environ)
        self._child: ServingChild | None = None
        self._spare: ServingChild | None = None
        self._ends = 0
        """How often a signal has asked the parent to end."""

    def run(self) -> int:
        """Serve until a signal asks for the end, or the child ends by itself; the exit status."""
        settings, problems = ini.read(self._source)
        if settings is not None and (refused := refusals(settings)):
            self._say(str(SettingsError(problems + refused)))
            return 1
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._end_asked)
        try:
            while not self._ends:
                if self._serve():
                    break
        finally:
            for child in (self._child, self._spare):
                if child is not None:
                    child.stop(lambda: self._ends > 1)
            for bound in self._bound.values():
                bound.close()
        return 0

    def _end_asked(self, number: int, frame: Any) -> None:
        self._ends += 1

    def _serve(self) -> bool:
        """Start a child and wait until it has ended because of a change. True: it has ended well by itself."""
        self._files.renew()
        since = time.time()
        sockets = self._open()
        if sockets is None:
            self._wait_for_change(since)
            return False
        if self._spare is not None and (self._spare.sockets != sockets or self._spare.status() is not None):
            self._spare.stop(lambda: True)
            self._spare = None
        child, self._spare = self._spare or ServingChild(self._line, sockets), None
        self._child = child
        child.go()
        status = self._watch(child, since)
        if child.stop(lambda: self._ends > 1):
            self._say(KILLED)
        self._child = None
        if status is None or self._ends:
            return False
        if status == 0:
            return True
        self._say(f"the daemon has ended with status {status}; it starts again with the next change")
        self._spare = self._spare or ServingChild(self._line, sockets)
        self._wait_for_change(since)
        return False

    def _open(self) -> dict[str, int] | None:
        """The descriptors of the sockets of the settings as they are now, by section and address. None: the settings are not in order."""
        settings, problems = ini.read(self._source)
        if settings is not None:
            problems = problems + refusals(settings)
        if settings is None or problems:
            self._say(f"{SettingsError(problems)}\nthe daemon starts with the next change")
            return None
        self._directories = [self._home, *settings.daemon.python_path]
        return self._listen(settings)

    def _listen(self, settings: Settings) -> dict[str, int] | None:
        wanted = {f"{section} {address}": (section, address, backlog) for section, address, backlog in wanted_sockets(settings)}
        for name in [name for name in self._bound if name not in wanted]:
            self._bound.pop(name).close()
        problems: list[Problem] = []
        for name, (section, address, backlog) in wanted.items():
            if name not in self._bound:
                try:
                    self._bound[name] = self._maker.take(section, address, backlog)
                except ListenError as error:
                    problems.append(settings.problem(section, str(error), "address", str(address)))
        if problems:
            self._say(f"{SettingsError(problems)}\nthe daemon starts with the next change")
            return None
        return {name: bound.sock.fileno() for name, bound in self._bound.items()}

    def _watch(self, child: ServingChild, since: float) -> int | None:
        """Until a file has changed, or the parent has to end: None; or until the child has ended: its status."""
        while not self._ends:
            select.select([child.channel], [], [], LOOK_SECONDS if child.status() is None else 0)
            self._files.add(child.read(), since)
            if (status := child.status()) is not None:
                return status
            if child.reported and self._spare is None:
                self._spare = ServingChild(self._line, child.sockets)
            if self._look():
                return None
        return None

    def _look(self) -> bool:
        """Whether a file has changed. If so, wait until all are written, and say which."""
        changed = self._files.changed()
        if changed:
            self._files.settled()
            names = [os.path.relpath(path, self._home) for path in changed[:3]]
            self._say(f"{', '.join(names)}{' and others' if len(changed) > 3 else ''}: changed, restarting")
        return bool(changed)

    def _wait_for_change(self, since: float) -> None:
        """The modules that failed are not loaded, so that every module below the directories may be the one that is mended."""
        self._files.add(python_files(self._directories), since)
        while not self._ends and not self._look():
            self._files.add(python_files(self._directories), 0.0)  # a new file counts as a change
            time.sleep(LOOK_SECONDS)
