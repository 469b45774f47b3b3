"""How many workers, nodes and servers of Redis a load needs: `python -m benchmarks.scaling`.

    python -m benchmarks.scaling --measure     measure the constants with 1, 2 and 4 real processes, and compare these with the model
    python -m benchmarks.scaling --docs        write the tables and the plot of docs/scaling.md from the constants of this file

The model: a publication costs the order (the hub, or Redis) `order` us, and `order_each` more for each process that follows the room. It
costs the serving processes together `serve` us, `serve_each` more for each of them that follows the room, and `deliver` for each member.
`simulate` draws where the members of each room are, and adds the costs up for each process. --measure needs redis-server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .daemons import PAYLOAD_BYTES, PlainClient, RedisServer, RunningDaemon, closing, cpu, free_port, joined
from .preparing import ROOT, CannotRun, cache_folder, digest, environment, run

UNDER_WAY = 16
ROOMS = 8
PROCESSES = (1, 2, 4)
SIZES = (8, 64)
"""Members of each room in the runs."""

PAGE = ROOT / "docs" / "scaling.md"
PLOT = ROOT / "docs" / "scaling.svg"
BEGIN, END = "<!-- scaling: begin -->", "<!-- scaling: end -->"

FULL = 0.7
"""The part of a core that a process should use at most, so that a burst finds room."""

PING_SECONDS = 25.0
ROOM_MEMBERS = 100
ROOM_RATE = 1.0
"""The load of the simulation: rooms of so many members, with so many publications a second each."""

NODES = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)
MEMBERS = (1_000, 10_000, 100_000, 1_000_000)
TABLE_NODES = (1, 4, 20, 100)


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU time in us, see above."""

    order: float
    order_each: float
    serve: float
    serve_each: float
    deliver: float


@dataclass(frozen=True, slots=True)
class Sample:
    """Of one run: CPU time per publication in us, of the order and of all serving processes together."""

    processes: int
    members: int
    order: float
    serve: float


HUB_RUNS = (
    Sample(1, 8, 10.7, 59.5),
    Sample(1, 64, 21.6, 180.3),
    Sample(2, 8, 14.3, 94.3),
    Sample(2, 64, 24.4, 225.0),
    Sample(4, 8, 16.1, 129.2),
    Sample(4, 64, 31.9, 334.1),
)
REDIS_RUNS = (
    Sample(1, 8, 82.9, 152.3),
    Sample(1, 64, 86.1, 243.6),
    Sample(2, 8, 71.5, 159.2),
    Sample(2, 64, 112.8, 475.8),
    Sample(4, 8, 109.7, 363.1),
    Sample(4, 64, 151.9, 771.7),
)
"""The runs of --measure that the constants were fitted to, on two busy CPUs: on a quiet machine each figure is lower."""

HUB = Costs(order=18.0, order_each=3.4, serve=9.4, serve_each=30.3, deliver=2.42)
REDIS = Costs(order=65.2, order_each=22.2, serve=0.4, serve_each=88.7, deliver=3.15)
PING_US = 12.5
"""A ping and its pong."""

MEMBER_BYTES = 3_300
KERNEL_BYTES = 4_900
"""Of one connection: in the daemon, and in the kernel for this end of its socket."""


# -- the model


def followers(processes: int, members: int) -> float:
    """The processes that are expected to have one of `members` members, each of which is with any of them."""
    return processes * (1 - (1 - 1 / processes) ** members)


def order_us(costs: Costs, processes: int, members: int) -> float:
    """The order's CPU time for a publication in a room of `members` and its publisher."""
    return costs.order + costs.order_each * followers(processes, members + 1)


def serve_us(costs: Costs, processes: int, members: int) -> float:
    """The CPU time of all serving processes together for it."""
    return costs.serve + costs.serve_each * followers(processes, members + 1) + costs.deliver * members


@dataclass(frozen=True, slots=True)
class Load:
    """Cores: those of the order, of the busiest serving process, and of all serving processes; and the members of the fullest."""

    order: float
    busiest: float
    serving: float
    fullest: int


def simulate(costs: Costs, processes: int, members: int, room_members: int = ROOM_MEMBERS, rate: float = ROOM_RATE, seed: int = 1) -> Load:
    """Draw the process of each member and each room's publisher, and add the costs of a second up."""
    draw = random.Random(seed)  # noqa: S311 - a simulation
    everyone = range(processes)
    microseconds = [0.0] * processes
    present = [0] * processes
    order = 0.0
    for _ in range(members // room_members):
        places = Counter(draw.choices(everyone, k=room_members))
        microseconds[draw.choice(list(places.elements()))] += rate * costs.serve
        for process, count in places.items():
            microseconds[process] += rate * (costs.serve_each + costs.deliver * count) + count * PING_US / PING_SECONDS
            present[process] += count
        order += rate * (costs.order + costs.order_each * len(places))
    return Load(order / 1e6, max(microseconds) / 1e6, sum(microseconds) / 1e6, max(present))


# -- real processes

SETTINGS = """\
[daemon]
max_connections = 20000
{workers}
[listener:bench]
address = tcp:{port}:interface=127.0.0.1
max_connections_per_address = 0
connections_per_second_per_address = 0

[mount:/rooms/{{name}}]
app = rooms
max_connections_per_address = 0
requests_per_second = 0
ping_interval = 0
{broker}"""


async def publish_in(room: int, ports: Sequence[int], members: int, rounds: int, started: asyncio.Barrier) -> None:
    """One publisher with UNDER_WAY publications under way, and its room's members at ports in turn."""
    path = f"/rooms/r{room}"
    those = [await PlainClient.open(ports[(room + number) % len(ports)], path) for number in range(members)]
    publisher = await PlainClient.open(ports[room % len(ports)], path)
    payload = bytes(PAYLOAD_BYTES)
    try:
        size = await joined(publisher, those)
        async with started:
            pass
        for done in range(1, rounds + 1):
            for _ in range(UNDER_WAY):
                publisher.send(payload)
            await asyncio.gather(*[each.until(done * UNDER_WAY * size) for each in those])
        async with started:
            pass
    finally:
        for each in (publisher, *those):
            each.close()


async def publish(ports: Sequence[int], members: int, rounds: int, used: Callable[[], tuple[float, float]]) -> tuple[float, float]:
    """CPU time of order and serving processes per publication, in us."""
    started = asyncio.Barrier(ROOMS + 1)
    async with asyncio.TaskGroup() as tasks:
        for room in range(ROOMS):
            tasks.create_task(publish_in(room, ports, members, rounds, started))
        await started.wait()
        before = used()
        await started.wait()
        after = used()
    order, serve = [(late - early) / (ROOMS * rounds * UNDER_WAY) * 1e6 for early, late in zip(before, after, strict=True)]
    return order, serve


def run_workers(processes: int, members: int, rounds: int) -> Sample:
    """One daemon with so many workers, and its hub."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        daemon = RunningDaemon(Path(folder), port, SETTINGS.format(workers=f"workers = {processes}\n", port=port, broker=""))
        with closing(daemon):
            daemon.wait(processes)
            hub, workers = daemon.children()["hub"], daemon.workers()
            order, serve = asyncio.run(publish([port], members, rounds, lambda: (cpu(hub), sum(map(cpu, workers)))))
    return Sample(processes, members, order, serve)


def run_nodes(processes: int, members: int, rounds: int) -> Sample:
    """So many daemons, and Redis."""
    with tempfile.TemporaryDirectory() as folder:
        redis = RedisServer(Path(folder))
        redis.start()
        broker = f"\n[broker]\nurl = redis://127.0.0.1:{redis.port}/0\ntimeout = 30s\n"
        daemons: list[RunningDaemon] = []
        try:
            for _ in range(processes):
                port = free_port()
                daemons.append(RunningDaemon(Path(folder), port, SETTINGS.format(workers="", port=port, broker=broker)))
            for each in daemons:
                each.wait()
            pids = [each.process.pid for each in daemons]
            ports = [each.port for each in daemons]
            order, serve = asyncio.run(publish(ports, members, rounds, lambda: (cpu(redis.pid), sum(map(cpu, pids)))))
        finally:
            for each in daemons:
                each.close()
            redis.kill()
    return Sample(processes, members, order, serve)


# -- fitting


def fit(rows: Iterable[tuple[Sequence[float], float]]) -> list[float]:
    """The factors, none below 0, with the least sum of squared relative errors."""
    known = [([one / value for one in row], 1.0) for row, value in rows]
    chosen = list(range(len(known[0][0])))
    while True:
        factors = dict(zip(chosen, _solve(chosen, known), strict=True))
        negative = [column for column in chosen if factors[column] < 0]
        if not negative:
            return [factors.get(column, 0.0) for column in range(len(known[0][0]))]
        chosen.remove(min(negative, key=lambda column: factors[column]))


def _solve(columns: Sequence[int], rows: Sequence[tuple[Sequence[float], float]]) -> list[float]:
    """Normal equations, by elimination."""
    table = []
    for one in columns:
        squares = [sum(row[one] * row[other] for row, _ in rows) for other in columns]
        table.append([*squares, sum(row[one] * value for row, value in rows)])
    size = len(columns)
    for step in range(size):
        best = max(range(step, size), key=lambda line: abs(table[line][step]))
        table[step], table[best] = table[best], table[step]
        table[step] = [value / table[step][step] for value in table[step]]
        for line in range(size):
            if line != step:
                table[line] = [value - table[line][step] * other for value, other in zip(table[line], table[step], strict=True)]
    return [line[-1] for line in table]


def fitted(samples: Sequence[Sample]) -> Costs:
    """The costs that these runs have.

    Those of the order are fitted to the largest rooms: publications of large rooms come less together, so each costs the order more.
    """
    count = {sample: followers(sample.processes, sample.members + 1) for sample in samples}
    largest = [sample for sample in samples if sample.members == max(SIZES)]
    order, order_each = fit([((1.0, count[sample]), sample.order) for sample in largest])
    serve, serve_each, deliver = fit([((1.0, count[sample], float(sample.members)), sample.serve) for sample in samples])
    return Costs(round(order, 1), round(order_each, 1), round(serve, 1), round(serve_each, 1), round(deliver, 2))


def measure(name: str, run_one: Callable[[int, int, int], Sample], publications: int, runs: int) -> None:
    """Print the runs, the costs that fit them, and how far the model with these costs is from each."""
    taken = []
    for processes in PROCESSES:
        for members in SIZES:
            rounds = max(4, publications // ROOMS // UNDER_WAY)
            found = [run_one(processes, members, rounds) for _ in range(runs)]
            order, serve = (statistics.median(getattr(each, field) for each in found) for field in ("order", "serve"))
            taken.append(Sample(processes, members, order, serve))
    costs = fitted(taken)
    print(f"{name}: {costs}")
    for each in taken:
        order, serve = order_us(costs, each.processes, each.members), serve_us(costs, each.processes, each.members)
        print(
            f"  {each.processes} processes, rooms of {each.members:3}: order {each.order:6.1f} us, the model {order:6.1f}; "
            f"serving {each.serve:7.1f} us, the model {serve:7.1f}"
        )


# -- the page


def tables() -> str:
    """The part of docs/scaling.md between BEGIN and END."""
    lines = ["| constant, in µs of CPU | hub and workers | Redis and daemons |", "|---|---:|---:|"]
    about = {
        "order": "`O`: the order, for each publication",
        "order_each": "`o`: the order, for each process that follows the room",
        "serve": "`S`: the publisher's process, for each publication",
        "serve_each": "`s`: each process that follows the room, for each publication",
        "deliver": "`d`: a delivery to a member",
    }
    for field, text in about.items():
        lines.append(f"| {text} | {getattr(HUB, field):g} | {getattr(REDIS, field):g} |")
    lines.append(f"| `p`: a ping and its pong | {PING_US:g} | {PING_US:g} |")
    lines += ["", "| run | order, measured | model | serving, measured | model |", "|---|---:|---:|---:|---:|"]
    for costs, runs, word in ((HUB, HUB_RUNS, "worker"), (REDIS, REDIS_RUNS, "daemon")):
        for each in runs:
            order, serve = order_us(costs, each.processes, each.members), serve_us(costs, each.processes, each.members)
            many = "" if each.processes == 1 else "s"
            title = f"{each.processes} {word}{many}, rooms of {each.members}"
            lines.append(f"| {title} | {each.order:.1f} | {order:.1f} | {each.serve:.1f} | {serve:.1f} |")
    heads = ("members", "daemons", "cores of the busiest daemon", "cores of all daemons", "core of Redis", "memory of the fullest daemon")
    lines += ["", f"| {' | '.join(heads)} |", "|---:|---:|---:|---:|---:|---:|"]
    for members in MEMBERS:
        for nodes in TABLE_NODES:
            load = simulate(REDIS, nodes, members)
            memory = load.fullest * (MEMBER_BYTES + KERNEL_BYTES) / 1e6
            core = f"{load.order:.2f}" if load.order <= 1 else f"**{load.order:.1f}**"
            busiest = f"{load.busiest:.2f}" if load.busiest <= 1 else f"**{load.busiest:.1f}**"
            lines.append(f"| {members:,} | {nodes} | {busiest} | {load.serving:.2f} | {core} | {memory:,.0f} MB |")
    return "\n".join(lines)


def mark() -> str:
    """Names the constants and the load; the plot has it in its description."""
    text = json.dumps([asdict(HUB), asdict(REDIS), PING_US, FULL, ROOM_MEMBERS, ROOM_RATE, NODES, MEMBERS])
    return f"constants {digest([], text)}"


def curves() -> Mapping[str, object]:
    """The data of the plot."""
    loads = {members: [simulate(REDIS, nodes, members) for nodes in NODES] for members in MEMBERS}
    return {
        "mark": mark(),
        "nodes": NODES,
        "full": FULL,
        "busiest": {f"{members:,}": [load.busiest for load in found] for members, found in loads.items()},
        "order": {f"{members:,}": [load.order for load in found] for members, found in loads.items()},
    }


def write_docs() -> None:
    text = PAGE.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(f"{head}{BEGIN}\n{tables()}\n{END}{tail}")
    cache = cache_folder()
    data = cache / "scaling.json"
    data.write_text(json.dumps(curves()))
    drawing = environment(cache, "plot")
    drawing.install("matplotlib", "matplotlib")
    run([drawing.python, Path(__file__).with_name("plot_scaling.py"), data, PLOT])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--measure", action="store_true", help="measure the constants")
    parser.add_argument("--publications", type=int, default=4000, help="of each run")
    parser.add_argument("--runs", type=int, default=3, help="of which the medians count")
    parser.add_argument("--docs", action="store_true", help="write docs/scaling.md and docs/scaling.svg")
    options = parser.parse_args()
    try:
        if options.measure:
            measure("HUB", run_workers, options.publications, options.runs)
            measure("REDIS", run_nodes, options.publications, options.runs)
        if options.docs:
            write_docs()
        elif not options.measure:
            print(tables())
    except (CannotRun, ExceptionGroup) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
