"""The Autobahn TestSuite's fuzzing server against our client: the cases that take seconds, and a sample of compression.

With WSDAEMON_CONFORMANCE=whole all 517 cases are run, which takes about 15 minutes. docs/conformance.md has the last full run.

These tests alone may skip in CI too, as those of test_conformance.py.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.conformance.wsclient import run_all
from tests.conformance.wstest import CannotRun, find_suite, is_good, read_report
from tests.live.test_conformance import MINUTES, TOOL, WHOLE
from tests.live.test_edge_recipes import free_port
from tests.support.daemon import ROOT, Program

pytestmark = pytest.mark.live

QUICK = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.2.*", "6.4.*", "7.*", "10.*", "9.1.1", "9.2.1")
SAMPLE = tuple(f"{section}.1" for section in ("12.1", "12.2", "12.3", "13.1", "13.2", "13.3", "13.4", "13.5", "13.6", "13.7"))
CASES = {
    "quick": ((*QUICK, *SAMPLE), {"OK": 119, "INFORMATIONAL": 3}),
    "12": (("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*", "12.*"), {"OK": 388, "INFORMATIONAL": 3}),
    "13": (("13.*",), {"OK": 126}),
}


@pytest.mark.parametrize("part", ["12", "13"] if WHOLE else ["quick"])
def test_the_client_passes(part: str, tmp_path: Path) -> None:
    try:
        find_suite()
    except CannotRun as error:
        pytest.skip(str(error))
    cases, expected = CASES[part]
    port = free_port()
    line = [sys.executable, str(TOOL), "--serve", str(port), "--out", str(tmp_path / "out"), "--cases", *cases]
    with Program(line, ROOT):  # its output is buffered; the client asks until it answers
        asyncio.run(asyncio.wait_for(run_all(f"ws://127.0.0.1:{port}", 4), MINUTES * 60))
        results = read_report(tmp_path / "out")
    assert {number: found["behavior"] for number, found in results.items() if not is_good(found)} == {}
    assert Counter(found["behavior"] for found in results.values()) == expected
