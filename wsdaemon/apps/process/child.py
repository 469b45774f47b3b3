"""One running program: its pipes, its process group, and its end.

The program is the leader of a session and of a process group of its own. A pidfd tells of its end, so no handler of SIGCHLD is needed,
and no other code's children are waited for. The group is signalled before the leader is waited for: until then no other process can get
its number.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import Protocol, cast

READ_BYTES = 64 * 1024
"""Output that is taken in one read: what a pipe holds by default."""

PIECES_AT_ONCE = 64
"""Messages in one write, if several wait."""

USUAL_FILES = 1024
"""The soft limit of open files of a program. The daemon's own is higher, and some programs close, or select(), up to it."""

READS_AT_THE_END = 16
"""Reads of output, and of errors, after the program's end: a pipe holds up to 1 MiB (pipe(7))."""

GROUP_LOOK_SECONDS = 0.05
"""Between two looks whether the rest of a process group is gone."""


OUT_OF_REACH = (
    "{mount}: program {pid} has not ended, and this user may not kill it, because it runs as another user: let it end when its standard "
    "input does, or run the daemon as a user that may send it signals"
)
"""The line about such a program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a program is started and ended. `executable` is its absolute path; `stop_timeout` in seconds."""

    executable: str
    argv: Sequence[str]
    directory: Path | None
    stop_timeout: float
    limits: str = ""
    """Commands of a shell that set limits, each with ` && ` behind it."""

    def start(self, environment: Mapping[bytes, bytes]) -> subprocess.Popen[bytes]:
        """Start it, with pipes. OSError, with the program's path or the directory as its filename."""
        argv, executable = list(self.argv), self.executable
        if self.limits:  # a function between fork and exec would cost a copy of the daemon's page tables, and is not safe beside threads
            argv, executable = ["/bin/sh", "-c", f'{self.limits}exec "$0" "$@"', executable, *argv[1:]], "/bin/sh"
        return subprocess.Popen(  # noqa: S603 - the operator's command
            argv, executable=executable, cwd=self.directory, env=environment, bufsize=0, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip


def limits(cpu: int, memory: int, files: int) -> str:
    """The `limits` of a Launch: seconds, bytes and open files; 0 leaves a limit as it is."""
    wanted = [("t", cpu), ("v", -(-memory // 1024)), ("n", files)]
    return "".join(f"ulimit -{letter} {value} && " for letter, value in wanted if value)


class Parent(Protocol):
    """The object that a program runs for."""

    def output(self, data: bytes) -> None:
        """The program wrote this to its standard output."""

    def errors(self, data: bytes) -> None:
        """The program wrote this to its standard error."""

    def output_ended(self, status: int) -> None:
        """The program has ended and all of its output was given. `status`: its exit status, or minus the number of a signal."""

    def gone(self) -> None:
        """Nothing of the program is left: no descriptor, and no process of its group that can be killed."""

    def out_of_reach(self) -> None:
        """The program does not end, and the system does not let this user kill it. It may end later."""


def outcome_of(status: int) -> str:
    """How a program has ended, in words for the log."""
    return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"


def _handle_of(process: subprocess.Popen[bytes], streams: Iterable[FileIO]) -> int:
    """The descriptor that tells of the end of the process. OSError; nothing is left of the process then."""
    try:
        return os.pidfd_open(process.pid)
    except OSError:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in streams:
            stream.close()
        raise


class Child:
    """A program that runs. Constructed, it has started."""

    __slots__ = (
        "_denied", "_discarding", "_errors", "_group_ended", "_group_left", "_input_ends", "_launch", "_loop", "_output", "_parent",
        "_paused", "_pending", "_pidfd", "_process", "_reads_left", "_room", "_stdin", "_timer", "_told", "pid", "status", "unwritten",
    )  # fmt: skip

    def __init__(
        self, launch: Launch, environment: Mapping[bytes, bytes], parent: Parent, loop: asyncio.AbstractEventLoop
    ) -> None:  # fmt: skip
        """OSError when it cannot be started; nothing is left of it then."""
        self._launch = launch
        self._parent = parent
        self._loop = loop
        self._process = process = launch.start(environment)
        self.pid = process.pid
        self.status: int | None = None
        self._pending: deque[memoryview] = deque()
        self.unwritten = 0
        self._room: asyncio.Future[None] | None = None
        self._input_ends = False
        self._paused = False
        self._discarding = self._denied = False
        self._group_left = 0.0
        self._group_ended = False
        self._told = False
        """Whether the parent knows of the end of the output."""
        self._reads_left = READS_AT_THE_END
        self._timer: asyncio.TimerHandle | None = None
        streams = [cast(FileIO, stream) for stream in (process.stdin, process.stdout, process.stderr)]
        self._stdin: FileIO | None = streams[0]
        self._output: FileIO | None = streams[1]
        self._errors: FileIO | None = streams[2]
        self._pidfd = _handle_of(process, streams)
        if not launch.limits:
            self._usual_files()
        for stream in streams:
            os.set_blocking(stream.fileno(), False)
        loop.add_reader(streams[1].fileno(), self._read_output)
        loop.add_reader(streams[2].fileno(), self._read_errors)
        loop.add_reader(self._pidfd, self._exited)

    def _usual_files(self) -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        usual = USUAL_FILES if hard == resource.RLIM_INFINITY else min(USUAL_FILES, hard)
        with suppress(OSError, ValueError):  # it may have ended, or a sandbox forbids it
            resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (usual, hard))

    # -- its standard input

    def write(self, data: bytes) -> asyncio.Future[None] | None:
        """Write to its standard input. If the program does not take all of it at once, the result is done as soon as it has.

        `unwritten` are the bytes that it has not taken. A program that has closed its input misses what is written to it.
        """
        if self._stdin is None or self._input_ends:
            return None
        rest = memoryview(data)
        if not self._pending:
            rest = rest[self._write_some([rest]) :]
            if not rest or self._stdin is None:
                return None
            self._loop.add_writer(self._stdin.fileno(), self._write_rest)
        self._pending.append(rest)
        self.unwritten += len(rest)
        return self.taken()

    def taken(self) -> asyncio.Future[None] | None:
        """Done when the program has taken all that was written to it; None if it has."""
        if not self._pending:
            return None
        if self._room is None:
            self._room = self._loop.create_future()
        return self._room

    def _write_some(self, pieces: list[memoryview]) -> int:
        assert self._stdin is not None
        try:
            return os.writev(self._stdin.fileno(), pieces)
        except BlockingIOError:
            return 0
        except OSError:  # the program has closed it, or has ended
            self._close_input()
            return 0

    def _write_rest(self) -> None:
        sent = self._write_some(list(islice(self._pending, PIECES_AT_ONCE)))
        if self._stdin is None:
            return
        self.unwritten -= sent
        while self._pending and sent >= len(self._pending[0]):
            sent -= len(self._pending.popleft())
        if sent:
            self._pending[0] = self._pending[0][sent:]
        if not self._pending:
            self._loop.remove_writer(self._stdin.fileno())
            self._all_taken()
            if self._input_ends:
                self._close_input()

    def _all_taken(self) -> None:
        self._pending.clear()
        self.unwritten = 0
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def _close_input(self) -> None:
        stdin, self._stdin = self._stdin, None
        if stdin is not None:
            if self._pending:
                self._loop.remove_writer(stdin.fileno())
            stdin.close()
            self._all_taken()

    # -- its standard output and error

    def pause(self) -> None:
        """Read no more output until resume(): the program waits as soon as the pipe is full."""
        if not self._paused and not self._discarding and self._output is not None:
            self._paused = True
            if self.status is None:
                self._loop.remove_reader(self._output.fileno())

    def resume(self) -> None:
        if not self._paused:
            return
        self._paused = False
        if self.status is not None:
            self._read_the_rest()
        elif self._output is not None:
            self._loop.add_reader(self._output.fileno(), self._read_output)

    def _read_output(self) -> bool:
        """Take some output. False: there is none at the moment, or none any more."""
        assert self._output is not None
        data = self._output.read(READ_BYTES)
        if data:
            if not self._discarding:
                self._parent.output(data)
            return True
        if data is not None:
            self._close_output()
        return False

    def _read_the_rest(self) -> None:
        """The program has ended: its pipe holds the last of its output. Another process of its group may hold the other end, and write on,
        so no more is read than a pipe can hold.
        """
        while self._output is not None and not self._paused:
            self._reads_left -= 1
            if not self._read_output() or not self._reads_left:
                self._close_output()
        if self._output is None and self.status is not None and not self._paused:
            self._parent.output_ended(self.status)
            self._told = True
            self._perhaps_gone()

    def _close_output(self) -> None:
        output, self._output = self._output, None
        if output is not None:
            if not self._paused and self.status is None:
                self._loop.remove_reader(output.fileno())
            output.close()

    def _read_errors(self) -> bool:
        assert self._errors is not None
        data = self._errors.read(READ_BYTES)
        if data:
            self._parent.errors(data)
            return True
        if data is not None:
            self._close_errors()
        return False

    def _close_errors(self) -> None:
        errors, self._errors = self._errors, None
        if errors is not None:
            self._loop.remove_reader(errors.fileno())
            errors.close()

    # -- its end

    def end(self) -> None:
        """The program is to end: its input is closed, its output is thrown away, and what does not end by itself is killed."""
        self._discarding = True
        self.resume()
        if self.status is not None or self._timer is not None:
            return
        self._input_ends = True
        if not self._pending:
            self._close_input()
        self._timer = self._loop.call_later(self._launch.stop_timeout, self._terminate)

    def kill(self) -> None:
        """End the program at once."""
        self._discarding = True
        self.resume()
        if self.status is None:
            self._close_input()
            self._signal(signal.SIGKILL)

    def _terminate(self) -> None:
        self._close_input()
        self._signal(signal.SIGTERM)
        self._timer = self._loop.call_later(self._launch.stop_timeout, self._kill_at_last)

    def _kill_at_last(self) -> None:
        self._signal(signal.SIGKILL)
        if self._denied:
            self._parent.out_of_reach()

    def _signal(self, number: int) -> bool:
        """Signal the whole group; False if there is none any more."""
        try:
            os.killpg(self.pid, number)
            self._denied = False
        except ProcessLookupError:
            return False
        except PermissionError:  # all that is left runs as another user
            self._denied = True
        return True

    def _exited(self) -> None:
        """The program has ended; others of its group may not have."""
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._signal(signal.SIGTERM)
        if self._output is not None and not self._paused:
            self._loop.remove_reader(self._output.fileno())
        self.status = self._process.wait()
        self._close_input()
        for _ in range(READS_AT_THE_END):
            if self._errors is None or not self._read_errors():
                break
        self._close_errors()
        self._group_left = self._loop.time() + self._launch.stop_timeout
        self._read_the_rest()
        self._look_at_group(False)

    def _look_at_group(self, killed: bool) -> None:
        """Kill processes of the group that do not end, whether or not the client takes the output. `killed`: SIGKILL was sent before."""
        late = self._loop.time() - self._group_left
        if not self._signal(0) or (killed and late > self._launch.stop_timeout):
            self._group_ended = True  # no look after this one: another group may have the number
            self._perhaps_gone()
            return
        if late >= 0:
            killed = self._signal(signal.SIGKILL)
        self._loop.call_later(GROUP_LOOK_SECONDS, self._look_at_group, killed)

    def _perhaps_gone(self) -> None:
        if self._group_ended and self._told:
            self._parent.gone()
