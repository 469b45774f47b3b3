"""The Autobahn TestSuite against a real daemon: the 301 cases that take seconds, and a sample of the slow ones.

12.* and 13.* are compression, 216 cases and nearly all of the time. With WSDAEMON_CONFORMANCE=whole all of them are run, with each of the
frame readers: about 40 minutes. docs/conformance.md has the last full run.

These tests alone may skip in CI too: on a machine with neither Python 2.7 nor a container engine, and the reason says so.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from tests.conformance.wstest import CannotRun, find_suite
from tests.support.daemon import ROOT, Daemon

pytestmark = pytest.mark.live

TOOL = ROOT / "tests" / "conformance" / "wstest.py"
WHOLE = os.environ.get("WSDAEMON_CONFORMANCE") == "whole"
MINUTES = 30 if WHOLE else 10
READERS = ("c", "python", "off") if WHOLE else ("auto",)

SETTINGS = """
[daemon]
accelerator = %s
[logging]
connections = off
[defaults]
max_message = 16MiB
send_backlog = 32MiB
[listener:web]
address = tcp:0:interface=127.0.0.1
[mount:/echo]
app = echo
"""

HALVES = (("1.*", "2.*", "3.*", "4.*", "5.*", "7.*", "9.*", "10.*"), ("6.*",))
"""The cases without 12.* and 13.*, in two parts that take about as long."""

SECTIONS = tuple(f"{about}.{section}" for about, count in ((12, 5), (13, 7)) for section in range(1, count + 1))
"""Of 18 cases each."""
SAMPLE = tuple(f"{section}.{case}" for section in ("12.1", "12.2", "12.4", "13.1", "13.3", "13.4", "13.6", "13.7") for case in (2, 7, 11))
COMPRESSION = tuple(f"{section}.*" for section in SECTIONS) if WHOLE else SAMPLE


@pytest.fixture(scope="module", params=READERS)
def daemon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    try:
        find_suite()
    except CannotRun as error:
        pytest.skip(str(error))
    with Daemon(tmp_path_factory.mktemp("conformance"), SETTINGS % request.param) as started:
        first = start(started, ("1.1.1",))  # alone, because it installs the suite
        output = first.communicate(timeout=MINUTES * 60)[0]
        assert first.returncode == 0, output
        yield started


def start(daemon: Daemon, cases: Sequence[str]) -> subprocess.Popen[str]:
    line = [sys.executable, str(TOOL), daemon.url(), "--cases", *cases]
    return subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def results(run: subprocess.Popen[str]) -> Counter[str]:
    """How many cases had which outcome."""
    output = run.communicate(timeout=MINUTES * 60)[0]
    found = re.search(r"^\d+ cases: (\{.*?\}); 0 not good", output, re.MULTILINE)
    assert found is not None, output
    assert run.returncode == 0, output
    return Counter({name: int(count) for name, count in re.findall(r"'([A-Z-]+)': (\d+)", found[1])})


def test_all_cases_but_compression(daemon: Daemon) -> None:
    runs = [start(daemon, cases) for cases in HALVES]
    assert sum((results(run) for run in runs), Counter()) == {"OK": 298, "INFORMATIONAL": 3}


def test_compression(daemon: Daemon) -> None:
    runs = [start(daemon, COMPRESSION[half::2]) for half in range(2)]
    assert sum((results(run) for run in runs), Counter()) == {"OK": 216 if WHOLE else len(SAMPLE)}
