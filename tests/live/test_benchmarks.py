"""The benchmarks run: one small row of this source tree, alone and beside a copy of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120.0

Run = Callable[..., tuple[str, dict[str, Any]]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the benchmarks in short; what they print and what they write. AssertionError unless the exit status is the one expected."""
    for tool in ("gcc", "taskset"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("this source tree comes without the benchmarks")
    cpus = sorted(os.sched_getaffinity(0))
    results = tmp_path / "results.json"
    always = ["--in-place", "--peers", "none", "--rounds", "1", "--seconds", "0.2", "--patience", "0", "--no-plot", "--json", str(results)]

    def start(*options: str, statuses: tuple[int, ...] = (0,)) -> tuple[str, dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks", *always, *options, "--cpus", f"{cpus[0]},{cpus[-1]}"],
            cwd=ROOT, env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
            capture_output=True, text=True, check=False, timeout=SECONDS,
        )  # fmt: skip
        assert done.returncode in statuses, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(results.read_text())
        return done.stdout, found

    return start


def test_one_row(run: Run) -> None:
    output, found = run("--tests", "echo64")
    assert found["figures"]["echo64"]["wsdaemon"]["cost"] > 0
    assert "echo 64 B, one in flight" in output


def test_four_mounts_beside_another_source_tree(run: Run, tmp_path: Path) -> None:
    """Whether the goal is reached in so short a run is chance; that a ratio of the two trees is found is not."""
    other = tmp_path / "other"
    other.mkdir()
    for name in ("wsdaemon", "twisted"):
        shutil.copytree(ROOT / name, other / name, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
    shutil.copy(ROOT / "pyproject.toml", other)
    output, found = run("--against", str(other), "--tests", "echo64-mounts", statuses=(0, 1))
    assert set(found["figures"]["echo64-mounts"]) == {"wsdaemon", "before"}
    [goal] = found["goals"]
    assert goal["measured"] > 0
    assert "x the same before" in output
