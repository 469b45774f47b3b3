"""The samples of one run: medians, ratios and goals."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from .catalogue import BEFORE, GOALS, PEERS, SUBJECT, TESTS, Goal
from .running import QUIET, Sample

Pair = tuple[str, str]
"""A test and a server."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One test of one server: medians over its quiet samples, or over the quieter half where none was quiet."""

    cost: float
    rate: float
    p50_us: float
    p99_us: float
    foreign: float
    load: float
    """Cores that the load generator used: it has one."""
    used: int
    taken: int
    failed: int

    @property
    def quiet(self) -> bool:
        return self.foreign < QUIET


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal, and what was measured."""

    goal: Goal
    measured: float | None

    @property
    def reached(self) -> bool:
        return self.measured is not None and self.measured <= self.goal.most

    def __str__(self) -> str:
        word = "reached" if self.reached else "NOT REACHED"
        found = "no figure" if self.measured is None else shown(self.measured, 2)
        return f"{word:12} {TESTS[self.goal.test].title}: {found}, goal {shown(self.goal.most, 2)} {self.goal.measure}"


def shown(value: float, digits: int) -> str:
    """A number with about as many digits as it is worth."""
    return f"{value:,.{0 if value >= 100 else min(digits, 1) if value >= 10 else digits}f}"


class Results:
    """Samples by test and server, one for each round; None where it failed."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self.samples: dict[Pair, list[Sample | None]] = {pair: [] for pair in pairs}

    @property
    def tests(self) -> list[str]:
        """Those that were run, in the catalogue's order."""
        found = {test for test, _ in self.samples}
        return [test for test in TESTS if test in found]

    @property
    def servers(self) -> list[str]:
        """Those that were run: the subject, the one before, the peers in the catalogue's order."""
        found = {server for _, server in self.samples}
        return [server for server in (SUBJECT, BEFORE, *PEERS) if server in found]

    @property
    def failed(self) -> set[Pair]:
        """Where a sample failed."""
        return {pair for pair, samples in self.samples.items() if None in samples}

    def figure(self, test: str, server: str) -> Figure | None:
        """None when there is no good sample."""
        samples = self.samples.get((test, server), [])
        found = sorted((sample for sample in samples if sample), key=lambda sample: float(sample["foreign"]))
        good = [sample for sample in found if sample["foreign"] < QUIET] or found[: (len(found) + 1) // 2]
        if not good:
            return None

        def median(key: str) -> float:
            return float(statistics.median(sample[key] for sample in good))

        return Figure(
            cost=median("cost"),
            rate=median("rate"),
            p50_us=median("p50_us"),
            p99_us=median("p99_us"),
            foreign=median("foreign"),
            load=median("client_cpu"),
            used=len(good),
            taken=len(samples),
            failed=samples.count(None),
        )

    def ratio(self, one: Pair, other: Pair) -> float | None:
        """The median of the ratios within each round: the machine may change its speed between rounds."""
        pairs = [(a, b) for a, b in zip(self.samples.get(one, []), self.samples.get(other, []), strict=False) if a and b and b["cost"]]
        quiet = [(a, b) for a, b in pairs if max(a["foreign"], b["foreign"]) < QUIET]
        return statistics.median(a["cost"] / b["cost"] for a, b in quiet or pairs) if pairs else None

    def verdict(self, goal: Goal) -> Verdict:
        if goal.server:
            return Verdict(goal, self.ratio((goal.test, SUBJECT), (goal.base or goal.test, goal.server)))
        figure = self.figure(goal.test, SUBJECT)
        return Verdict(goal, None if figure is None else figure.cost)

    def verdicts(self) -> list[Verdict]:
        """For every goal whose test was run; those about the one before, where that was run."""
        ran = set(self.samples)
        return [self.verdict(goal) for goal in GOALS if (goal.test, SUBJECT) in ran and (goal.server != BEFORE or goal.needs <= ran)]
