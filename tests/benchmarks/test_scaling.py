"""The model of docs/scaling.md: its page and plot belong to its constants, and its simulation to its formulas."""

from __future__ import annotations

import pytest

from benchmarks import scaling
from benchmarks.scaling import HUB, REDIS, Costs, Sample


def test_the_page_has_the_tables_of_these_constants() -> None:
    page = scaling.PAGE.read_text()
    assert page.partition(scaling.BEGIN)[2].partition(scaling.END)[0].strip() == scaling.tables(), "run python -m benchmarks.scaling --docs"


def test_the_plot_was_drawn_from_these_constants() -> None:
    assert scaling.mark() in scaling.PLOT.read_text(), "run python -m benchmarks.scaling --docs"


@pytest.mark.parametrize("costs", [HUB, REDIS])
@pytest.mark.parametrize("processes", [1, 2, 4, 20])
def test_the_simulation_agrees_with_the_formulas(costs: Costs, processes: int) -> None:
    rooms, members = 200, 10
    load = scaling.simulate(costs, processes, rooms * members, members, rate=5)
    publications = rooms * 5
    pings = rooms * members * scaling.PING_US / scaling.PING_SECONDS / 1e6
    # the formula counts the publisher's process apart from the members'; the simulation makes a member publish
    assert load.order == pytest.approx(publications * scaling.order_us(costs, processes, members - 1) / 1e6, rel=0.03)
    served = scaling.serve_us(costs, processes, members - 1) + costs.deliver
    assert load.serving == pytest.approx(publications * served / 1e6 + pings, rel=0.03)
    assert load.serving / processes <= load.busiest <= load.serving
    assert load.fullest >= rooms * members / processes


@pytest.mark.parametrize(("costs", "runs"), [(HUB, scaling.HUB_RUNS), (REDIS, scaling.REDIS_RUNS)])
def test_the_constants_are_those_of_the_runs_with_one_two_and_four_processes(costs: Costs, runs: tuple[Sample, ...]) -> None:
    assert {(run.processes, run.members) for run in runs} == {(one, other) for one in scaling.PROCESSES for other in scaling.SIZES}
    assert scaling.fitted(runs) == costs
    for run in runs:
        assert scaling.serve_us(costs, run.processes, run.members) == pytest.approx(run.serve, rel=0.3)
        order = scaling.order_us(costs, run.processes, run.members)
        if run.members == max(scaling.SIZES):
            assert order == pytest.approx(run.order, rel=0.25)
        assert order > run.order * 0.75, "the model never promises much more than a run has shown"


def test_costs_are_found_from_the_runs_that_have_them() -> None:
    true = Costs(40, 2, 100, 20, 4)
    samples = [
        Sample(processes, members, scaling.order_us(true, processes, members), scaling.serve_us(true, processes, members))
        for processes in scaling.PROCESSES
        for members in scaling.SIZES
    ]
    assert scaling.fitted(samples) == true


def test_no_cost_is_below_nothing() -> None:
    assert scaling.fit([((1.0, 1.0), 10.0), ((1.0, 2.0), 8.0), ((1.0, 4.0), 6.0)])[1] == 0.0
