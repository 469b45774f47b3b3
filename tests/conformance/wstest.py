#!/usr/bin/env python3
"""Run the Autobahn TestSuite against a WebSocket server, or let it test a client.

    wstest.py ws://127.0.0.1:9001/echo                      all 517 cases
    wstest.py ws://... --cases 1.* 2.* 9.* --exclude 9.7.*  some of them
    wstest.py ws://... --jobs 2                             all, in two runs at once
    wstest.py --serve 9002                                  a server that tests a client
    wstest.py --check                                       only: can the suite run on this machine, and with what?

The suite needs Python 2.7. If this machine has one (PYTHON27 may name it), the suite is installed once into a cache folder, which takes
about 45 seconds. Otherwise the public container image crossbario/autobahn-testsuite is run with docker or podman.

Prints each case that is not OK or INFORMATIONAL, the seconds of each section, and the counts. Exit status: 0 if all cases are OK or
INFORMATIONAL and closed cleanly, 1 if some are not, 2 if the suite could not run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

VERSION = "25.10.1"
IMAGE = f"crossbario/autobahn-testsuite:{VERSION}"
GOOD = ("OK", "INFORMATIONAL")
AGENT = "wsdaemon"
UNANSWERED_SECONDS = 60
"""How long a container engine may take to say whether it runs."""
HALVES = ([f"{section}.*" for section in range(1, 13)], ["13.*"])
"""12.* and 13.* take nearly all of the time, each about half of it."""

Cases = dict[str, dict[str, Any]]
"""The suite's report: the result of each case by its number."""


class CannotRun(Exception):
    """The suite cannot run here; the text says why."""


@dataclass(frozen=True, slots=True)
class InPython:
    """The suite in a Python 2.7 of this machine."""

    python: str
    cache: Path

    def __str__(self) -> str:
        return self.python

    def prepare(self) -> None:
        """Installs the suite into the cache folder, unless that was done before. CannotRun if pip fails."""
        marker = self.cache / "installed"
        if marker.exists():
            return
        words = [self.python, "-m", "pip", "-q", "install", "--disable-pip-version-check", "--target", str(self.cache)]
        done = subprocess.run([*words, f"autobahntestsuite=={VERSION}"], capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotRun(done.stdout + done.stderr)
        (self.cache / "zope" / "__init__.py").touch()  # pip leaves it out, and Python 2.7 finds no package without it
        marker.touch()

    def command(self, folder: Path, *arguments: str) -> list[str]:
        """The words that run the suite with `folder` as its current directory."""
        start = f"import os; os.chdir({str(folder)!r}); from autobahntestsuite.wstest import run; run()"
        return ["env", f"PYTHONPATH={self.cache}", self.python, "-c", start, *arguments]


@dataclass(frozen=True, slots=True)
class InContainer:
    """The suite in the public image; the container shares the network and one folder with this machine."""

    engine: str

    def __str__(self) -> str:
        return f"{self.engine} with {IMAGE}"

    def prepare(self) -> None:
        """Fetches the image. CannotRun if that fails."""
        done = subprocess.run([self.engine, "pull", "-q", IMAGE], capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotRun(done.stdout + done.stderr)

    def command(self, folder: Path, *arguments: str) -> list[str]:
        """The words that run the suite with `folder` as its current directory."""
        user = ["--user", f"{os.getuid()}:{os.getgid()}", "--security-opt", "label=disable"]
        place = ["--network", "host", "--volume", f"{folder}:{folder}", "--workdir", str(folder)]
        return [self.engine, "run", "--rm", *user, *place, IMAGE, "wstest", *arguments]


Suite = InPython | InContainer


def find_suite(environ: Mapping[str, str] = os.environ) -> Suite:
    """Python 2.7 if there is one, else docker or podman; CannotRun if there is neither."""
    home = Path(environ.get("HOME", "/"))
    path = environ.get("PATH")
    pythons = [environ.get("PYTHON27"), *map(str, home.glob(".pyenv/versions/2.7*/bin/python2.7")), shutil.which("python2.7", path=path)]
    for python in pythons:
        if python and _works(python, "-c", "import ssl, sys; sys.exit(sys.version_info[:2] != (2, 7))"):
            cache = environ.get("WSTEST_CACHE") or home / ".cache" / f"autobahntestsuite-{VERSION}"
            return InPython(python, Path(cache))
    for name in ("docker", "podman"):
        engine = shutil.which(name, path=path)
        if engine and _works(engine, "info"):
            return InContainer(engine)
    raise CannotRun("the Autobahn TestSuite needs Python 2.7 (PYTHON27 may name one), or docker or podman for its container image")


def _works(*words: str) -> bool:
    try:
        return subprocess.run(words, capture_output=True, check=False, timeout=UNANSWERED_SECONDS).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def specify(folder: Path, cases: Sequence[str], exclude: Sequence[str], about: Mapping[str, object]) -> Path:
    """Writes the suite's settings into `folder`, and removes the reports of an earlier run; the path of the settings."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "reports", ignore_errors=True)
    chosen = {"outdir": str(folder / "reports"), "cases": list(cases), "exclude-cases": list(exclude), "exclude-agent-cases": {}}
    path = folder / "spec.json"
    path.write_text(json.dumps({**chosen, **about}))
    return path


def start(suite: Suite, folder: Path, url: str, cases: Sequence[str], exclude: Sequence[str]) -> subprocess.Popen[bytes]:
    """Starts the suite as a client of the server at `url`."""
    spec = specify(folder, cases, exclude, {"servers": [{"agent": AGENT, "url": url}]})
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(suite.command(folder, "-m", "fuzzingclient", "-s", str(spec)), stdout=log, stderr=log)


def read_report(folder: Path) -> Cases:
    """CannotRun, with the end of the suite's log, if there is no report."""
    index = folder / "reports" / "index.json"
    if not index.exists():
        raise CannotRun(f"{(folder / 'log').read_text(errors='replace')[-3000:]}\nno report was written")
    return {number: result for cases in json.loads(index.read_text()).values() for number, result in cases.items()}


def is_good(result: Mapping[str, Any]) -> bool:
    return result["behavior"] in GOOD and result["behaviorClose"] in GOOD


def describe(results: Cases) -> str:
    """Each case that is not good, the seconds of each section, and the counts."""

    def order(number: str) -> list[int]:
        return [int(part) for part in number.split(".")]

    lines = [
        f"{number}: {found['behavior']}, close {found['behaviorClose']}, code {found['remoteCloseCode']}, {found['duration']} ms"
        for number, found in sorted(results.items(), key=lambda item: order(item[0]))
        if not is_good(found)
    ]
    seconds: Counter[int] = Counter()
    for number, found in results.items():
        seconds[order(number)[0]] += found["duration"]
    counts = Counter(found["behavior"] for found in results.values())
    sections = ", ".join(f"{section}: {spent / 1000:.1f}" for section, spent in sorted(seconds.items()))
    return "\n".join([*lines, f"seconds by section: {sections}", f"{len(results)} cases: {dict(counts)}; {len(lines)} not good"])


def try_server(suite: Suite, options: argparse.Namespace, folder: Path) -> int:
    """Runs the cases against the server; the exit status."""
    whole = options.jobs > 1 and options.cases == ["*"]
    parts = HALVES if whole else (options.cases,)
    began = time.monotonic()
    folders = [folder / f"part{number}" for number in range(len(parts))]
    runs = [start(suite, here, options.url, part, options.exclude) for here, part in zip(folders, parts, strict=True)]
    for run in runs:
        run.wait()
    results: Cases = {}
    for here in folders:
        results.update(read_report(here))
    print(f"{describe(results)}; {time.monotonic() - began:.0f} s; reports in {folder}")
    return 0 if results and all(map(is_good, results.values())) else 1


def serve(suite: Suite, options: argparse.Namespace, folder: Path) -> NoReturn:
    """Becomes the suite as a server for the client under test, until a signal ends it."""
    spec = specify(folder, options.cases, options.exclude, {"url": f"ws://127.0.0.1:{options.serve}"})
    # Its pages are not served: at their usual port 8080 only one server could run.
    words = suite.command(folder, "-m", "fuzzingserver", "--webport", "0", "-s", str(spec))
    os.execvp(words[0], words)


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("wstest.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("url", nargs="?")
    what.add_argument("--serve", type=int, metavar="PORT")
    what.add_argument("--check", action="store_true", help="say with what the suite would run; exit status 2 if it cannot")
    parser.add_argument("--cases", nargs="+", default=["*"])
    parser.add_argument("--exclude", nargs="+", default=[])
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=1)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="keep the reports here; default: a new folder for temporary files")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    options = arguments(words)
    try:
        suite = find_suite()
        if options.check:
            print(suite)
            return 0
        suite.prepare()
        folder = options.out.absolute() if options.out else Path(tempfile.mkdtemp(prefix="wstest-"))
        if options.serve:
            serve(suite, options, folder)
        return try_server(suite, options, folder)
    except CannotRun as error:
        print(f"wstest: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
