"""The start sequence of a process, with a content that is a list of calls."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.logger import capturedLogs, formatEvent

from wsdaemon.daemon.control import Operations
from wsdaemon.daemon.parts import StartError
from wsdaemon.daemon.process import Process
from wsdaemon.daemon.signals import Signals, StartStopped


class Served:
    """The content of a process."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.problem: BaseException | None = None
        self.waits = False

    def open(self) -> None:
        self.calls.append("open")

    async def start(self) -> None:
        self.calls.append("start")
        if self.problem is not None:
            raise self.problem
        if self.waits:
            await asyncio.get_running_loop().create_future()

    def close(self) -> None:
        self.calls.append("close")

    def reload(self) -> None:
        self.calls.append("reload")

    def drop(self) -> None:
        self.calls.append("drop")

    async def leave(self) -> None:
        self.calls.append("leave")
        await asyncio.get_running_loop().create_future()

    async def stop(self) -> None:
        self.calls.append("stop")


@pytest.fixture
def reactor() -> Iterator[Any]:
    loop = asyncio.new_event_loop()
    reactor = AsyncioSelectorReactor(loop)
    yield reactor
    for each in reactor.removeAll():
        each.connectionLost(None)
    loop.close()


def test_a_process_starts_reloads_and_stops(reactor: Any) -> None:
    served, reopened = Served(), []
    process = Process(served, reactor, Signals(), reopen_log=lambda: reopened.append(1), own_process=False)
    process.open()
    process.start()
    process.reload()
    stopped = process.stop()
    process.loop.run_until_complete(stopped.asFuture(process.loop))
    assert served.calls == ["open", "start", "reload", "stop"]
    assert reopened == [1]


def test_a_failing_start_is_told_to_the_caller(reactor: Any) -> None:
    served = Served()
    served.problem = StartError("no such module")
    process = Process(served, reactor, Signals(), own_process=False)
    process.open()
    with pytest.raises(StartError, match="no such module"):
        process.start()


def test_a_start_that_a_signal_ends_leaves_nothing_open(reactor: Any) -> None:
    served = Served()
    served.waits = True
    signals = Signals()
    process = Process(served, reactor, signals, own_process=False)
    process.open()
    signals._stop_asked(signal.SIGTERM, None)
    with pytest.raises(StartStopped):
        process.start()
    assert served.calls == ["open", "start", "close"]


def served_process(reactor: Any) -> tuple[Served, Signals, Process]:
    """A process that has started; the reactor calls stop() when it is told to end."""
    served, signals = Served(), Signals()
    process = Process(served, reactor, signals, own_process=False)
    process.open()
    process.start()
    reactor.addSystemEventTrigger("before", "shutdown", process.stop)
    served.calls.clear()
    return served, signals, process


def test_sigterm_serves_on_for_the_grace_and_a_second_signal_ends_it(reactor: Any) -> None:
    served, signals, process = served_process(reactor)

    def second() -> None:
        assert served.calls == ["leave"], "it does not stop yet"
        signals._stop_asked(signal.SIGTERM, None)

    reactor.callWhenRunning(signals._stop_asked, signal.SIGTERM, None)
    reactor.callWhenRunning(lambda: process.loop.call_later(0, process.loop.call_soon, second))
    reactor.run(installSignalHandlers=False)
    assert served.calls == ["leave", "drop", "stop"]


def test_sigint_knows_no_grace(reactor: Any) -> None:
    served, signals, _ = served_process(reactor)
    reactor.callWhenRunning(signals._stop_asked, signal.SIGINT, None)
    reactor.run(installSignalHandlers=False)
    assert served.calls == ["stop"]


class Channel:
    """The control channel, as a list of calls."""

    def __init__(self, calls: list[str]) -> None:
        self.calls, self.operations = calls, Operations()

    def open(self) -> None:
        self.calls.append("open channel")

    async def start(self) -> None:
        self.calls.append("start channel")

    async def stop(self) -> None:
        self.calls.append("stop channel")

    def close(self) -> None:
        self.calls.append("close channel")


def test_the_control_channel_begins_first_and_ends_last(reactor: Any) -> None:
    served = Served()
    channel: Any = Channel(served.calls)
    process = Process(served, reactor, Signals(), reopen_log=lambda: False, own_process=False, control=channel)
    process.open()
    process.start()
    answer = process.loop.run_until_complete(channel.operations.run("reopen-logs", {}, lambda line: None))
    assert answer["status"] == 1, "the log could not be opened"
    assert "the old file stays in use" in answer["problems"][0]
    process.loop.run_until_complete(process.stop().asFuture(process.loop))
    assert served.calls == ["open", "open channel", "start channel", "start", "stop", "stop channel"]


def test_a_failing_start_closes_the_control_channel(reactor: Any) -> None:
    served = Served()
    served.problem = StartError("no such module")
    channel: Any = Channel(served.calls)
    process = Process(served, reactor, Signals(), own_process=False, control=channel)
    process.open()
    with pytest.raises(StartError):
        process.start()
    assert served.calls[-1] == "close channel"


def test_a_channel_that_cannot_be_opened_ends_the_start(reactor: Any) -> None:
    served = Served()
    channel: Any = Channel(served.calls)

    def refuse() -> None:
        raise StartError("another process listens there")

    channel.open = refuse
    process = Process(served, reactor, Signals(), own_process=False, control=channel)
    with pytest.raises(StartError):
        process.open()
    assert served.calls == ["open", "close"]


def test_sigterm_ends_the_operation_under_way_before_the_grace(reactor: Any) -> None:
    served, signals = Served(), Signals()
    channel: Any = Channel(served.calls)
    process = Process(served, reactor, signals, own_process=False, control=channel)
    process.open()
    process.start()

    async def main() -> dict[str, Any]:
        async def last(arguments: object, say: object) -> dict[str, Any]:
            await asyncio.get_running_loop().create_future()
            return {}

        channel.operations.add("upgrade", last)
        asked = asyncio.ensure_future(channel.operations.run("upgrade", {}, lambda line: None))
        await asyncio.sleep(0)
        process._leave()
        answer: dict[str, Any] = await asyncio.wait_for(asked, 30)
        return answer

    assert process.loop.run_until_complete(main())["problems"] == ["the daemon stops"]
    assert served.calls[-1] == "leave", "and the grace goes on"
    process.loop.run_until_complete(process.stop().asFuture(process.loop))


def busy_process(reactor: Any) -> tuple[Process, Signals, asyncio.Future[dict[str, Any]], list[str]]:
    """A process whose operation `upgrade` waits for the future; the list has an entry for each reload."""
    served, signals, reloads = Served(), Signals(), list[str]()
    channel: Any = Channel(served.calls)
    process = Process(served, reactor, signals, own_process=False, control=channel)
    process.open()
    process.start()
    over: asyncio.Future[dict[str, Any]] = process.loop.create_future()

    async def upgrade(arguments: object, say: object) -> dict[str, Any]:
        return await over

    async def reload(arguments: object, say: object) -> dict[str, Any]:
        reloads.append("reload")
        return {}

    channel.operations.add("upgrade", upgrade)
    channel.operations.add("reload", reload)
    return process, signals, over, reloads


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_sighup_during_another_operation_is_made_up_for(reactor: Any) -> None:
    process, signals, over, reloads = busy_process(reactor)

    async def main() -> None:
        asked = asyncio.ensure_future(process._control.operations.run("upgrade", {}, lambda line: None))  # type: ignore[union-attr]
        await asyncio.sleep(0)
        process.reload()
        process.reload()
        await turns()
        assert (reloads, signals.owed) == ([], {signal.SIGHUP}), "the next program gets the signal, if one takes over meanwhile"
        over.set_result({})
        await asked
        await turns()
        assert (reloads, signals.owed) == (["reload"], set())

    with capturedLogs() as lines:
        process.loop.run_until_complete(main())
    assert [formatEvent(line) for line in lines] == ["SIGHUP: upgrade is under way; the daemon reloads after it"]
    process.loop.run_until_complete(process.stop().asFuture(process.loop))


def test_a_stop_forgets_the_sighup_that_waits(reactor: Any) -> None:
    process, signals, _, reloads = busy_process(reactor)

    async def main() -> None:
        asked = asyncio.ensure_future(process._control.operations.run("upgrade", {}, lambda line: None))  # type: ignore[union-attr]
        await asyncio.sleep(0)
        process.reload()
        await turns()
        await process.stop().asFuture(process.loop)
        await asked
        await turns()

    process.loop.run_until_complete(main())
    assert (reloads, signals.owed) == ([], set())
