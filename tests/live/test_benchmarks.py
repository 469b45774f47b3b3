"""The benchmarks run: one small row, wsdaemon alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120.0


def test_one_row(tmp_path: Path) -> None:
    for tool in ("gcc", "taskset"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("this source tree comes without the benchmarks")
    cpus = sorted(os.sched_getaffinity(0))
    results = tmp_path / "results.json"
    options = ["--in-place", "--peers", "none", "--tests", "echo64", "--rounds", "1", "--seconds", "0.2", "--patience", "0", "--no-plot"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *options, "--cpus", f"{cpus[0]},{cpus[-1]}", "--json", str(results)],
        cwd=ROOT, env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(results.read_text())
    assert found["figures"]["echo64"]["wsdaemon"]["cost"] > 0
    assert "echo 64 B, one in flight" in done.stdout
