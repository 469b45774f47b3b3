"""parts.py: steps in order, what signals do, and what systemd is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from tests.support.fakes import Loop
from wsdaemon.core.contract import StartFailed
from wsdaemon.daemon import parts
from wsdaemon.daemon.parts import AppStep, StartError, State, Watchdog, start_in_order, stop_in_order


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as loop:
        yield loop


def run(loop: Loop, coroutine: Any, seconds: float = 0.0) -> Any:
    task = loop.create_task(coroutine)
    loop.advance(seconds)
    return task.result()


class Part:
    """A part made of two functions."""

    def __init__(self, name: str, start: Callable[[], Coroutine[Any, Any, None]], stop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.name = name
        self.start = start
        self.stop = stop


class Steps:
    """Steps that write down what happens to them."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def step(self, name: str, *, fails_to: str = "", seconds: float = 0.0, error: BaseException | None = None) -> Part:
        async def do(what: str) -> None:
            self.events.append(f"{what} {name}")
            await asyncio.sleep(seconds)
            self.events.append(f"{name} {what}ed")
            if fails_to == what:
                raise error or RuntimeError(name)

        return Part(name, lambda: do("start"), lambda: do("stop"))


def test_each_step_waits_for_the_one_before_it(loop: Loop) -> None:
    steps = Steps()
    started = run(loop, start_in_order([steps.step("a", seconds=5), steps.step("b")], 60.0), 10)
    run(loop, stop_in_order(started), 10)
    assert steps.events == ["start a", "a started", "start b", "b started", "stop b", "b stoped", "stop a", "a stoped"]


def test_a_start_that_fails_stops_what_was_started_and_raises(loop: Loop) -> None:
    """Twisted's MultiService leaves the others running."""
    steps = Steps()
    with pytest.raises(RuntimeError, match="b"):
        run(loop, start_in_order([steps.step("a"), steps.step("b", fails_to="start"), steps.step("c")], 60.0))
    assert steps.events == ["start a", "a started", "start b", "b started", "stop a", "a stoped"]


def test_a_start_that_is_cancelled_stops_what_was_started(loop: Loop) -> None:
    steps = Steps()
    task = loop.create_task(start_in_order([steps.step("a"), steps.step("b", seconds=100)], 60.0))
    loop.settle()
    task.cancel()
    loop.settle()
    assert task.cancelled()
    assert steps.events[-2:] == ["stop a", "a stoped"]


def test_a_stop_that_fails_hinders_no_other(loop: Loop) -> None:
    steps = Steps()
    run(loop, stop_in_order([steps.step("a"), steps.step("b", fails_to="stop")]))
    assert steps.events == ["stop b", "b stoped", "stop a", "a stoped"]


def test_a_stop_that_awaits_a_task_which_it_cancelled_hinders_no_other(loop: Loop, logged: list[str]) -> None:
    """Its CancelledError would end the stop half-way."""
    steps = Steps()
    run(loop, stop_in_order([steps.step("a"), steps.step("b", fails_to="stop", error=asyncio.CancelledError())]))
    assert steps.events == ["stop b", "b stoped", "stop a", "a stoped"]
    assert logged == ["b did not stop cleanly"]


def test_a_stop_that_is_cancelled_ends(loop: Loop) -> None:
    steps = Steps()
    task = loop.create_task(stop_in_order([steps.step("a"), steps.step("b", seconds=100)]))
    loop.settle()
    task.cancel()
    loop.settle()
    assert task.cancelled()


def test_a_start_that_takes_too_long_is_told_and_then_ended(loop: Loop, logged: list[str]) -> None:
    steps = Steps()
    with pytest.raises(StartError, match=r"^b has not started; the whole start may take 60 s \(\[daemon\] start_timeout\)$"):
        run(loop, start_in_order([steps.step("a", seconds=35), steps.step("b", seconds=1000)], 60.0), 120)
    assert steps.events == ["start a", "a started", "start b", "stop a", "a stoped"]
    assert logged[:3] == [f"waiting for a to start: {seconds} s so far" for seconds in (10, 20, 30)]


def test_a_stop_that_takes_long_is_told(loop: Loop, logged: list[str]) -> None:
    run(loop, stop_in_order([Steps().step("a", seconds=25)]), 40)
    assert logged == ["waiting for a to stop: 10 s so far", "waiting for a to stop: 20 s so far"]


def test_a_part_that_does_not_end_when_it_is_cancelled_hinders_no_start_from_ending(loop: Loop) -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                if over:
                    raise

    over: list[bool] = []
    part = Part("stubborn", stubborn, stubborn)
    with pytest.raises(StartError, match="stubborn has not started"):
        run(loop, start_in_order([part], 60.0), 60 + parts.CANCEL_SECONDS + 1)
    over.append(True)
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.settle()


# -- apps


class FailingApp:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def start(self) -> None:
        raise self._error

    async def stop(self) -> None:
        raise self._error


def test_an_app_that_does_not_start_gives_the_users_traceback(loop: Loop) -> None:
    with pytest.raises(StartError) as raised:
        run(loop, AppStep(FailingApp(RuntimeError("mine")), "ws.ini: [mount:/]").start())
    text = str(raised.value)
    assert text.startswith("ws.ini: [mount:/]: the app did not start\nTraceback")
    assert text.endswith("RuntimeError: mine")
    assert "raise self._error" in text
    assert "in start\n    await" not in text, "only the user's own lines"


def test_an_app_whose_start_awaits_a_task_which_it_cancelled_is_told_as_any_other(loop: Loop) -> None:
    with pytest.raises(StartError, match=r"here: the app did not start\nTraceback[\s\S]*CancelledError"):
        run(loop, AppStep(FailingApp(asyncio.CancelledError()), "here").start())


def test_an_apps_own_start_error_stays_as_it_is(loop: Loop) -> None:
    with pytest.raises(StartError, match=r"^mine$"):
        run(loop, AppStep(FailingApp(StartError("mine")), "here").start())


def test_an_app_whose_words_are_enough_shows_no_traceback_of_ours(loop: Loop) -> None:
    with pytest.raises(StartError, match=r"^here: the app did not start\nno database$"):
        run(loop, AppStep(FailingApp(StartFailed("no database\n")), "here").start())


class StartsOnly:
    """An app with `start` and no `stop`."""

    def __init__(self) -> None:
        self.done: list[str] = []

    async def start(self) -> None:
        self.done.append("start")


class StopsOnly:
    """An app with `stop` and no `start`."""

    def __init__(self) -> None:
        self.done: list[str] = []

    async def stop(self) -> None:
        self.done.append("stop")


@pytest.mark.parametrize(("kind", "done"), [(StartsOnly, "start"), (StopsOnly, "stop")])
def test_an_app_may_have_one_of_the_two_methods(loop: Loop, kind: Callable[[], Any], done: str) -> None:
    app = kind()
    step = AppStep(app, "here")
    run(loop, step.start())
    run(loop, step.stop())
    assert app.done == [done]


# -- systemd


class Notifier:
    def __init__(self, active: bool = True) -> None:
        self.active = active
        self.told: list[str] = []

    def watchdog(self) -> None:
        self.told.append("alive")

    def status(self, text: str) -> None:
        self.told.append(text)


def watchdog(notifier: Any, interval: float | None, status: Callable[[], str] = lambda: "ready") -> Watchdog:
    return Watchdog(notifier, interval, status)


def test_a_sign_of_life_at_the_interval_and_a_status_when_it_changes(loop: Loop) -> None:
    notifier, statuses = Notifier(), ["one", "one", "two"]
    step = watchdog(notifier, 2.0, lambda: statuses.pop(0) if statuses else "two")
    run(loop, step.start())
    loop.advance(6)
    assert notifier.told == ["alive", "one", "alive", "alive", "two", "alive"]
    run(loop, step.stop())
    loop.advance(10)
    assert len(notifier.told) == 6
    assert loop.timers == 0


def test_after_a_stop_of_the_process_one_sign_of_life_comes_at_once(loop: Loop) -> None:
    """A stop longer than WatchdogSec: the next sign is not delayed further, and the missed ones do not come in a burst."""
    notifier = Notifier()
    alive = watchdog(notifier, 2.0)
    run(loop, alive.start())
    before = notifier.told.count("alive")
    loop.jump(3600.0)
    assert notifier.told.count("alive") == before + 1
    loop.advance(2.0)
    assert notifier.told.count("alive") == before + 2
    run(loop, alive.stop())


def test_without_a_watchdog_only_the_status(loop: Loop) -> None:
    notifier = Notifier()
    step = watchdog(notifier, None)
    run(loop, step.start())
    loop.advance(30)
    assert notifier.told == ["ready"]
    run(loop, step.stop())


def test_without_systemd_nothing_runs(loop: Loop) -> None:
    notifier = Notifier(active=False)
    step = watchdog(notifier, 1.0)
    run(loop, step.start())
    loop.advance(10)
    assert (notifier.told, loop.timers) == ([], 0)
    run(loop, step.stop())


def test_the_states_as_they_are_shown() -> None:
    assert [state.value for state in State] == ["starting", "ready", "drained", "draining", "stopped"]
