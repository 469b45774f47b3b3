"""signals.py: signals before, during and after a start."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from wsdaemon.daemon.signals import Signals, StartStopped

# -- signals


@pytest.fixture
def handlers() -> Iterator[None]:
    """Puts the handlers of this process back."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


class Asked:
    """A loop that runs at once what comes from a signal, and the signals of a daemon that is ready."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.signals = Signals()

    def ready(self) -> None:
        loop: Any = self
        self.signals.direct(loop, self._call("stop"), self._call("stop now"), self._call("reload"), self._call("reopen"))

    def starting(self) -> None:
        loop: Any = self
        self.signals.direct(loop, self._call("end the start"), self._call("end the start"))

    def _call(self, name: str) -> Callable[[], None]:
        return lambda: self.calls.append(name)

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        callback()


@pytest.fixture
def asked(handlers: None) -> Asked:
    asked = Asked()
    asked.signals.install()
    return asked


def test_the_first_signal_drains_the_second_stops_at_once(asked: Asked) -> None:
    asked.ready()
    signal.raise_signal(signal.SIGTERM)
    assert asked.calls == ["stop"]
    signal.raise_signal(signal.SIGINT)
    assert asked.calls == ["stop", "stop now"]


def test_the_third_ends_a_loop_that_does_not_turn_any_more(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    statuses: list[int] = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    asked.ready()
    for _ in range(3):
        signal.raise_signal(signal.SIGTERM)
    assert statuses == [1]


LATER = [(signal.SIGHUP, "reload"), (signal.SIGUSR1, "reopen")]


@pytest.mark.parametrize(("number", "call"), LATER)
def test_reloading_and_opening_the_log_anew(asked: Asked, number: signal.Signals, call: str) -> None:
    asked.ready()
    signal.raise_signal(number)
    assert asked.calls == [call]


@pytest.mark.parametrize(("number", "call"), LATER)
def test_they_wait_until_the_daemon_is_ready(asked: Asked, number: signal.Signals, call: str) -> None:
    signal.raise_signal(number)
    asked.starting()
    signal.raise_signal(number)
    assert asked.calls == []
    asked.ready()
    assert asked.calls == [call], "once, however often it was asked for"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_the_start_while_parts_start(asked: Asked, number: signal.Signals) -> None:
    asked.starting()
    signal.raise_signal(number)
    assert asked.calls == ["end the start"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_the_start_while_modules_are_imported(asked: Asked, number: signal.Signals) -> None:
    def import_something() -> None:
        with asked.signals.ending_with_an_exception():
            try:
                signal.raise_signal(number)
            except Exception:  # users' modules have such lines
                raise AssertionError from None

    with pytest.raises(StartStopped):
        import_something()


def test_a_stop_is_remembered_between_the_stages_of_a_start(asked: Asked) -> None:
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(StartStopped), asked.signals.ending_with_an_exception():
        raise AssertionError("nothing is begun any more")
    asked.starting()
    assert asked.calls == ["end the start"]


def test_the_signal_of_workers_does_nothing(asked: Asked) -> None:
    signal.raise_signal(signal.SIGUSR2)
    asked.ready()
    signal.raise_signal(signal.SIGUSR2)
    assert asked.calls == []


def test_the_handlers_of_before_come_back(handlers: None) -> None:
    numbers = (*Signals.STOP, *Signals.LATER, signal.SIGUSR2)
    before = [signal.getsignal(number) for number in numbers]
    signals = Signals()
    signals.install()
    signals.install()
    signals.uninstall()
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_process_may_leave_interrupts_to_its_parent(handlers: None) -> None:
    before = signal.getsignal(signal.SIGINT)
    signals = Signals(stop=(signal.SIGTERM,))
    signals.install()
    assert signal.getsignal(signal.SIGINT) == before
    assert signal.getsignal(signal.SIGTERM) == signals._stop_asked
    signals.uninstall()


def test_outside_the_main_thread_nothing_is_installed(handlers: None) -> None:
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=Asked().signals.install)
    thread.start()
    thread.join(10)
    assert signal.getsignal(signal.SIGTERM) is before
