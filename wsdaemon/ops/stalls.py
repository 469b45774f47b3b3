"""Stalls: the loop is held by one call for longer than `stall_warning`, and a thread writes the stack of that call to the log.

While one callback runs, no client is read, pinged or answered. A blocking call in an app is the usual reason: `time.sleep`, a synchronous
database driver, a long computation. The log shows such a call only from another thread, and only while it lasts.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from types import CodeType, FrameType, MemberDescriptorType
from typing import Any, NamedTuple

from twisted.logger import Logger

from ..core.connection import Connection
from ..core.rare_lines import LineLog, RareLines

LOOKS_PER_STALL = 4
"""The thread asks the loop for a sign this often within `stall_warning`, so that a stall a quarter longer is never missed."""

MAX_FRAMES_SHOWN = 30
"""Frames of a stack in the log, the innermost ones."""

LEAST_SHARE_OF_WORK = 0.25
"""A stall in which the thread of the watch could not run either is a stall if the process used at least this share of a CPU meanwhile.

A call into C that holds the interpreter's lock is one. If the process was stopped, or the machine slept, no time of a CPU passed.
"""

ELSEWHERE = "-"
"""The mount of a stall that no connection of a mount caused, or none that can be seen in the stack."""


class Stall(NamedTuple):
    """One stall, seen while it lasted: the mount whose work held the loop, the app in words, and the stack, outermost call first."""

    mount: str
    app: str
    call: str
    """The innermost call. Stalls of the same call share their lines."""
    stack: str


class StallWatch:
    """Watches one loop from a thread. A part of the daemon that is started and stopped.

    `seconds` is the shortest time that counts as a stall. `app_of` names the app of a mount. A stall is counted by mount in `counts` and
    logged as soon as the thread sees it. When it is over, a second line gives its length. Each call has at most one of each line a minute.
    `clock` and `work` return seconds: of the machine, and of the CPU time of this process.
    """

    name = "stall watch"

    def __init__(
        self, loop: asyncio.AbstractEventLoop, seconds: float, app_of: Callable[[str], str], counts: dict[str, int],
        log: LineLog | None = None, clock: Callable[[], float] = time.monotonic, work: Callable[[], float] = time.process_time,
    ) -> None:  # fmt: skip
        self._counts = counts
        self._loop = loop
        self._seconds = seconds
        self._app_of = app_of
        self._lines = RareLines(log or Logger(namespace="wsdaemon.stalls"))
        self._clock = clock
        self._work = work
        self._over = threading.Event()
        self._sign = threading.Event()
        self._loop_thread = 0
        self._runner: CodeType | None = None
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        self._loop_thread = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="wsdaemon stall watch", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        self._over.set()
        self._sign.set()

    def _give_sign(self) -> None:
        """The loop turns. Its callbacks are called by one function: if that function is the innermost one, no callback holds the loop."""
        self._runner = sys._getframe(1).f_code
        self._sign.set()

    # -- the thread

    def _watch(self) -> None:
        pause = self._seconds / LOOKS_PER_STALL
        while not self._over.wait(pause):
            self._sign.clear()
            try:
                self._loop.call_soon_threadsafe(self._give_sign)
            except RuntimeError:  # the loop is closed
                return
            asked, worked = self._clock(), self._work()
            if not self._sign.wait(self._seconds):
                self._look(asked, worked)

    def _look(self, asked: float, worked: float) -> None:
        """The loop has given no sign for `seconds`: report the call that holds it, then wait until that is over."""
        waited = self._clock() - asked
        late = waited > 2 * self._seconds
        if late and self._work() - worked < waited * LEAST_SHARE_OF_WORK:
            return
        stall = self._stall(late)
        if stall is None or self._over.is_set():
            return
        self._report(stall)
        self._sign.wait()
        if not self._over.is_set():
            self._lines.warn(
                f"end {stall.call}", "the loop goes on: {app} held it for {seconds:.2f} s",
                app=stall.app, seconds=self._clock() - asked, mount=stall.mount,
            )  # fmt: skip

    def _stall(self, late: bool) -> Stall | None:
        """The stall that the stack of the loop's thread shows; None if it has just ended.

        If this thread is late as well, the stall counts even then: a call into C held the interpreter's lock, and has returned since.
        """
        frames = list(_outwards(sys._current_frames().get(self._loop_thread), self._runner))
        if frames:
            mount = next((found for frame in frames if (found := mount_in(frame)) is not None), ELSEWHERE)
            summary = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in reversed(frames[:MAX_FRAMES_SHOWN]))
            call = f"{frames[0].f_code.co_filename}:{frames[0].f_code.co_name}"
            return Stall(mount, self._named(mount), call, "".join(summary.format()).rstrip())
        return Stall(ELSEWHERE, "a call into C, which has returned,", "C", "") if late else None

    def _named(self, mount: str) -> str:
        return "the daemon itself, or a task of an app," if mount == ELSEWHERE else f"{self._app_of(mount)} at {mount}"

    def _report(self, stall: Stall) -> None:
        self._counts[stall.mount] = self._counts.get(stall.mount, 0) + 1
        self._lines.warn(
            f"stall {stall.call}", "the loop is held for more than {seconds:g} s by {app} and no client is served meanwhile",
            seconds=self._seconds, app=stall.app, mount=stall.mount, log_stack=stall.stack or None,
        )  # fmt: skip


def _outwards(frame: FrameType | None, runner: CodeType | None) -> Iterator[FrameType]:
    """The frames from the innermost one out to the function that runs the loop, without that."""
    while frame is not None and frame.f_code is not runner:
        yield frame
        frame = frame.f_back


def mount_in(frame: FrameType) -> str | None:
    """The mount of a connection that this call works for: one of its local variables is the connection, or an object that has it."""
    for value in list(frame.f_locals.values()):
        for found in (value, _attribute(value, "connection"), _attribute(value, "_connection")):
            if isinstance(found, Connection) and (handshake := _attribute(found, "handshake")) is not None:  # None: it is being made
                mount: str = handshake.mount
                return mount
    return None


def _attribute(value: object, name: str) -> Any:
    """An attribute that is in a slot or the dict of an object. Properties of users' classes are never called from this thread."""
    for cls in type(value).__mro__:
        slot = vars(cls).get(name)
        if isinstance(slot, MemberDescriptorType):
            try:
                return slot.__get__(value)
            except AttributeError:
                return None
    try:
        return object.__getattribute__(value, "__dict__").get(name)
    except AttributeError:
        return None
