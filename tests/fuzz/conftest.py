"""All tests here are marked `fuzz`, and at the end it is said how many inputs there were."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import fuzzing, mutators

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == HERE:
            item.add_marker("fuzz")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if fuzzing.ran:
        by = "our own mutator and radamsa" if mutators.HAS_RADAMSA else "our own mutator; pyradamsa is not installed"
        each = ", ".join(f"{name} {count}" for name, count in sorted(fuzzing.ran.items()))
        terminalreporter.write_line(f"fuzz: {fuzzing.ran.total()} inputs ({each}), seed {fuzzing.SEED!r}, mutated by {by}")
