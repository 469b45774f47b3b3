"""command/bench.py: the figures. tests/live/test_command.py measures real servers."""

from __future__ import annotations

import asyncio
from functools import partial
from time import perf_counter
from typing import Any

import pytest
from click.testing import CliRunner

from wsdaemon.command.bench import Bench
from wsdaemon.command.exits import Exit
from wsdaemon.command.load import LoadPlan
from wsdaemon.command.main import cli


def bench_of(**counts: Any) -> Bench:
    made: partial[Any] = partial(dict)
    found = Bench(LoadPlan(connections=2, size=100, rate=50.0, seconds=1.0), made, 1.0)
    for name, value in counts.items():
        setattr(found._tally, name, value)
    return found


def test_the_answer_has_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    found = bench_of(sent=10, received=10)
    for number in range(10):
        found._tally.latencies.add(0.001 * (number + 1))
    found._seconds = 2.0
    answer = found.answer("ws://server.example/")
    assert answer["rate"] == {"intended": 50.0, "achieved": 5.0, "bytes_per_second": 500}
    assert answer["latency"]["max"] == 0.01
    assert answer["latency"]["p50"] == pytest.approx(0.005, rel=0.01)
    assert answer["messages"]["unanswered"] == 0
    found.show()
    shown = capsys.readouterr()
    assert "5 per second of 50 wanted" in shown.out
    assert shown.err == ""


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        ({}, Exit.DONE), ({"sent": 1, "received": 1}, Exit.DONE), ({"sent": 2, "received": 1}, Exit.FAILED), ({"wrong": 1}, Exit.FAILED),
        ({"failed": 1}, Exit.FAILED), ({"lost": 1, "wrong": 1}, Exit.LOST),
    ],
)  # fmt: skip
def test_the_status_tells_of_whatever_went_wrong(counts: dict[str, int], status: Exit, capsys: pytest.CaptureFixture[str]) -> None:
    found = bench_of(**counts)
    assert found.status() == status
    found.show()
    assert bool(capsys.readouterr().err) is (status != Exit.DONE)


def test_a_server_that_is_not_there_has_a_status_of_its_own() -> None:
    done = CliRunner().invoke(cli, ["bench", "--unix", "/no/such/socket", "ws://localhost/"])
    assert done.exit_code == Exit.UNREACHABLE


class Silent:
    """A client whose server takes messages and answers none. The clock goes on a long way when the last one is sent."""

    def __init__(self, clock: list[float], last: int, callbacks: object, **options: object) -> None:
        self.is_open = True
        self._clock = clock
        self._left = last

    async def connect(self) -> None:
        """It is open at once."""

    async def send(self, message: object) -> None:
        """No answer comes."""
        self._left -= 1
        if self._left == 0:
            self._clock[0] += 1000

    def close(self) -> None:
        """It is closed at once."""

    async def wait_closed(self) -> None:
        """It is closed already."""


@pytest.mark.parametrize(("rate", "sent"), [(None, 1), (1000.0, 2)])
def test_a_silent_server_is_waited_for_no_longer_than_answers_may_take(
    rate: float | None, sent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [perf_counter()]
    monkeypatch.setattr("wsdaemon.command.bench.perf_counter", lambda: clock[0])
    made: partial[Any] = partial(Silent, clock, sent)
    found = Bench(LoadPlan(connections=1, size=64, rate=rate, messages=2), made, 0.01)

    async def ends() -> bool:
        """Not wait_for(): a measurement takes a cancellation for Ctrl-C, and ends as if it had ended by itself."""
        measured = asyncio.create_task(found.run())
        ended, _ = await asyncio.wait([measured], timeout=30)
        if not ended:
            found.stop()
        await measured
        return bool(ended)

    assert asyncio.run(ends())
    assert found.status() == Exit.FAILED
    assert found.answer("ws://server.example/")["messages"]["unanswered"] == sent


def test_a_measurement_without_an_end_is_refused() -> None:
    done = CliRunner().invoke(cli, ["bench", "--duration", "0", "--unix", "/no/such/socket", "ws://localhost/"])
    assert done.exit_code == Exit.USAGE
    assert "--messages" in done.stderr
