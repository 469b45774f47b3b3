"""The cost of what wsdaemon hosts: proxies, bridges, programs, beside what does the same.

    python -m benchmarks.hosting                                     all rows, about two minutes
    python -m benchmarks.hosting --rows proxy64,bridge16k --rounds 5

    proxy64, proxy64x16   echo of 64 bytes through app = proxy, 1 or 16 in flight on each of 100 connections; the target is the C limit.
                          Beside the daemon's own echo
    bridge16k             16 KiB each way through app = bridge, 50 connections; the target echoes bytes. Beside HAProxy in TCP mode
                          without splice, which carries the same messages in their frames
    bridge-idle           1,000 bridges that carry nothing: bytes of memory for each
    process64             lines of 64 bytes through app = process, 10 programs (cat). Beside asyncio's subprocesses alone
    process-starts        a connection is opened and closed, 16 at a time, and with it its program. Beside asyncio's subprocesses alone

Figures are CPU us of the process tree in the middle for each message, line or cycle, the median of the rounds. The last number of a row is
the first figure divided by the second. It needs gcc, `taskset`, two CPUs and Debian's haproxy for its column. The source tree runs as it
lies here; build its C module first (`python hatch_build.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .catalogue import SUBJECT
from .preparing import ROOT, CannotRun, Tools, cache_folder, say
from .subject import in_place

SETTINGS = """
[daemon]
max_connections = 20000

[listener:web]
address = tcp:{port}:interface=127.0.0.1

[mount:/echo]
app = echo

[mount:/proxy]
app = proxy
target = ws://127.0.0.1:{raw}/

[mount:/bridge]
app = bridge
target = tcp:127.0.0.1:{bytes}
compression = off

[mount:/process]
app = process
command = cat
max_processes = 1000
"""

HAPROXY = """
global
    nbthread 1
    maxconn 4000
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen bytes
    bind 127.0.0.1:{port}
    server raw 127.0.0.1:{raw}
"""

BYTES = """
import asyncio, uvloop

class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(data)

async def main():
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", {port}, backlog=2048)
    await server.serve_forever()

uvloop.run(main())
"""

BARE_PROGRAMS = 10
LINE = b"x" * 64 + b"\n"


@dataclass(frozen=True)
class World:
    """The servers that run: the daemon, HAProxy, and their targets."""

    wsload: Path
    pin: tuple[str, ...]
    """Puts the load on its CPU."""
    ports: dict[str, int]
    pids: dict[str, int]
    seconds: float

    def load(self, text: str, server: str, path: str) -> dict[str, Any]:
        """One run of wsload. CannotRun if anything that comes back is wrong."""
        words = [*self.pin, str(self.wsload), *shlex.split(text), "--port", str(self.ports[server]), "--path", path]
        words += ["--server-pid", str(self.pids[server]), "-T", str(self.seconds), "--warm", "0.5", "--srcs", "20"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)  # noqa: S603
        if done.returncode:
            raise CannotRun(f"wsload: {(done.stdout + done.stderr)[-500:]}")
        sample: dict[str, Any] = json.loads(done.stdout)
        return sample


@contextlib.contextmanager
def world(seconds: float) -> Iterator[World]:
    """Everything runs for as long as the block lasts: the middle on one CPU, load and targets on another."""
    cpus, taskset = sorted(os.sched_getaffinity(0)), shutil.which("taskset")
    if taskset is None or len(cpus) < 2:
        raise CannotRun("taskset and two CPUs are needed")
    middle, others = (taskset, "-c", str(cpus[0])), (taskset, "-c", str(cpus[1]))
    tools = Tools(cache_folder())
    (tools.cache / "log").mkdir(parents=True, exist_ok=True)
    ports = free_ports("daemon", "haproxy", "raw", "bytes")
    subject = in_place(ROOT, SUBJECT)
    with tempfile.TemporaryDirectory(prefix="wsdaemon-hosting-") as name, contextlib.ExitStack() as running:
        folder = Path(name)
        (folder / "ws.ini").write_text(SETTINGS.format(port=ports["daemon"], raw=ports["raw"], bytes=ports["bytes"]))
        (folder / "haproxy.cfg").write_text(HAPROXY.format(port=ports["haproxy"], raw=ports["raw"]))
        lines: dict[str, list[str]] = {
            "raw": [*others, str(tools.limit()), str(ports["raw"])],
            "bytes": [*others, sys.executable, "-c", BYTES.format(port=ports["bytes"])],
            "daemon": [*middle, *subject.twistd, "-n", "--pidfile=", "wsdaemon", "-c", str(folder / "ws.ini")],
        }
        if (haproxy := shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")) is not None:
            lines["haproxy"] = [*middle, haproxy, "-db", "-f", str(folder / "haproxy.cfg")]
        else:
            say("haproxy is not installed: its column is left out")
        pids = {}
        for server, line in lines.items():
            pids[server] = running.enter_context(started(line, folder, ports[server], subject.environment))
        yield World(tools.load_generator(tls=False), others, ports, pids, seconds)


def free_ports(*names: str) -> dict[str, int]:
    with contextlib.ExitStack() as held:
        return {name: held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for name in names}


@contextlib.contextmanager
def started(line: Sequence[str], folder: Path, port: int, environ: dict[str, str]) -> Iterator[int]:
    """A server that listens; its process id. CannotRun."""
    log = (folder / f"{port}.log").open("w+b")
    process = subprocess.Popen(  # noqa: S603
        line, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )
    try:
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            if process.poll() is not None or time.monotonic() > end:
                log.seek(0)
                raise CannotRun(f"{shlex.join(line)} does not listen: {log.read().decode(errors='replace')[-800:]}")
            time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.close()


# -- the other side of programs


async def bare_program() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)


async def bare_lines(seconds: float) -> float:
    """CPU us of a line there and back through programs that asyncio has started, theirs included."""
    programs = [await bare_program() for _ in range(BARE_PROGRAMS)]
    count, began, end = 0, _cpu(), time.monotonic() + seconds

    async def talk(program: asyncio.subprocess.Process) -> None:
        nonlocal count
        assert program.stdin is not None
        assert program.stdout is not None
        while time.monotonic() < end:
            program.stdin.write(LINE)
            await program.stdout.readline()
            count += 1
        program.stdin.close()
        await program.wait()

    await asyncio.gather(*map(talk, programs))
    return (_cpu() - began) / count * 1e6


async def bare_starts(seconds: float) -> tuple[float, float]:
    """CPU us of the start and end of a program of asyncio's, and the rate per second."""
    count, began, from_time = 0, _cpu(), time.monotonic()

    async def several() -> None:
        nonlocal count
        while time.monotonic() < from_time + seconds:
            program = await bare_program()
            assert program.stdin is not None
            program.stdin.close()
            await program.wait()
            count += 1

    await asyncio.gather(*[several() for _ in range(16)])
    return (_cpu() - began) / count * 1e6, count / (time.monotonic() - from_time)


def _cpu() -> float:
    """Seconds of CPU of this process, and of its children that have ended."""
    return sum(each.ru_utime + each.ru_stime for each in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


# -- the rows

Figures = dict[str, float]


def proxy(pipeline: int) -> Callable[[World], Figures]:
    load = f"--mode echo -C 100 -S 64 -P {pipeline}"
    return lambda world: {"proxy": world.load(load, "daemon", "/proxy")["cost"], "own echo": world.load(load, "daemon", "/echo")["cost"]}


def bridge(world: World) -> Figures:
    load = "--mode echo -C 50 -S 16384 --binary"
    found = {"bridge": world.load(load, "daemon", "/bridge")["cost"]}
    if "haproxy" in world.pids:
        found["haproxy"] = world.load(load, "haproxy", "/")["cost"]
    return found


def bridge_idle(world: World) -> Figures:
    return {"bytes": world.load("--mode idle -C 1000 --inflight 100", "daemon", "/bridge")["cost"]}


def lines(world: World) -> Figures:
    ours = world.load(f"--mode echo -C {BARE_PROGRAMS} -S 64 -P 1", "daemon", "/process")["cost"]
    return {"process": ours, "asyncio": asyncio.run(bare_lines(world.seconds))}


def starts(world: World) -> Figures:
    ours = world.load("--mode churn -C 16", "daemon", "/process")
    bare, rate = asyncio.run(bare_starts(world.seconds))
    return {"process": ours["cost"], "asyncio": bare, "process per s": ours["rate"], "asyncio per s": rate}


ROWS: dict[str, Callable[[World], Figures]] = {
    "proxy64": proxy(1), "proxy64x16": proxy(16), "bridge16k": bridge, "bridge-idle": bridge_idle, "process64": lines,
    "process-starts": starts,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS), help="comma-separated (default: all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="the length of a sample (default: %(default)s)")
    given = parser.parse_args(arguments)
    if unknown := [row for row in given.rows.split(",") if row not in ROWS]:
        parser.error(f"unknown rows: {', '.join(unknown)}")
    try:
        with world(given.seconds) as made:
            for row in given.rows.split(","):
                rounds = [ROWS[row](made) for _ in range(given.rounds)]
                medians = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
                first, *rest = medians.values()
                ratio = f"   x {first / rest[0]:.2f}" if rest else ""
                print(f"{row:15}" + "".join(f"{name} {value:10.2f}   " for name, value in medians.items()) + ratio, flush=True)
    except CannotRun as error:
        say(f"hosting: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
