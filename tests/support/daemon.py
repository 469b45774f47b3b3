"""Real daemons for the tests: a twistd in a process of its own, its log, its ports, its end.

Ports are free ones that the system chooses; the daemon's log says which. Nothing sleeps: what is waited for is a line of the log, the end
of the process, or what a client receives. Every wait ends after `SECONDS`, and then the test fails with the log.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import ssl
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from trustme import CA
from websockets.sync.client import ClientConnection, connect

from tests.support.shared_tls_socket import shared

SECONDS = 120.0
"""The longest that anything is waited for. No test takes that long; but beside thirty busy processes on two cores `twistd --check`, which
needs a second of a core, took half a minute."""

ROOT = Path(__file__).resolve().parents[2]
TWISTD = Path(sysconfig.get_path("scripts"), "twistd")
FOREGROUND = ("--nodaemon", "--pidfile=")

LISTENING = re.compile(r"listening on \S+?(?: \(port (?P<port>\d+)\))?, (?:plain|TLS), as (?P<name>\S+)$")

ECHO = """
[listener:web]
address = tcp:0:interface=127.0.0.1

[mount:/echo]
app = echo
"""


def environment(folder: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a daemon: without systemd's variables, and with its folder on the module path."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    return {**kept, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **(extra or {})}


def write_settings(folder: Path, text: str) -> Path:
    path = folder / "ws.ini"
    path.write_text(without_grace(text))
    return path


def without_grace(text: str) -> str:
    """Settings with admin pages, with which a daemon would serve on for five seconds after each SIGTERM, unless they name `drain_grace`."""
    if "[admin]" not in text or "drain_grace" in text:
        return text
    key = "[daemon]\ndrain_grace = 0\n"
    return text.replace("[daemon]\n", key, 1) if "[daemon]\n" in text else f"{text}\n{key}"


def command(settings: Path, twistd: Sequence[str] = FOREGROUND, options: Sequence[str] = ()) -> list[str]:
    return [sys.executable, str(TWISTD), *twistd, "wsdaemon", f"--config={settings}", *options]


def run(folder: Path, text: str, *options: str, twistd: Sequence[str] = FOREGROUND, **extra: str) -> subprocess.CompletedProcess[str]:
    """A twistd that ends by itself: a start that fails, `--check`, or one that goes to the background."""
    line = command(write_settings(folder, text), twistd, options)
    return subprocess.run(
        line, cwd=folder, env=environment(folder, extra), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=SECONDS,
    )  # fmt: skip


class Output:
    """The lines that a process writes, and a way to wait for one."""

    def __init__(self, stream: Any, seconds: float = SECONDS) -> None:
        """`seconds`: the longest that wait_for() waits."""
        self.lines: list[str] = []
        self._seconds = seconds
        self._stream = stream
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for line in self._stream:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str | re.Pattern[str], count: int = 1) -> list[re.Match[str]]:
        """Until `count` lines match `pattern`; the matches. Fails when the process ends before."""

        def found() -> list[re.Match[str]]:
            return [match for line in self.lines if (match := re.search(pattern, line))]

        with self._changed:
            self._changed.wait_for(lambda: len(found()) >= count or self._ended, self._seconds)
        matches = found()
        assert len(matches) >= count, f"no line matches {pattern!r}:\n{self.text}"
        return matches

    def close(self) -> None:
        """The process is over: take in the rest."""
        self._thread.join(SECONDS)
        self._stream.close()


class Program:
    """A process of ours: started, watched, and ended with the `with` block."""

    def __init__(
        self, line: Sequence[str], folder: Path, environ: Mapping[str, str] | None = None, pass_fds: Sequence[int] = (),
        seconds: float = SECONDS,
    ) -> None:  # fmt: skip
        self.folder = folder
        self._process = subprocess.Popen(
            line, cwd=folder, env=environment(folder, environ), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            pass_fds=pass_fds, text=True, errors="replace",
        )  # fmt: skip
        self.output = Output(self._process.stdout, seconds)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        return self.output.text

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def tell(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Until it has ended; its exit status (minus the number of the signal that killed it)."""
        try:
            return self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end:\n{self.log}") from None

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop and wait until it has; its exit status."""
        self.tell(number)
        return self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            if self.running:
                self.stop()
        finally:
            if self.running:
                self._process.kill()
                self._process.wait()
            self.output.close()


class Daemon(Program):
    """A twistd in the foreground that serves an INI file. When the `with` block begins, its listeners accept."""

    def __init__(
        self, folder: Path, text: str = ECHO, *, environ: Mapping[str, str] | None = None, pass_fds: Sequence[int] = (),
        before: Sequence[str] = (), seconds: float = SECONDS,
    ) -> None:  # fmt: skip
        """`before` is put in front of the command line. `seconds`: the longest that its start, or a line of its log, is waited for."""
        self._names = re.findall(r"^\[listener:(.+)\]$", text, re.MULTILINE)
        self.ports: dict[str, int] = {}
        super().__init__([*before, *command(write_settings(folder, text))], folder, environ, pass_fds, seconds)

    def __enter__(self) -> Self:
        try:
            for match in self.output.wait_for(LISTENING, len(self._names)):
                self.ports[match["name"]] = int(match["port"] or 0)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        super().__exit__(kind, error, traceback)
        if error is None:
            assert "Traceback" not in self.log, self.log

    @property
    def port(self) -> int:
        return next(iter(self.ports.values()))

    def url(self, path: str = "/echo", scheme: str = "ws") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def connect(self, path: str = "/echo", **options: Any) -> ClientConnection:
        """A client; `ssl=` a context makes it a TLS one."""
        scheme = "wss" if "ssl" in options else "ws"
        chosen: dict[str, Any] = {"open_timeout": SECONDS, "close_timeout": SECONDS, "proxy": None, **options}
        client: ClientConnection = connect(self.url(path, scheme), **chosen)
        return client

    def check_echo(self, text: str = "hello") -> None:
        """A new client is served."""
        with self.connect() as client:
            check_echo(client, text)


def check_echo(client: ClientConnection, text: str = "hello") -> None:
    client.send(text)
    assert client.recv(SECONDS) == text


def wait_for_end(pid: int) -> None:
    """Until a process that is not our child is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([handle], [], [], SECONDS)[0], f"process {pid} does not end"
    finally:
        os.close(handle)


@contextlib.contextmanager
def in_background(folder: Path, text: str, *twistd: str, pidfile: str = "twistd.pid", **extra: str) -> Iterator[int]:
    """A twistd that has become a daemon; its process id. Ended with SIGTERM, if it still runs.

    That `run` returns shows that the daemon keeps nothing of the terminal open: it reads to the end of what the daemon's pipes give.
    """
    done = run(folder, text, twistd=twistd, **extra)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stdout + done.stderr
    pid = int((folder / pidfile).read_text())
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        wait_for_end(pid)


def make_certificate(folder: Path, *names: str) -> ssl.SSLContext:
    """Writes cert.pem and key.pem for `names` (localhost and 127.0.0.1) into `folder`; a client's context that trusts them."""
    authority = CA()
    certificate = authority.issue_cert(*(names or ("localhost", "127.0.0.1")))
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "key.pem").chmod(0o600)
    (folder / "cert.pem").unlink(missing_ok=True)
    for part in certificate.cert_chain_pems:
        part.write_to_path(folder / "cert.pem", append=True)
    context = shared(ssl.create_default_context())
    authority.configure_trust(context)
    return context


TLS_ECHO = ECHO.replace("127.0.0.1\n", "127.0.0.1\ntls_certificate = cert.pem\ntls_key = key.pem\n")


def program(name: str, package: str, variable: str | None = None) -> str:
    """The path of a program, from an environment variable or PATH; the test skips when there is none."""
    found = (os.environ.get(variable) if variable else None) or shutil.which(name)
    if not found:
        pytest.skip(f"{name} is missing ({package})")
    return found
