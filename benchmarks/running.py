"""One sample: a server alone on its CPU, the load generator on another."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .catalogue import PROBE, TESTS, Server, Test, make_json
from .preparing import HERE, CannotRun, Environment, NodeEnvironment, Tools, clean_environment
from .subject import Subject

Sample = dict[str, Any]

QUIET = 0.2
"""A sample is quiet when other work took less than this many cores."""

START = 20.0
"""Seconds until a server must listen."""

SLACK = 150.0
"""Seconds that a load may take beyond the time it measures: opening connections, warming, ending."""

SPARE_FILES = 200
"""Open files that a process needs besides its connections."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where samples are taken, and with what."""

    tools: Tools
    wsload: Path
    raw: Path
    subjects: Mapping[str, Subject]
    """wsdaemon by the server's name: SUBJECT, and BEFORE when there is a tree to compare with."""
    environments: Mapping[str, Environment | NodeEnvironment]
    server_pin: tuple[str, ...]
    load_pin: tuple[str, ...]
    """Words that put a command on its CPU."""
    seconds: float
    patience: float
    files: int
    """How many files a process may have open."""

    @property
    def logs(self) -> Path:
        return self.tools.cache / "log"

    def measure(self, server: Server, test: Test) -> Sample:
        """Start the server, load it, end it. CannotRun when it does not start or anything that comes back is wrong."""
        if test.connections + SPARE_FILES > self.files:
            raise CannotRun(f"{test.connections + SPARE_FILES} open files are needed, and {self.files} are allowed (ulimit -n)")
        path = server.paths[test.path]
        with self._running(server, test) as (pid, port):
            start = ["--port", str(port), "--server-pid", str(pid), *(["--tls"] if test.tls else [])]
            # A small load first: imports and pools are then paid for, and a wrong path or a refusal shows at once.
            self._load([*start, *shlex.split("--mode idle -C 50 -T 0.3"), "--path", path, "--paths", str(test.mounts)], 1)
            wait_until_quiet(self.patience)
            words = [*start, *self._words(server, test, path)]
            if test.probed:
                sample = self._probed(words, [*start, *PROBE.split(), "--path", server.paths["echo"]], self._duration(test))
            else:
                sample = self._load(words, self._duration(test))
            if test.paced:
                sample = {**sample, "cost": sample["p99_us"] / 1000, "unit": "ms"}
            _check_used(sample, test)
            return sample

    def try_out(self, server: Server) -> None:
        """Start it, let it echo for a moment, end it. CannotRun when that fails."""
        test = TESTS["echo64"]
        with self._running(server, test) as (_, port):
            self._load(["--port", str(port), *shlex.split("--mode echo -C 1 -T 0.1 --warm 0.1"), "--path", server.paths[test.path]], 1)

    def _duration(self, test: Test) -> float:
        return test.seconds or self.seconds

    def _words(self, server: Server, test: Test, path: str) -> list[str]:
        words = [make_json(1024) if word == "{json}" else word for word in test.load.split()]
        words += ["--warm", "0.5", "-T", str(self._duration(test)), "--path", path, "--paths", str(test.mounts)]
        return [*words, "--pub-path", server.paths["pub"]] if test.path == "sub" else words

    # -- the server

    def _command(self, server: Server, test: Test, folder: Path, port: int, upstream: int) -> tuple[list[str], dict[str, str]]:
        if not server.command:
            subject = self.subjects[server.name]
            return subject.command(folder, port, test, self.tools, upstream), subject.environment
        home = self.environments[server.home]
        config = self.tools.configure(server.config, port) if server.config else ""
        values = {"port": port, "bin": home.scripts, "servers": HERE / "servers", "raw": self.raw, "config": config}
        words = [word.format(**values) for word in server.command.split()]
        if test.deflate and server.deflate:
            words.append(server.deflate)
        if test.tls:
            words += ["--cert", str(self.tools.certificate), "--key", str(self.tools.key)]
        return words, clean_environment()

    @contextlib.contextmanager
    def _running(self, server: Server, test: Test) -> Iterator[tuple[int, int]]:
        """The server, pinned to its CPU: its process id and port. Its process group ends with the block."""
        port = _free_port()
        log = self.logs / f"{server.name}.log"
        with (
            tempfile.TemporaryDirectory(prefix="wsdaemon-benchmarks-") as folder,
            self._upstream(test) as upstream,
            log.open("wb") as output,
        ):
            words, environ = self._command(server, test, Path(folder), port, upstream)
            process = subprocess.Popen(  # noqa: S603 (our own words, and no shell)
                [*self.server_pin, *words], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True, cwd=folder, env=environ,
            )  # fmt: skip
            try:
                _wait_until_listening(process, port, log)
                yield process.pid, port
            finally:
                _end(process)

    @contextlib.contextmanager
    def _upstream(self, test: Test) -> Iterator[int]:
        """The port of the server that stands behind the one that is measured; 0 if the test needs none."""
        if not test.upstream:
            yield 0
            return
        port = _free_port()
        process = subprocess.Popen(  # noqa: S603 (our own words, and no shell)
            [*self.load_pin, str(self.raw), str(port)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            _wait_until_listening(process, port, self.logs / "upstream.log")
            yield port
        finally:
            _end(process)

    # -- the load

    def _start_load(self, words: Sequence[str], *before: str) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603 (our own words, and no shell)
            [*self.load_pin, *before, str(self.wsload), *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", env=clean_environment(),
        )  # fmt: skip

    def _load(self, words: Sequence[str], seconds: float) -> Sample:
        with self._start_load(words) as process:
            return _result(process, seconds)

    def _probed(self, words: Sequence[str], probe_words: Sequence[str], seconds: float) -> Sample:
        """The load, and once its connections are open a probe beside it; the sample is the probe's, its cost the 99th percentile in ms.

        Both share a CPU, so the load is the nicer one: the probe is to wait for the server, not for the load.
        """
        with self._start_load(words, "nice", "-n", "19") as load:
            assert load.stderr is not None
            try:
                if load.stderr.readline() == "open\n":  # or it fails, and its result says why
                    probe = self._load([*probe_words, "-T", f"{max(0.5, seconds - 1.5):.2f}"], seconds)
                loaded = _result(load, seconds)
            finally:
                load.kill()
        return {**probe, "cost": probe["p99_us"] / 1000, "unit": "ms", "load": loaded}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _result(process: subprocess.Popen[str], seconds: float) -> Sample:
    """The last line of wsload. CannotRun when it found an error."""
    try:
        output, complaint = process.communicate(timeout=seconds + SLACK)
    except subprocess.TimeoutExpired:
        process.kill()
        raise CannotRun(f"the load did not end in {seconds + SLACK:.0f} seconds") from None
    except BaseException:
        process.kill()
        raise
    try:
        sample: Sample = json.loads(output)
    except ValueError:
        raise CannotRun(f"wsload: {(output + complaint)[-500:]}") from None
    if process.returncode:
        raise CannotRun(f"{sample['errmsg'] or 'nothing came back'}; {sample['open']} open {sample.get('response', '')[:200]}".rstrip())
    return sample


def _check_used(sample: Sample, test: Test) -> None:
    """CannotRun when what the test is about did not happen."""
    if test.pinged and sample["load"]["pings"] < test.connections:
        raise CannotRun(f"{sample['load']['pings']} pings came, for {test.connections} connections")
    if test.deflate and not sample["deflate"]:
        raise CannotRun("permessage-deflate was offered, and not agreed to")
    if test.deflate and not sample["compressed_rx"]:
        raise CannotRun("permessage-deflate was agreed to, and not used")


def _wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + START
    while time.monotonic() < end:
        if process.poll() is not None:
            raise CannotRun(f"it ended with status {process.returncode}: {_tail(log)}")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            time.sleep(0.5)
            return
        time.sleep(0.05)
    raise CannotRun(f"it does not listen after {START:.0f} seconds")


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-800:] if log.exists() else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # it leads a group of its own
    process.wait()


def _busy() -> float:
    """Seconds of CPU that this machine has spent, on all its CPUs."""
    with Path("/proc/stat").open() as file:
        spent = [float(word) for word in file.readline().split()[1:9]]
    return (sum(spent) - spent[3] - spent[4]) / os.sysconf("SC_CLK_TCK")


def wait_until_quiet(patience: float) -> None:
    """Until other work takes no more than QUIET cores, or for `patience` seconds."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        before = _busy()
        time.sleep(0.25)
        if _busy() - before < QUIET * 0.25:
            return
