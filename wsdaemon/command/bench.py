"""`wsdaemon bench`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator
from functools import partial
from time import perf_counter
from typing import Any

import click

from ..client import ClientError, WebSocketClient
from ..client.runner import run
from ..core.sizes import counted, size_text
from .client_options import client_options, failure_of, make_client
from .connecting import seconds
from .exits import CommandFailed, Exit
from .load import NUMBER_DIGITS, Line, LoadPlan, LoadTally
from .output import as_json, coloured, complain, console, print_json, seconds_text, table

PERCENTILES = (50.0, 90.0, 99.0, 99.9, 99.99)

OPENING_AT_ONCE = 50
"""Opening handshakes that are under way at the same time."""

PROGRESS_SECONDS = 0.2


@click.command()
@click.argument("url")
@click.option("-n", "--connections", default=1, type=click.IntRange(1, 100_000), metavar="N", help="How many connections. Default: 1.")
@click.option("-m", "--messages", type=click.IntRange(1), metavar="N", help="How many messages over all connections. Default: no limit.")
@click.option("-d", "--duration", metavar="TIME", help="How long messages are sent. Default: 10s, unless --messages is given.")
@click.option(
    "-r", "--rate", type=click.FloatRange(0, min_open=True), metavar="N",
    help="Open loop: N messages per second over all connections, whatever the server does.",
)
@click.option(
    "--in-flight", default=1, type=click.IntRange(1, 10_000), metavar="N",
    help="Closed loop (no --rate): messages of one connection that wait for their answers. Default: 1.",
)
@click.option(
    "--size", default=64, type=click.IntRange(NUMBER_DIGITS, 1 << 24), metavar="BYTES", help="The size of a message. Default: 64."
)
@click.option("-b", "--binary", is_flag=True, help="Send binary messages.")
@click.option("--answer-timeout", default="30s", metavar="TIME", help="How long to wait for answers after the last message. Default: 30s.")
@client_options
@as_json
def bench(
    url: str, connections: int, messages: int | None, duration: str | None, rate: float | None, in_flight: int, size: int, binary: bool,
    answer_timeout: str, json_output: bool, **given: Any,
) -> int:  # fmt: skip
    """Measure a server that sends each message back, such as `app = echo`.

    With --rate the messages have a timetable, and each latency is counted from the time at which its message was due, so that a server
    that stands still cannot hide it (coordinated omission). Without, each connection sends when an answer has come, and the latencies
    are those of a server that sets the pace itself.
    """
    length = seconds("10s" if duration is None and messages is None else duration or "0", "--duration") or None
    if length is None and messages is None:
        raise CommandFailed("--duration: 0 has no end without --messages", Exit.USAGE)
    plan = LoadPlan(
        connections=connections, size=size, binary=binary, rate=rate, in_flight=in_flight, messages=messages, seconds=length
    )
    running = Bench(plan, partial(make_client, url, given), seconds(answer_timeout, "--answer-timeout"))
    with running.progress(coloured(sys.stderr) and not json_output):
        run(running.run, running.stop)
    if json_output:
        print_json(running.answer(url))
    else:
        running.show()
    return running.status()


class Bench:
    """One measurement: open all connections, load them, close them."""

    def __init__(self, plan: LoadPlan, make: partial[WebSocketClient], answer_seconds: float) -> None:
        """`make` makes a client of its callbacks."""
        self._plan = plan
        self._make = make
        self._answer_seconds = answer_seconds
        self._tally = LoadTally()
        self._lines: dict[Line, WebSocketClient] = {}
        self._seconds = 0.0
        self._begun = 0.0
        self._unanswered = False
        self._stopping = False
        self._work: asyncio.Future[Any] | None = None

    # -- the measurement

    async def run(self) -> None:
        """Measure. CommandFailed if no connection opens."""
        gate = asyncio.Semaphore(OPENING_AT_ONCE)
        errors = await asyncio.gather(*(self._open(index, gate) for index in range(self._plan.connections)))
        if not self._lines:
            raise next(failure_of(error) for error in errors if error is not None)
        self._begun = perf_counter()
        for line in self._lines:
            line.start(self._begun)
        loads = [asyncio.create_task(line.run(client)) for line, client in self._lines.items()]
        self._work = asyncio.gather(*loads, return_exceptions=True)
        if not self._stopping:
            await self._wait(loads)
        self._seconds = perf_counter() - self._begun
        for load in loads:
            load.cancel()
        await asyncio.gather(*(self._close(client) for client in self._lines.values()))

    async def _wait(self, loads: list[asyncio.Task[None]]) -> None:
        """Until all was answered, or the time for answers is over."""
        late = set(loads)
        with contextlib.suppress(asyncio.CancelledError):
            while late and (left := self._left()) > 0:
                _, late = await asyncio.wait(late, timeout=left)
            self._unanswered = bool(late)

    def _left(self) -> float:
        """Seconds until the time for answers is over: it begins when messages end, or with the last one that was sent."""
        plan = self._plan
        if plan.seconds is not None:
            end = self._begun + plan.seconds
        else:
            planned = 0.0 if plan.rate is None or plan.messages is None else plan.messages / plan.rate
            end = max(self._tally.last_sent, self._begun + planned)
        return end + self._answer_seconds - perf_counter()

    def stop(self) -> None:
        """Ctrl-C: end now, with the figures so far."""
        self._stopping = True
        if self._work is not None:
            self._work.cancel()

    async def _open(self, index: int, gate: asyncio.Semaphore) -> ClientError | None:
        line = Line(self._plan, index, self._tally)
        client = self._make(
            {
                "on_message": lambda client, message: line.received(message),
                "on_close": lambda client, code, reason: line.ended(),
                "on_error": lambda client, error: None,  # connect() raises it
            },
            queue="wait", queue_messages=64,
        )  # fmt: skip
        async with gate:
            began = perf_counter()
            try:
                await client.connect()
            except ClientError as error:
                self._tally.failed += 1
                self._tally.note(str(error))
                return error
        self._tally.openings.add(perf_counter() - began)
        self._lines[line] = client
        return None

    async def _close(self, client: WebSocketClient) -> None:
        if not client.is_open:
            self._tally.lost += 1
            self._tally.note("the server ended a connection")
        client.close()
        await client.wait_closed()

    # -- what it shows

    @contextlib.contextmanager
    def progress(self, visible: bool) -> Iterator[None]:
        """A progress bar on standard error, if that is a terminal."""
        if not visible:
            yield
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figures]}"), TimeElapsedColumn())
        with Progress(*columns, console=console(error=True), transient=True) as progress:
            total = self._plan.messages or self._plan.seconds
            task = progress.add_task("connecting", total=total, figures="")
            progress.get_time = perf_counter
            timer = signal.signal(signal.SIGALRM, lambda number, frame: progress.update(task, **self._figures()))
            signal.setitimer(signal.ITIMER_REAL, PROGRESS_SECONDS, PROGRESS_SECONDS)
            try:
                yield
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, timer)

    def _figures(self) -> dict[str, Any]:
        tally = self._tally
        if not self._begun:
            return {"description": "connecting", "figures": f"{tally.openings.count} of {self._plan.connections}"}
        passed = perf_counter() - self._begun
        done = tally.received if self._plan.messages else passed
        figures = f"{tally.received / passed:,.0f}/s  p99 {seconds_text(tally.latencies.percentile(99))}"
        return {"description": "measuring", "completed": done, "figures": figures}

    def answer(self, url: str) -> dict[str, Any]:
        """All figures. Durations are in seconds."""
        plan, tally = self._plan, self._tally
        per_second = tally.received / self._seconds if self._seconds else 0.0
        return {
            "url": url,
            "connections": {"wanted": plan.connections, "opened": len(self._lines), "failed": tally.failed, "lost": tally.lost},
            "messages": {
                "size": plan.size, "sent": tally.sent, "received": tally.received, "wrong": tally.wrong,
                "unanswered": tally.sent - tally.received,
            },
            "seconds": round(self._seconds, 6),
            "rate": {"intended": plan.rate, "achieved": round(per_second, 3), "bytes_per_second": round(per_second * plan.size)},
            "loop": "closed" if plan.rate is None else "open",
            "latency": _durations(tally),
            "opening": {"mean": round(tally.openings.mean, 6), "max": round(tally.openings.longest, 6)},
            "error": tally.first_error or None,
        }  # fmt: skip

    def show(self) -> None:
        """The figures for people."""
        tally, out = self._tally, console()
        per_second = tally.received / self._seconds if self._seconds else 0.0
        wanted = "" if self._plan.rate is None else f" of {self._plan.rate:,.0f} wanted"
        out.print(f"{counted(len(self._lines), 'connection')}, opened in {seconds_text(tally.openings.mean)} on average")
        out.print(
            f"{tally.received:,} messages in {seconds_text(self._seconds)}: {per_second:,.0f} per second{wanted}, "
            f"{size_text(per_second * self._plan.size)} per second each way"
        )
        rows = [(name, seconds_text(value)) for name, value in _durations(tally).items()]
        about = "from the time each message was due" if self._plan.rate is not None else "of a closed loop: the server sets the pace"
        out.print(f"latency, {about}:")
        out.print(table(("", "latency"), rows, right=("latency",)))
        if text := self._complaint():
            complain(text)

    def _complaint(self) -> str:
        tally = self._tally
        counts = {
            "connections failed": tally.failed, "connections lost": tally.lost, "answers wrong": tally.wrong,
            "messages unanswered": tally.sent - tally.received,
        }  # fmt: skip
        found = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        return found and (f"{found}: {tally.first_error}" if tally.first_error else found)

    def status(self) -> int:
        """The exit status."""
        if self._stopping:
            return Exit.INTERRUPTED
        if self._tally.lost:
            return Exit.LOST
        return Exit.FAILED if self._complaint() else Exit.DONE


def _durations(tally: LoadTally) -> dict[str, float]:
    latencies = tally.latencies
    shortest = latencies.shortest if latencies.count else 0.0
    named = {f"p{percent:g}": latencies.percentile(percent) for percent in PERCENTILES}
    found = {"min": shortest, "mean": latencies.mean, **named, "max": latencies.longest}
    return {name: round(value, 6) for name, value in found.items()}
