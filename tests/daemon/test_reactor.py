"""The reactor of a process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from twisted.internet.error import ReactorNotRunning
from twisted.internet.selectreactor import SelectReactor

from wsdaemon.daemon.reactor import GARBAGE_THRESHOLDS, loop_of, new_loop, settle, stop_reactor


class Reactor:
    """A reactor that stops."""

    def __init__(self, error: type[Exception] | None = None) -> None:
        self.stopped = 0
        self._error = error

    def callWhenRunning(self, function: Any) -> None:
        function()

    def stop(self) -> None:
        self.stopped += 1
        if self._error is not None:
            raise self._error


def test_the_loop_of_an_asyncio_reactor() -> None:
    loop = asyncio.new_event_loop()
    reactor: Any = Reactor()
    reactor._asyncioEventloop = loop
    assert loop_of(reactor) is loop
    loop.close()


def test_another_reactor_is_refused_with_the_option_that_chose_it() -> None:
    reactor: Any = SelectReactor.__new__(SelectReactor)
    with pytest.raises(RuntimeError, match="SelectReactor is installed already: leave --reactor out"):
        loop_of(reactor)


@pytest.mark.parametrize("error", [None, ReactorNotRunning])
def test_a_reactor_that_stops_already_is_no_problem(error: type[Exception] | None) -> None:
    reactor = Reactor(error)
    stop_reactor(reactor)
    assert reactor.stopped == 1


def test_loops_are_uvloops() -> None:
    loop = new_loop()
    assert type(loop).__module__ == "uvloop"
    loop.close()


def test_settling_leaves_the_collector_on() -> None:
    import gc

    usual = gc.get_threshold()
    try:
        settle()
        assert gc.isenabled() and gc.get_freeze_count() > 0
        assert gc.get_threshold() == GARBAGE_THRESHOLDS
    finally:
        gc.unfreeze()
        gc.set_threshold(*usual)
