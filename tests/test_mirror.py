"""Tests mirror the folders of the package: wsdaemon/wire/meter.py has tests/wire/test_meter.py, or several test_meter_*.py."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOUSE, TESTS = ROOT / "wsdaemon", ROOT / "tests"

SHORT = 30
"""Lines up to which a module needs no test of its own."""

ABOUT_THE_WHOLE = {"live", "fuzz", "docs", "conformance", "benchmarks", "support"}
"""Folders of tests that mirror no folder of the package."""

MISSING: set[str] = set()
"""Modules that still have no test of their own; others test them with theirs. The list only gets shorter."""

MODULES = sorted(path.relative_to(HOUSE) for path in HOUSE.rglob("*.py") if path.name != "__init__.py")


def find_tests(module: Path) -> list[Path]:
    folder = TESTS / module.parent
    return [*folder.glob(f"test_{module.stem}.py"), *folder.glob(f"test_{module.stem}_*.py")]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_has_its_test(module: Path) -> None:
    lines = len((HOUSE / module).read_text().splitlines())
    found = find_tests(module)
    if module.as_posix() in MISSING:
        assert not found, f"{module} has its test now: take it out of MISSING"
        assert lines > SHORT, f"{module} needs no test of its own any more: take it out of MISSING"
    else:
        assert found or lines <= SHORT, f"{module} has no tests/{module.with_name(f'test_{module.stem}.py')}"


@pytest.mark.parametrize("test", sorted(path.relative_to(TESTS) for path in TESTS.rglob("test_*.py")), ids=str)
def test_a_test_is_about_a_module(test: Path) -> None:
    """Or about the package as a whole: then it stands at the top, or in a folder that mirrors none."""
    if len(test.parts) == 1 or test.parts[0] in ABOUT_THE_WHOLE:
        return
    about = test.stem.removeprefix("test_")
    folder = HOUSE / test.parent
    names = {path.stem for path in folder.glob("*.py")} | {path.name for path in folder.iterdir() if path.is_dir()}
    assert any(about == name or about.startswith(f"{name}_") for name in names), f"tests/{test} is about no module of {folder.name}/"
