"""For all tests: in CI a skipped test counts as failed, because CI installs everything that a test needs.

Conformance alone may skip: Python 2.7 and container engines cannot be installed everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from twisted.logger import globalLogBeginner, globalLogPublisher

if TYPE_CHECKING:
    from tests.support.fakes import House

IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")

MAY_SKIP = "tests/live/test_conformance.py"

# A busy machine makes the generation of inputs slow, which says nothing about the code: no test may depend on the wall clock.
settings.register_profile("any load", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any load")

# Until a log begins, Twisted keeps the latest 65,536 events, each failure with all objects of its frames: tests that count objects would
# count those too.
globalLogPublisher.removeObserver(globalLogBeginner._temporaryObserver)  # type: ignore[arg-type]

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def _skip_is_failure(report: Report) -> Report:
    if IN_CI and report.skipped and not hasattr(report, "wasxfail") and not report.nodeid.startswith(MAY_SKIP):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{reason.removeprefix('Skipped: ')}: in CI a skip is a failure"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _skip_is_failure((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _skip_is_failure((yield))


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """An exception that is a parameter lives as long as the run, and its traceback holds the objects of all frames that it went through."""
    for value in getattr(getattr(item, "callspec", None), "params", {}).values():
        for each in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(each, BaseException):
                each.__traceback__ = each.__context__ = None


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "readers(*names): run with each of these frame readers of fakes.READERS; without names, with all")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("readers")
    if marker is not None and "made" in metafunc.fixturenames:
        from tests.support.fakes import READERS

        metafunc.parametrize("made", [name for name in marker.args or READERS if name in READERS], indirect=True)


@pytest.fixture
def made(request: pytest.FixtureRequest) -> Iterator[House]:
    """A loop whose time stands still, and a maker of wires on it; with the Python frame reader, or those of the mark `readers`."""
    from tests.support.fakes import house

    with house(getattr(request, "param", "python")) as made:
        yield made


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The lines that are logged during the test."""
    from tests.support.logs import lines_meanwhile

    with lines_meanwhile() as lines:
        yield lines
