"""The script around the Autobahn TestSuite, with programs in the suite's place: where it runs, what it prints, and its exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.wstest import HALVES, IMAGE, CannotRun, InContainer, InPython, describe, find_suite

SCRIPT = Path(__file__).with_name("wstest.py")

SUITE = """#!{python}
import json, os, pathlib, sys
words = sys.argv[1:]
with open({calls!r}, "a") as calls:
    calls.write(json.dumps(words) + "\\n")
if "-s" in words:
    spec = json.loads(pathlib.Path(words[words.index("-s") + 1]).read_text())
    with open({calls!r}, "a") as calls:
        calls.write(json.dumps(spec) + "\\n")
    behavior = os.environ.get("BEHAVIOR", "OK")
    if behavior != "NONE":
        result = {{"behavior": behavior, "behaviorClose": "OK", "remoteCloseCode": 1000, "duration": 1500}}
        pathlib.Path(spec["outdir"]).mkdir()
        found = {{case.replace("*", "1"): result for case in spec["cases"]}}
        pathlib.Path(spec["outdir"], "index.json").write_text(json.dumps({{"wsdaemon": found}}))
"""
"""Takes the place of docker and of Python 2.7: notes how it is called, and writes a report."""


class Machine:
    """A machine that has the programs that are put on its PATH, and no others."""

    def __init__(self, folder: Path) -> None:
        self._calls = folder / "calls"
        self._programs = folder / "bin"
        self._programs.mkdir()
        self.environ = {"PATH": str(self._programs), "HOME": str(folder), "TMPDIR": str(folder)}

    def add(self, name: str, text: str | None = None) -> str:
        program = self._programs / name
        program.write_text(text or SUITE.format(python=sys.executable, calls=str(self._calls)))
        program.chmod(0o755)
        return str(program)

    def calls(self) -> list[list[str] | dict[str, object]]:
        return [json.loads(line) for line in self._calls.read_text().splitlines()]

    def run(self, *words: str, **environ: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, str(SCRIPT), *words], env={**self.environ, **environ},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60,
        )  # fmt: skip
        return done.returncode, done.stdout


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


FAILS = "#!/bin/sh\nexit 1\n"


def test_without_python_2_and_containers_it_cannot_run_and_names_both(machine: Machine) -> None:
    with pytest.raises(CannotRun, match=r"Python 2\.7 .*docker or podman"):
        find_suite(machine.environ)
    status, output = machine.run("--check")
    assert status == 2
    assert output.startswith("wstest: the Autobahn TestSuite needs Python 2.7")
    assert machine.run("ws://127.0.0.1:1/")[0] == 2


def test_an_engine_that_does_not_run_is_none(machine: Machine) -> None:
    machine.add("docker", FAILS)
    podman = machine.add("podman")
    assert find_suite(machine.environ) == InContainer(podman)
    machine.add("podman", FAILS)
    with pytest.raises(CannotRun):
        find_suite(machine.environ)


def test_python_2_comes_first_and_has_to_work(machine: Machine) -> None:
    docker = machine.add("docker")
    machine.add("python2.7", FAILS)
    assert find_suite(machine.environ) == InContainer(docker)
    named = machine.add("elsewhere")
    cache = str(Path(named).parent)
    assert find_suite({**machine.environ, "PYTHON27": named, "WSTEST_CACHE": cache}) == InPython(named, Path(cache))
    python = machine.add("python2.7")
    found = find_suite(machine.environ)
    assert isinstance(found, InPython)
    assert (found.python, found.cache.parent) == (python, Path(machine.environ["HOME"], ".cache"))


def test_check_runs_nothing(machine: Machine) -> None:
    docker = machine.add("docker")
    assert machine.run("--check") == (0, f"{docker} with {IMAGE}\n")
    assert machine.calls() == [["info"]]


def test_the_container_shares_the_network_and_the_folder_of_the_reports(machine: Machine, tmp_path: Path) -> None:
    machine.add("docker")
    out = tmp_path / "out"
    status, output = machine.run("ws://127.0.0.1:9001/echo", "--cases", "1.*", "7.*", "--exclude", "7.9.*", "--out", str(out))
    assert (status, output.splitlines()[-1].split("; ")[:2]) == (0, ["2 cases: {'OK': 2}", "0 not good"])
    _, pull, run, spec = machine.calls()
    assert pull == ["pull", "-q", IMAGE]
    assert isinstance(run, list)
    folder = str(out / "part0")
    at = run.index(IMAGE)
    assert run[:2] == ["run", "--rm"]
    assert "--network host" in " ".join(run[:at])
    assert f"--volume {folder}:{folder}" in " ".join(run[:at])
    assert f"--user {os.getuid()}:{os.getgid()}" in " ".join(run[:at])
    assert run[at + 1 :] == ["wstest", "-m", "fuzzingclient", "-s", f"{folder}/spec.json"]
    assert spec == {
        "outdir": f"{folder}/reports", "cases": ["1.*", "7.*"], "exclude-cases": ["7.9.*"], "exclude-agent-cases": {},
        "servers": [{"agent": "wsdaemon", "url": "ws://127.0.0.1:9001/echo"}],
    }  # fmt: skip


def test_all_cases_in_two_runs(machine: Machine) -> None:
    machine.add("docker")
    status, output = machine.run("ws://127.0.0.1:9001/", "--jobs", "2")
    assert status == 0
    assert "13 cases: {'OK': 13}; 0 not good" in output
    specs = [call["cases"] for call in machine.calls() if isinstance(call, dict)]
    assert sorted(map(str, specs)) == sorted(map(str, HALVES))


def test_a_case_that_fails_is_printed_and_sets_the_status(machine: Machine) -> None:
    machine.add("docker")
    status, output = machine.run("ws://127.0.0.1:9001/", "--cases", "1.*", BEHAVIOR="FAILED")
    assert status == 1
    assert output.startswith("1.1: FAILED, close OK, code 1000, 1500 ms\n")
    assert "1 cases: {'FAILED': 1}; 1 not good" in output
    assert machine.run("ws://127.0.0.1:9001/", "--cases", "1.*", BEHAVIOR="INFORMATIONAL")[0] == 0


def test_a_run_without_a_report_is_no_result_and_an_old_report_does_not_count(machine: Machine, tmp_path: Path) -> None:
    machine.add("docker")
    words = ("ws://127.0.0.1:9001/", "--out", str(tmp_path / "out"))
    assert machine.run(*words)[0] == 0
    status, output = machine.run(*words, BEHAVIOR="NONE")
    assert status == 2
    assert "no report was written" in output


def test_a_server_for_clients(machine: Machine, tmp_path: Path) -> None:
    machine.add("docker")
    assert machine.run("--serve", "9002", "--out", str(tmp_path))[0] == 0
    *_, run, spec = machine.calls()
    assert isinstance(run, list)
    assert isinstance(spec, dict)
    assert "fuzzingserver" in run
    assert spec["url"] == "ws://127.0.0.1:9002"


def test_the_suite_is_installed_once(machine: Machine, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (cache / "zope").mkdir(parents=True)
    suite = InPython(machine.add("python2.7"), cache)
    suite.prepare()
    suite.prepare()
    [call] = machine.calls()
    assert call[:3] == ["-m", "pip", "-q"]  # type: ignore[index]
    assert (cache / "zope" / "__init__.py").exists()
    with pytest.raises(CannotRun):
        InPython(machine.add("broken", FAILS), tmp_path / "other").prepare()


def test_sections_are_in_order_and_a_bad_close_is_not_good() -> None:
    good = {"behavior": "OK", "behaviorClose": "OK", "remoteCloseCode": 1000, "duration": 250}
    text = describe({"10.1.1": good, "2.10": {**good, "behaviorClose": "UNCLEAN"}, "2.9": {**good, "behavior": "FAILED"}})
    first, second, sections, counts = text.splitlines()
    assert (first.split(":")[0], second.split(":")[0]) == ("2.9", "2.10")
    assert sections == "seconds by section: 2: 0.5, 10: 0.2"
    assert counts == "3 cases: {'OK': 2, 'FAILED': 1}; 2 not good"
