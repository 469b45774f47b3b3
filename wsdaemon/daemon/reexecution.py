"""The first half of an upgrade, in the program that runs: new code is checked in a child, and then takes this process over (execve(2)).

The second half is in `successor` and `next_generation`. Until the new program runs, a failure leaves everything as it was.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from twisted.logger import Logger

from .children import interpreter
from .control import OperationFailed, Say
from .inheritance import VARIABLE, environment
from .reread import SettingsFile
from .signals import HELD, Signals
from .supervisor_state import ControlSocket

if TYPE_CHECKING:
    from .supervisor import Supervisor

LOOK_SECONDS: Final = 0.05
"""Between two looks whether the check is over."""

QUIET_SECONDS: Final = 1.0
"""How long the re-execution waits for questions of workers that are under way. Those that are left get no answer."""

MAX_OUTPUT_BYTES: Final = 64 * 1024
"""Of the check, from its end."""

log = Logger(namespace="wsdaemon.supervisor")


class Reexecution:
    """Carries out the command `upgrade` until the new program runs."""

    def __init__(
        self, supervisor: Supervisor, control: ControlSocket, pidfile: str, flush_log: Callable[[], object], signals: Signals
    ) -> None:  # fmt: skip
        """`pidfile` is an absolute path; empty if there is none. `signals` are those of this process."""
        self._supervisor = supervisor
        self._control = control
        self._pidfile = pidfile
        self._flush_log = flush_log
        self._signals = signals

    async def run(self, arguments: Mapping[str, Any], say: Say) -> dict[str, Any]:
        """OperationFailed with every reason, and then everything goes on as before. Does not return otherwise."""
        supervisor = self._supervisor
        try:
            supervisor.check_upgradable()
            text = SettingsFile(supervisor.settings.source, supervisor.directory, {}).read()
            say("checking the new code and the settings")
            await self._check(text)
            await supervisor.until_quiet(QUIET_SECONDS)
            say("the new code takes over")
            self._execute(text)
        except OperationFailed as failed:
            supervisor.log_failed_upgrade(failed)
            raise

    async def _check(self, text: str) -> None:
        """OperationFailed with the problems that the check finds, or with its output if it cannot even begin."""
        memory = self._supervisor.leave_state(text, self._control, self._pidfile).write()
        output = os.memfd_create("wsdaemon-check", os.MFD_CLOEXEC)
        loop = asyncio.get_running_loop()
        process: subprocess.Popen[bytes] | None = None
        try:
            process = subprocess.Popen(  # noqa: S603, ASYNC220 - our own interpreter with our own module; fork and exec take a millisecond
                fresh_command("wsdaemon.daemon.check_new"), env=environment(os.environ, memory), stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, pass_fds=[memory], start_new_session=True,
            )  # fmt: skip
            limit = self._supervisor.settings.daemon.start_timeout
            deadline = loop.time() + limit
            while process.poll() is None:
                if loop.time() > deadline:
                    raise OperationFailed(f"the check of the new code takes longer than {limit:g} s")
                await asyncio.sleep(LOOK_SECONDS)
            size = os.fstat(output).st_size
            written = os.pread(output, MAX_OUTPUT_BYTES, max(size - MAX_OUTPUT_BYTES, 0)).decode(errors="replace")
        except OSError as error:
            raise OperationFailed(f"the system cannot start {sys.executable}: {error.strerror}") from error
        finally:
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
            os.close(memory)
            os.close(output)
        if problems := found_problems(written, process.returncode):
            raise OperationFailed(*problems)

    def _execute(self, text: str) -> NoReturn:
        """Become the new program. OperationFailed if the system refuses, or if the daemon is to stop."""
        state = self._supervisor.leave_state(text, self._control, self._pidfile)
        memory = state.write()
        environ = {name: value for name, value in os.environ.items() if not name.startswith("LISTEN_")} | {VARIABLE: str(memory)}
        kept = [memory, *state.descriptors.values()]
        log.info("the new code takes over the process of the supervisor")
        self._flush_log()
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
        try:
            if self._signals.stopping:  # the new program could not know of a signal that has arrived here
                raise OperationFailed("the daemon stops")
            for descriptor in kept:
                os.set_inheritable(descriptor, True)
            for number in self._signals.owed:  # it waits, blocked, until the new program can take it; another thread would take it at once
                signal.pthread_kill(threading.get_ident(), number)
            self._supervisor.notifier.watchdog()  # the new program takes a while until its first sign of life
            os.execve(sys.executable, fresh_command("wsdaemon.daemon.successor"), environ)  # noqa: S606 - our own module
        except OSError as error:
            raise OperationFailed(f"the system cannot start {sys.executable}: {error.strerror}") from error
        finally:  # the daemon goes on
            for descriptor in kept:
                os.set_inheritable(descriptor, False)
            os.close(memory)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


def found_problems(written: str, status: int) -> Sequence[str]:
    """The problems in the output of a check."""
    last = written.rstrip().rpartition("\n")[2]
    try:
        problems = [str(problem) for problem in json.loads(last)["problems"]]
    except (ValueError, KeyError, TypeError):
        return [f"the check of the new code ended with status {status}\n{written.strip()}"]
    return problems if problems or status == 0 else [f"the check of the new code ended with status {status}"]


def inside(place: str, directory: str) -> bool:
    """Whether a path is that of a directory or leads into it."""
    return Path(place).is_relative_to(directory)


def fresh_command(module: str) -> list[str]:
    """The command line of a new program of our own: the interpreter finds its own library, and the places of this process come first."""
    library = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    places = [place for place in sys.path if place and not place.endswith(".zip") and not any(inside(place, each) for each in library)]
    begin = f"import sys; sys.path[:0] = [each for each in {places!r} if each not in sys.path]; from {module} import main; main()"
    return interpreter(begin)
