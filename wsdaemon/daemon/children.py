"""The supervisor's side of its children: how one is started and ended, and when it is started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from .channel import Channel, Message
from .inheritance import Manifest, Role, environment

STACK_SECONDS: Final = 1.0
"""How long a child that hangs may take to write its stack."""

MAX_STACK_BYTES: Final = 64 * 1024


class ChildHandle(Protocol):
    """A child of this process: subprocess.Popen, or AdoptedProcess."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    def poll(self) -> int | None: ...

    def kill(self) -> None: ...

    def send_signal(self, sig: int) -> None: ...


class AdoptedProcess:
    """A child that the program before has started: it is the child of this process still (execve(2))."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        """As of subprocess.Popen: None while it runs, negative if a signal has killed it."""

    def poll(self) -> int | None:
        """Reap the child if it has ended; its status."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # reaped already, and its status is lost
                self.returncode = 0
            else:
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def send_signal(self, sig: int) -> None:
        """Does nothing once the child has ended. It is not reaped before poll(), so its number is no other process' meanwhile."""
        if self.poll() is None:
            os.kill(self.pid, sig)


class LaunchedChild:
    """A process that the supervisor has started."""

    def __init__(self, role: Role, number: int, process: ChildHandle, channel: Channel, stack: int) -> None:
        """`stack` is the end of the pipe that takes the stack of the child's main thread; -1 if it has none."""
        self.role = role
        self.number = number
        self.process = process
        self.channel = channel
        self.ready_since: float | None = None
        self.reason = ""
        """Why it did not start, in its own words."""
        self.hung = False
        """Whether it is being killed because its loop stands still."""
        self._stack = stack

    @property
    def stack(self) -> int:
        """The descriptor of the pipe; -1 without one."""
        return self._stack

    @property
    def name(self) -> str:
        return name_of(self.role, self.number)

    def how_it_ended(self) -> str:
        """Its exit status in words."""
        status = self.process.returncode
        if status is None:
            return "still runs"
        if status < 0:
            with contextlib.suppress(ValueError):
                return f"was killed by {signal.Signals(-status).name}"
            return f"was killed by signal {-status}"
        return f"ended with status {status}"

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    def forget(self) -> None:
        """Close everything of it."""
        self.channel.close()
        if self._stack >= 0:
            os.close(self._stack)
            self._stack = -1

    async def take_stack(self) -> str:
        """Ask it for the stack of its main thread; empty if it does not answer, because it is stopped or in a system call that waits."""
        if self._stack < 0:
            return ""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGQUIT)
        loop, content = asyncio.get_running_loop(), b""
        deadline = loop.time() + STACK_SECONDS
        while loop.time() < deadline and len(content) < MAX_STACK_BYTES:
            await asyncio.sleep(STACK_SECONDS / 10)
            if self._stack < 0:  # it has ended meanwhile
                break
            try:
                read = os.read(self._stack, MAX_STACK_BYTES)
            except BlockingIOError:
                read = b""
            content += read
            if content and not read:
                break
        return content.decode(errors="replace").strip()


def name_of(role: Role, number: int) -> str:
    """The child as the log calls it."""
    return f"worker {number}" if role is Role.WORKER else role.value


MODULES: Final[Mapping[Role, str]] = {Role.WORKER: "wsdaemon.daemon.worker", Role.HUB: "wsdaemon.daemon.hub"}


def start_child(
    loop: asyncio.AbstractEventLoop, make_manifest: Callable[[Mapping[str, int]], Manifest], descriptors: Mapping[str, int], *,
    received: Callable[[LaunchedChild, Message, Sequence[int]], None], ended: Callable[[LaunchedChild], None],
) -> LaunchedChild:  # fmt: skip
    """Start a child by fork and exec. `descriptors` by name are inherited; `make_manifest` is given them with those that are made here.

    `received` gets its messages, `ended` is called when it has closed its end of the channel. OSError if it cannot be started.
    """
    with contextlib.ExitStack() as kept, contextlib.ExitStack() as lent:
        ours, theirs = Channel.pair()
        kept.callback(ours.close)
        lent.callback(theirs.close)
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        kept.callback(os.close, reading)
        lent.callback(os.close, writing)
        manifest = make_manifest({**descriptors, "supervisor": theirs.fileno(), "stack": writing})
        memory = manifest.write()
        lent.callback(os.close, memory)
        process = subprocess.Popen(  # noqa: S603 - our own interpreter with our own module
            command(MODULES[manifest.role]), env=environment(os.environ, memory), stdin=subprocess.DEVNULL, close_fds=True,
            pass_fds=[memory, *manifest.descriptors.values()], start_new_session=True,
        )  # fmt: skip
        kept.pop_all()
    child: LaunchedChild
    channel = Channel(ours, loop, lambda message, passed: received(child, message, passed), lambda: ended(child))
    child = LaunchedChild(manifest.role, manifest.number, process, channel, reading)
    return child


def adopt_child(
    loop: asyncio.AbstractEventLoop, role: Role, number: int, pid: int, channel: int, stack: int, *,
    received: Callable[[LaunchedChild, Message, Sequence[int]], None], ended: Callable[[LaunchedChild], None],
) -> LaunchedChild:  # fmt: skip
    """A child that the program before has started. `channel` and `stack` are the descriptors of its ends, as of start_child()."""
    child: LaunchedChild
    end = Channel(socket.socket(fileno=channel), loop, lambda message, passed: received(child, message, passed), lambda: ended(child))
    child = LaunchedChild(role, number, AdoptedProcess(pid), end, stack)
    return child


def command(module: str) -> list[str]:
    """The command line of a child: the same interpreter with the same options, and the same places to find modules in."""
    return interpreter(f"import sys; sys.path[:] = {sys.path!r}; from {module} import main; main()")


def interpreter(begin: str) -> list[str]:
    """The command line that executes `begin` in the same interpreter with the same options."""
    options: list[str] = getattr(subprocess, "_args_from_interpreter_flags")()  # noqa: B009 - as multiprocessing does
    return [sys.executable, *options, "-P", "-c", begin]
