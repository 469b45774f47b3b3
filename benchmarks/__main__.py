"""Measure what wsdaemon and other servers spend per message: `python -m benchmarks`.

Each server runs alone on one CPU, the load on another. The servers take turns round by round, and the figure is the CPU time of
the server's processes per message. benchmarks/README.md explains the columns.

--against PATH compares this source tree with another one of wsdaemon, in pairs of samples that alternate.

Exit status: 0; 1 if --bar or --against found a goal that is not reached; 2 if it could not run, or wsdaemon failed a test.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from .catalogue import BEFORE, DEFAULT_PEERS, GOALS, NODE, PEERS, SUBJECT, TESTS, Goal, Server
from .preparing import (
    ROOT,
    CannotRun,
    Environment,
    NodeEnvironment,
    Tools,
    cache_folder,
    environment,
    need,
    run,
    say,
    system_versions,
)
from .report import everything, figures_text, markdown, table, write_docs, write_json
from .results import Pair, Results, Verdict
from .running import Machine
from .subject import Subject, check_tree, in_place, installed

FILES = 65536
ROUNDS = 3
PAIRS = 9
"""Rounds with both source trees of a test that --against compares."""


def names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """A converter for lists of names out of `known`; `all` is all of them, `none` none."""

    def convert(text: str) -> list[str]:
        found = {"all": list(known), "none": []}.get(text, text.split(","))
        if wrong := [name for name in found if name not in known]:
            choice = ", ".join(known)
            raise argparse.ArgumentTypeError(f"{', '.join(wrong)}: expected some of {choice}, with commas between, or all, or none")
        return found

    return convert


def positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"{text}: expected a number over 0, up to 3600")
    return value


def cpus(text: str) -> tuple[int, int]:
    server, _, load = text.partition(",")
    return int(server), int(load)


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--tests", type=names(list(TESTS)), help=f"some of {', '.join(TESTS)}; default: all")
    add("--peers", type=names(list(PEERS)), help=f"some of {', '.join(PEERS)}, or none; default: {','.join(DEFAULT_PEERS)}")
    add("--bar", action="store_true", help="check the goals; without --tests and --peers, run only the pairs that they need")
    add("--against", type=Path, metavar="PATH", help="compare with the wsdaemon of this source tree, say of a git worktree")
    add("--rounds", type=int, choices=range(1, 101), metavar="N", help=f"default: {ROUNDS}; of two source trees: {PAIRS}")
    add("--seconds", type=positive, default=3.0, help="measured in each sample; default: 3")
    add("--patience", type=float, default=3.0, metavar="SECONDS", help="how long to wait for a quiet machine before a sample; default: 3")
    add("--cpus", type=cpus, default=(0, 1), metavar="SERVER,LOAD", help="default: 0,1")
    add("--in-place", action="store_true", help="run the checkout where it is, with this Python's packages; default: install it first")
    add("--plot", type=Path, metavar="FILE", help="an .svg or .png; default: plot.svg in the cache folder")
    add("--no-plot", action="store_true", help="draw nothing")
    add("--json", type=Path, metavar="FILE", help="everything that was measured; default: results.json in the cache folder")
    add("--docs", action="store_true", help="put table and plot into docs/performance.md and docs/performance.svg")
    found = parser.parse_args(words)
    if found.plot is not None and found.plot.suffix not in (".svg", ".png"):
        parser.error(f"--plot {found.plot}: expected a name that ends in .svg or .png")
    return found


def wanted(options: argparse.Namespace, servers: Sequence[Server]) -> list[Pair]:
    """The samples to run, in order."""
    tests = list(TESTS) if options.tests is None else options.tests
    pairs = [(test, server.name) for test in TESTS if test in tests for server in servers if server.can(TESTS[test])]
    if options.tests is None and options.peers is None and (options.bar or options.against):
        needed = {pair for goal in GOALS if goal_applies(goal, options) for pair in goal.needs}
        return [pair for pair in pairs if pair in needed]
    return pairs


def goal_applies(goal: Goal, options: argparse.Namespace) -> bool:
    """--against alone checks the goals that compare two source trees, --bar the others, both together all."""
    return options.against is not None if goal.server == BEFORE else options.bar


def raise_file_limit() -> int:
    """How many files this process, and what it starts, may now have open."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    soft = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


@contextmanager
def alone(cache: Path) -> Iterator[None]:
    """Two at once would measure each other: the second waits."""
    with (cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another run to end ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def load_generator(tools: Tools) -> tuple[Path, bool]:
    """wsload, and whether it can do TLS."""
    try:
        wsload = tools.load_generator(tls=True)
        tools.make_certificate()
        return wsload, True
    except CannotRun as error:
        say(f"TLS is left out: {str(error)[:300]}")
        return tools.load_generator(tls=False), False


def verdicts_of(results: Results, options: argparse.Namespace) -> list[Verdict]:
    return [verdict for verdict in results.verdicts() if goal_applies(verdict.goal, options)]


def chosen_peers(options: argparse.Namespace) -> Sequence[str]:
    """--against alone needs none."""
    if options.peers is not None:
        found: Sequence[str] = options.peers
        return found
    return () if options.against and not options.bar else DEFAULT_PEERS


def prepare_peers(options: argparse.Namespace, environments: Mapping[str, Environment | NodeEnvironment]) -> list[Server]:
    """The peers that can be run; a word about each other one."""
    found = []
    for name in chosen_peers(options):
        peer = PEERS[name]
        try:
            need(peer.system)
            if peer.packages:
                environments[peer.home].install(name, *peer.packages.split())
            found.append(peer)
        except CannotRun as error:
            say(f"{name} is left out: {error}")
    return found


def prepare_subjects(options: argparse.Namespace, cache: Path) -> dict[str, Subject]:
    """wsdaemon of this source tree, and of the one to compare with."""
    trees = {SUBJECT: ROOT} if options.against is None else {SUBJECT: ROOT, BEFORE: options.against.absolute()}
    for root in trees.values():
        check_tree(root)
    return {name: in_place(root, name) if options.in_place else installed(cache, root, name) for name, root in trees.items()}


def prepare(options: argparse.Namespace, cache: Path, files: int) -> tuple[Machine, list[Server]]:
    """Compile, install, and find out what can be run. CannotRun when wsdaemon cannot."""
    allowed, taskset = os.sched_getaffinity(0), shutil.which("taskset")
    if taskset is None or not set(options.cpus) <= allowed:
        raise CannotRun(f"taskset is needed, and two CPUs out of {sorted(allowed)} (--cpus)")
    tools = Tools(cache)
    wsload, tls = load_generator(tools)
    subjects = prepare_subjects(options, cache)
    names = ("peers", "autobahn", "asgi", *subjects)
    environments: dict[str, Environment | NodeEnvironment] = {name: environment(cache, name) for name in names}
    environments[NODE] = NodeEnvironment(cache / NODE)
    servers = [*(subject.server for subject in subjects.values()), *prepare_peers(options, environments)]
    pins = [(taskset, "-c", str(number)) for number in options.cpus]
    machine = Machine(tools, wsload, tools.limit(), subjects, environments, pins[0], pins[1], options.seconds, options.patience, files)
    return machine, servers if tls else [replace(server, tls=False) for server in servers]


def rounds_of(pair: Pair, pairs: Sequence[Pair], rounds: int | None) -> int:
    """How many samples are taken of this test and server, where --rounds does not say."""
    if rounds is not None:
        return rounds
    compared = pair[1] in (SUBJECT, BEFORE) and (pair[0], BEFORE) in pairs
    return PAIRS if compared else ROUNDS


def take_turns(machine: Machine, servers: Sequence[Server], pairs: Sequence[Pair], rounds: int | None) -> Results:
    """Every test of every server once a round; each round begins with the next server."""
    results = Results(pairs)
    planned = {pair: rounds_of(pair, pairs, rounds) for pair in pairs}
    for number in range(max(planned.values(), default=0)):
        turn = number % len(servers)
        for test in results.tests:
            for server in [*servers[turn:], *servers[:turn]]:
                if number >= planned.get((test, server.name), 0):
                    continue
                try:
                    sample = machine.measure(server, TESTS[test])
                    told = f"{sample['cost']:.2f} {TESTS[test].unit}"
                except CannotRun as error:
                    sample, told = None, f"FAILED: {error}"
                say(f"  round {number + 1} {test} {server.name}: {told}")
                results.samples[test, server.name].append(sample)
    return results


def plot(cache: Path, source: Path, target: Path) -> None:
    """Draws in an environment that has matplotlib; a word when there is none to be had."""
    try:
        drawing = environment(cache, "plot")
        drawing.install("matplotlib", "matplotlib")
        run([drawing.python, Path(__file__).with_name("plot.py"), source, target])
        say(f"plot: {target}")
    except CannotRun as error:
        say(f"no plot: {error}")


def publish(options: argparse.Namespace, machine: Machine, results: Results) -> None:
    """Print it, and write the files."""
    cache = machine.tools.cache
    for test in results.tests:
        print(table(results, test))
    print(f"\n{markdown(results)}\n")
    versions = {name: home.versions() for name, home in machine.environments.items()}
    used = [PEERS[name] for name in results.servers if name in PEERS]
    for name, subject in machine.subjects.items():
        versions[name] = {**versions[name], "commit": subject.commit}
    versions["system"] = system_versions({package for peer in used for package in peer.system.values()})
    found = everything(results, versions, options.seconds)
    source = (options.json or cache / "results.json").absolute()
    write_json(source, found)
    target = options.plot or (ROOT / "docs" / "performance.svg" if options.docs else cache / "plot.svg")
    if not options.no_plot:
        plot(cache, source, target.absolute())
    if options.docs:
        write_docs(ROOT / "docs" / "performance.md", figures_text(results, found, verdicts_of(results, options)))


def stop(number: int, frame: object) -> NoReturn:
    """A polite end: the servers that run are ended too."""
    raise SystemExit(128 + number)


def main(words: Sequence[str] | None = None) -> int:
    options = arguments(words)
    files = raise_file_limit()
    signal.signal(signal.SIGTERM, stop)
    cache = cache_folder()
    (cache / "log").mkdir(parents=True, exist_ok=True)
    try:
        with alone(cache):
            machine, servers = prepare(options, cache, files)
            for server in servers[: len(machine.subjects)]:  # wsdaemon: the rest is of no use without it
                machine.try_out(server)
            results = take_turns(machine, servers, wanted(options, servers), options.rounds)
            publish(options, machine, results)
    except CannotRun as error:
        say(f"benchmarks: {error}")
        return 2
    verdicts = verdicts_of(results, options)
    for verdict in verdicts:
        print(verdict)
    if any(server in machine.subjects for _, server in results.failed):
        return 2
    return 0 if all(verdict.reached for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
