"""parts.py: steps in order, what signals do, and what systemd is told."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.fakes import Loop
from wsdaemon.daemon.parts import AppStep, Callbacks, Signals, StartError, State, Watchdog, start_in_order, stop_in_order


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as loop:
        yield loop


def run(loop: Loop, coroutine: Any, seconds: float = 0.0) -> Any:
    task = loop.create_task(coroutine)
    loop.advance(seconds)
    return task.result()


class Steps:
    """Steps that write down what happens to them."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def step(self, name: str, *, fails_to: str = "", seconds: float = 0.0, error: BaseException | None = None) -> Callbacks:
        async def do(what: str) -> None:
            self.events.append(f"{what} {name}")
            await asyncio.sleep(seconds)
            self.events.append(f"{name} {what}ed")
            if fails_to == what:
                raise error or RuntimeError(name)

        return Callbacks(name, lambda: do("start"), lambda: do("stop"))


def test_each_step_waits_for_the_one_before_it(loop: Loop) -> None:
    steps = Steps()
    started = run(loop, start_in_order([steps.step("a", seconds=5), steps.step("b")]), 10)
    run(loop, stop_in_order(started), 10)
    assert steps.events == ["start a", "a started", "start b", "b started", "stop b", "b stoped", "stop a", "a stoped"]


def test_a_start_that_fails_stops_what_was_started_and_raises(loop: Loop) -> None:
    """Twisted's MultiService leaves the others running."""
    steps = Steps()
    with pytest.raises(RuntimeError, match="b"):
        run(loop, start_in_order([steps.step("a"), steps.step("b", fails_to="start"), steps.step("c")]))
    assert steps.events == ["start a", "a started", "start b", "b started", "stop a", "a stoped"]


def test_a_start_that_is_cancelled_stops_what_was_started(loop: Loop) -> None:
    steps = Steps()
    task = loop.create_task(start_in_order([steps.step("a"), steps.step("b", seconds=100)]))
    loop.settle()
    task.cancel()
    loop.settle()
    assert task.cancelled()
    assert steps.events[-2:] == ["stop a", "a stoped"]


def test_a_stop_that_fails_hinders_no_other(loop: Loop) -> None:
    steps = Steps()
    run(loop, stop_in_order([steps.step("a"), steps.step("b", fails_to="stop")]))
    assert steps.events == ["stop b", "b stoped", "stop a", "a stoped"]


def test_callbacks_need_not_wait(loop: Loop) -> None:
    calls: list[str] = []
    step = Callbacks("x", lambda: calls.append("start"), lambda: calls.append("stop"))
    run(loop, step.start())
    run(loop, step.stop())
    assert calls == ["start", "stop"]


# -- apps


class FailingApp:
    def __init__(self, error: Exception) -> None:
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


def test_an_apps_own_start_error_stays_as_it_is(loop: Loop) -> None:
    with pytest.raises(StartError, match=r"^mine$"):
        run(loop, AppStep(FailingApp(StartError("mine")), "here").start())


# -- signals


@pytest.fixture
def handlers() -> Iterator[None]:
    """Puts the handlers of this process back."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


class Asked:
    """A loop that runs at once what comes from a signal."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        loop: Any = self
        self.signals = Signals(loop, self._call("stop"), self._call("stop now"), self._call("reload"))

    def _call(self, name: str) -> Callable[[], None]:
        return lambda: self.calls.append(name)

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        callback()


@pytest.mark.usefixtures("handlers")
def test_the_first_signal_drains_the_second_stops_at_once() -> None:
    asked = Asked()
    asked.signals.install()
    signal.raise_signal(signal.SIGTERM)
    assert asked.calls == ["stop"]
    signal.raise_signal(signal.SIGINT)
    assert asked.calls == ["stop", "stop now"]


@pytest.mark.usefixtures("handlers")
def test_the_third_ends_a_loop_that_does_not_turn_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    statuses: list[int] = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    asked = Asked()
    asked.signals.install()
    for _ in range(3):
        signal.raise_signal(signal.SIGTERM)
    assert statuses == [1]


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_reloading(number: signal.Signals) -> None:
    asked = Asked()
    asked.signals.install()
    signal.raise_signal(number)
    assert asked.calls == ["reload"]


@pytest.mark.usefixtures("handlers")
def test_outside_the_main_thread_nothing_is_installed() -> None:
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=Asked().signals.install)
    thread.start()
    thread.join(10)
    assert signal.getsignal(signal.SIGTERM) is before


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
    assert [state.value for state in State] == ["starting", "ready", "draining", "stopped"]
