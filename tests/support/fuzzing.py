"""One fuzz run: how many inputs each target gets and from which seed, what is checked of all of them, and what is said of one that fails.

An input is a value that `repr` writes out as it is: bytes, text, numbers, and tuples or lists of these. A target makes inputs from a
`Random` and has a check, which raises for what must not be.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, TypeVar, cast

from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from zope.interface import directlyProvides

Input = TypeVar("Input")
Check = Callable[[Sequence[Input]], None]

INPUTS = int(os.environ.get("WSDAEMON_FUZZ", "5000"))
"""Of all targets together."""

SEED = os.environ.get("WSDAEMON_FUZZ_SEED", "1")

SHARES = {"connections": 34, "requests": 10, "rooms": 18, "deflate": 12, "proxy": 7, "forwarded": 7, "settings": 5, "admin": 7}
"""Percent of the inputs that each target gets."""

BATCH = 50
"""Inputs that share a world, one after the other. After each batch it is seen whether they left something behind."""

MOST_TRIES = 2000
"""Checks that making a failing input smaller may take."""

LAST_RESORT = 120
"""Seconds after which a batch is taken for a hang that no bound of turns or reads has seen. No measure: a batch takes about one."""

BLOCKS_FOR_EACH = 0.05
BLOCKS = 1000
"""Blocks of memory, as Python counts its allocations, that may be more at the end of a run than after its first fifth: some for each input,
far less than one object, and some for what settles late, such as caches of regular expressions."""

RESIDENT = 32 << 20
"""The same in bytes of the process, for what Python does not count."""

ran: Counter[str] = Counter()
"""Inputs that were checked, by target, for the line at the end of the run."""


class Hang(BaseException):
    """Not an Exception, which the tested code may catch."""


def random_of(target: str, number: int) -> Random:
    return Random(f"{SEED} {target} {number}")


def count_of(target: str) -> int:
    return max(1, INPUTS * SHARES[target] // 100)


def run(target: str, make: Callable[[Random], Input], check: Check[Input]) -> None:
    """Make and check all of the target's inputs. AssertionError that names the first that failed."""
    count, growth = count_of(target), Growth()
    with _collected():
        for first in range(0, count, BATCH):
            numbers = range(first, min(first + BATCH, count))
            inputs = [make(random_of(target, number)) for number in numbers]
            error = failure(check, inputs)
            if error is not None:
                raise AssertionError(explain(target, numbers, inputs, check, error)) from error
            ran[target] += len(inputs)
            del inputs
            growth.look()
        growth.check(count)


def again(one: Input, check: Check[Input]) -> None:
    """Check one input that once failed."""
    with _collected():
        error = failure(check, [one])
    if error is not None:
        raise AssertionError(f"{type(error).__name__}: {error}") from error


def failure(check: Check[Input], inputs: Sequence[Input]) -> BaseException | None:
    """The exception of the check."""
    try:
        with _last_resort(), own_faults_are_failures():
            check(inputs)
    except (Exception, Hang) as error:
        return error
    return None


def explain(target: str, numbers: range, inputs: Sequence[Input], check: Check[Input], error: BaseException) -> str:
    """Which input it was, written out as small as it can be made."""
    for number, one in zip(numbers, inputs, strict=True):
        alone = failure(check, [one])
        if alone is not None:
            smaller, why = shrink(one, check, alone)
            return (
                f"target {target!r}, seed {SEED!r}, input {number}: {type(why).__name__}: {why}\n"
                f"The smallest input found that fails, to be put into FOUND in test_fuzz_{target}.py:\n    {smaller!r}"
            )
    return (
        f"target {target!r}, seed {SEED!r}, inputs {numbers.start} to {numbers.stop - 1} together, none of them alone: "
        f"{type(error).__name__}: {error}\n    {list(inputs)!r}"
    )


# -- smaller inputs


def shrink(value: Any, check: Check[Any], error: BaseException) -> tuple[Any, BaseException]:
    """A smaller input that fails with the same kind of error, and that error."""
    tries, found = 0, True
    while found and tries < MOST_TRIES:
        found = False
        for candidate in smaller_ones(value):
            tries += 1
            now = failure(check, [candidate])
            if now is not None and place_of(now) == place_of(error):
                value, error, found = candidate, now, True
                break
            if tries >= MOST_TRIES:
                break
    return value, error


def place_of(error: BaseException) -> tuple[type, str, int]:
    """The kind of the error, and the place that raised it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return type(error), frame.filename, frame.lineno or 0


def smaller_ones(value: Any) -> Iterator[Any]:
    """Values that are a little less than this one, those that are much less first. Tuples are records: they keep their length."""
    parts: Any = value
    if isinstance(value, bytes | str | list):
        size = len(value)
        while size := size // 2:
            for start in range(0, len(value), size):
                yield parts[:start] + parts[start + size :]
    if isinstance(value, list | tuple):
        for index, part in enumerate(value):
            for smaller in smaller_ones(part):
                yield parts[:index] + type(value)([smaller]) + parts[index + 1 :]


# -- what is watched all the time


@contextmanager
def own_faults_are_failures() -> Iterator[None]:
    """No line of the level error, and no traceback, may be logged: what a client does is no error of ours."""
    faults: list[str] = []

    def observe(event: LogEvent) -> None:
        if event.get("log_failure") is not None or event.get("log_level") in (LogLevel.error, LogLevel.critical):
            text = f"{event.get('log_namespace')}: {event.get('log_format')}"
            known = event.get("log_failure")
            faults.append(text if known is None else f"{text}: {known.getTraceback()}")

    directlyProvides(observe, ILogObserver)
    observer = cast("ILogObserver", observe)
    globalLogPublisher.addObserver(observer)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observer)
    assert faults == [], "\n".join(faults[:3])


@contextmanager
def _collected() -> Iterator[None]:
    """Garbage is collected where we say so, and quickly: what was there before is not looked at."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


@contextmanager
def _last_resort() -> Iterator[None]:
    def hang(number: int, frame: object) -> None:
        raise Hang(f"not done after {LAST_RESORT} seconds")

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(LAST_RESORT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Growth:
    """Memory after each batch."""

    def __init__(self) -> None:
        self.blocks: list[int] = []
        self.resident: list[int] = []

    def look(self) -> None:
        gc.collect()
        self.blocks.append(sys.getallocatedblocks())
        self.resident.append(resident())

    def check(self, inputs: int) -> None:
        fifth = len(self.blocks) // 5
        if fifth < 1:
            return
        allowed = BLOCKS + inputs * BLOCKS_FOR_EACH
        for name, seen, most in (("blocks", self.blocks, allowed), ("bytes", self.resident, RESIDENT)):
            before, after = max(seen[: 2 * fifth]), min(seen[-fifth:])
            some = seen[:: max(1, len(seen) // 20)]
            assert after - before <= most, f"memory grew by {after - before} {name} over {inputs} inputs: {some}"


def resident() -> int:
    """Bytes of memory that the process holds; 0 where that cannot be seen."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


class Budget:
    """Bounds work that is counted, not timed."""

    def __init__(self) -> None:
        self.left = 0

    def set(self, most: int) -> None:
        self.left = most

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Hang("more reads and turns than an input of this length can need")

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.spend()
            return function(*arguments, **options)

        return call
