"""The log under a real twistd, by way of a plugin that does nothing but log.

The plugin waits for SIGHUP, re-opens the log, logs a line and tells us through a FIFO; so nothing here sleeps.
"""

from __future__ import annotations

import json
import os
import pwd
import select
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import unix_connect

import wsdaemon
from tests.support.daemon import command, environment, write_settings

pytestmark = pytest.mark.live

SECONDS = 30

PROBE = """
import os, signal
from twisted.application.service import Service
from twisted.logger import Logger, eventAsText
from twisted.python import usage
from wsdaemon.ops.log_destinations import LogError
from wsdaemon.ops.log_twistd import install, log_for_twistd
from wsdaemon.ops.logs import LogOptions

class Options(usage.Options):
    optParameters = [["destination", None, "auto"], ["format", None, "auto"], ["fifo", None, None]]
    def postOptions(self):
        try:
            self.log = log_for_twistd(LogOptions(format=self["format"], destination=self["destination"]), self.parent, os.environ)
        except LogError as error:
            raise usage.UsageError(str(error))

class Probe(Service):
    def __init__(self, options):
        self.logger = Logger("wsdaemon.probe")
        self.options = options
    def setServiceParent(self, parent):
        if self.options.log is not None:
            install(self.options.log, parent)
        Service.setServiceParent(self, parent)
    def startService(self):
        from twisted.internet import reactor
        signal.signal(signal.SIGHUP, lambda *arguments: reactor.callFromThread(self.reopen))
        self.logger.info("hello {agent}", agent="a\\nb")
        print("printed")
        reactor.callWhenRunning(self.tell)
    def reopen(self):
        self.options.log.reopen()
        self.logger.info("reopened")
        self.tell()
    def tell(self):
        with open(self.options["fifo"], "w") as fifo:
            fifo.write("done\\n")

def own_observer():
    from twisted.logger import FileLogObserver
    return FileLogObserver(open("own.log", "w"), lambda event: "own " + eventAsText(event) + "\\n")

def makeService(options):
    return Probe(options)
"""

PLUGIN = """
from twisted.application.service import ServiceMaker
probe = ServiceMaker("probe", "logprobe", "Logs.", "probe")
"""


class Twistd:
    """A twistd in a directory of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "twisted" / "plugins").mkdir(parents=True)
        (folder / "twisted" / "plugins" / "probe_plugin.py").write_text(PLUGIN)
        (folder / "logprobe.py").write_text(PROBE)
        (folder / "wsdaemon").symlink_to(Path(wsdaemon.__file__).parent)
        os.mkfifo(folder / "fifo")
        self._fifo = os.open(folder / "fifo", os.O_RDWR | os.O_NONBLOCK)  # its own writer too: never at its end
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def command(self, *options: str, probe: tuple[str, ...] = ()) -> list[str]:
        run = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
        arguments = ["--pidfile=pid", *options, "probe", f"--fifo={self.folder / 'fifo'}", *probe]
        return [sys.executable, "-c", run, *arguments]

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.folder), "PATH": os.environ["PATH"], "TERM": "xterm"}

    def run(self, *options: str, probe: tuple[str, ...] = ()) -> subprocess.CompletedProcess[bytes]:
        """Run until it ends, or until it has become a daemon."""
        command = self.command(*options, probe=probe)
        return subprocess.run(command, cwd=self.folder, env=self.environment(), capture_output=True, check=False, timeout=SECONDS)

    def start(self, *options: str, probe: tuple[str, ...] = ()) -> None:
        """Start in the foreground; returns when the reactor runs."""
        command = self.command("--nodaemon", *options, probe=probe)
        output = (self.folder / "stdout").open("wb")
        self._process = subprocess.Popen(command, cwd=self.folder, env=self.environment(), stdout=output, stderr=subprocess.STDOUT)
        output.close()
        self.wait_for_probe()

    def wait_for_probe(self) -> None:
        ended = [] if self._process is None else [os.pidfd_open(self._process.pid)]
        assert self._fifo in select.select([self._fifo, *ended], [], [], SECONDS)[0], self.text("stdout")
        for handle in ended:
            os.close(handle)
        assert os.read(self._fifo, 100) == b"done\n"

    @property
    def pid(self) -> int:
        return int(self.text("pid"))

    def rotate(self, name: str) -> None:
        (self.folder / name).rename(self.folder / f"{name}.1")
        os.kill(self.pid, signal.SIGHUP)
        self.wait_for_probe()

    def stop(self) -> None:
        if self._stopped or not (self.folder / "pid").exists():
            return
        self._stopped = True  # after --uid the pid file stays, for twistd may no longer delete it
        handle = os.pidfd_open(self.pid)
        os.kill(self.pid, signal.SIGTERM)
        assert select.select([handle], [], [], SECONDS)[0]
        os.close(handle)
        if self._process is not None:
            self._process.wait(SECONDS)

    def close(self) -> None:
        self.stop()
        os.close(self._fifo)

    def text(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def mode(self, name: str) -> int:
        return stat.S_IMODE((self.folder / name).stat().st_mode)


@pytest.fixture
def twistd(tmp_path: Path) -> Iterator[Twistd]:
    made = Twistd(tmp_path)
    yield made
    made.close()


def test_in_front_it_logs_to_standard_output(twistd: Twistd) -> None:
    twistd.start()
    twistd.stop()
    lines = twistd.text("stdout").splitlines()
    assert any("info  twisted.scripts._twistd_unix.UnixAppLogger  twistd " in line for line in lines), "what was logged before is not lost"
    assert any(line.endswith("Z info  wsdaemon.probe  hello a\\nb") for line in lines)
    assert any(line.endswith("Z info  stdout  printed") for line in lines)
    assert any("Server Shut Down." in line for line in lines)
    assert "\x1b" not in "".join(lines)


def test_json(twistd: Twistd) -> None:
    twistd.start(probe=("--format=json",))
    twistd.stop()
    entries = [json.loads(line) for line in twistd.text("stdout").splitlines()]
    assert "hello a\nb" in [entry["message"] for entry in entries]


def test_logfile_is_ours_and_reopens(twistd: Twistd) -> None:
    twistd.start("--logfile=ws.log", probe=("--destination=journal",))
    assert twistd.mode("ws.log") == 0o640
    twistd.rotate("ws.log")
    twistd.stop()
    assert "info  wsdaemon.probe  hello" in twistd.text("ws.log.1")
    assert twistd.text("ws.log").splitlines()[0].endswith("info  wsdaemon.probe  reopened")
    assert twistd.text("stdout") == ""


def test_a_daemon_logs_to_twistd_log_and_reopens_it(twistd: Twistd) -> None:
    other = twistd.folder / "other"
    other.mkdir()
    result = twistd.run(f"--rundir={other}", f"--pidfile={twistd.folder / 'pid'}")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    twistd.wait_for_probe()
    twistd.rotate("twistd.log")
    assert twistd.mode("twistd.log") == twistd.mode("twistd.log.1") == 0o640, "twistd's umask is 077 by then"
    twistd.stop()
    assert "info  wsdaemon.probe  hello" in twistd.text("twistd.log.1")
    assert "Server Shut Down." in twistd.text("twistd.log")


def test_an_observer_from_the_command_line_stays_in_charge(twistd: Twistd) -> None:
    twistd.start("--logger=logprobe.own_observer", "--logfile=ws.log")
    twistd.stop()
    assert "own " in twistd.text("own.log")
    assert "hello a" in twistd.text("own.log")
    assert not (twistd.folder / "ws.log").exists()


def test_syslog_leaves_the_other_places_empty(twistd: Twistd) -> None:
    twistd.start("--syslog", "--prefix=probe", "--logfile=ws.log")
    twistd.stop()
    absent = "wsdaemon: cannot write to syslog: No such file or directory; log entries are lost\n"
    assert twistd.text("stdout") == ("" if Path("/dev/log").exists() else absent)
    assert not (twistd.folder / "ws.log").exists()


@pytest.fixture
def open_twistd() -> Iterator[Twistd]:
    """In a directory that other users may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        made = Twistd(Path(folder))
        yield made
        made.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_after_uid_the_file_can_still_be_opened_anew(open_twistd: Twistd) -> None:
    nobody = pwd.getpwnam("nobody")
    logs = open_twistd.folder / "logs"
    logs.mkdir()
    os.chown(logs, nobody.pw_uid, nobody.pw_gid)
    (open_twistd.folder / "fifo").chmod(0o666)
    open_twistd.start("--uid=nobody", "--logfile=logs/ws.log")
    assert (logs / "ws.log").stat().st_uid == nobody.pw_uid
    open_twistd.rotate("logs/ws.log")
    open_twistd.stop()
    assert open_twistd.text("logs/ws.log").splitlines()[0].endswith("reopened")
    assert (open_twistd.mode("logs/ws.log"), (logs / "ws.log").stat().st_uid) == (0o640, nobody.pw_uid)


@pytest.mark.parametrize(
    ("options", "probe", "message"),
    [
        (
            ("--nodaemon", "--logfile=none/ws.log"),
            (),
            "wsdaemon: cannot open the log file {folder}/none/ws.log: No such file or directory\n",
        ),
        (("--logfile=-",), (), "a daemon has no standard output to log to: add --nodaemon, or name a log file"),
        (("--nodaemon",), ("--format=xml",), "format: 'xml' is not a log format; expected one of auto, text, json"),
    ],
)
def test_what_cannot_work_ends_the_start_with_a_reason(
    twistd: Twistd, options: tuple[str, ...], probe: tuple[str, ...], message: str
) -> None:
    result = twistd.run(*options, probe=probe)
    assert result.returncode == 1
    said = (result.stdout + result.stderr).decode()
    assert message.format(folder=twistd.folder) in said
    assert "Traceback" not in said


# The whole daemon, with a standard output that is not read

NOISY = """
import logging
log = logging.getLogger("noisy")

async def app(connection):
    async for message in connection:
        log.warning("%s %s", message, "x" * 5000)
        await connection.send(message)
"""


@contextmanager
def noisy(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon whose standard output is read until it listens, and which 1000 messages then make log 5 MB.

    A pipe and the daemon's memory for it take 2 MB.
    """
    (folder / "noisy.py").write_text(NOISY)
    settings = write_settings(folder, f"[listener:a]\naddress = unix:{folder}/socket\n[mount:/]\napp = noisy:app\n")
    process = subprocess.Popen(
        command(settings), cwd=folder, env=environment(folder), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    try:
        assert any(b" serving " in line for line in process.stdout)
        with unix_connect(str(folder / "socket"), "ws://localhost/", open_timeout=SECONDS) as client:
            for number in range(1000):
                client.send(str(number))
                assert client.recv(SECONDS) == str(number)
        yield process
    finally:
        process.kill()
        process.wait(SECONDS)
        process.stdout.close()


def test_a_pipe_that_is_not_read_stops_neither_clients_nor_the_stop(tmp_path: Path) -> None:
    """It also shows that records of `logging` come into the log, at their level."""
    with noisy(tmp_path) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
        assert process.stdout is not None
        rest = process.stdout.read().decode()
    assert " warn  noisy  0 xxx" in rest and " warn  noisy  100 xxx" in rest
    assert "noisy  999 " not in rest, "it was not read, so it was dropped"


def test_the_loss_is_told_when_the_pipe_is_read_again(tmp_path: Path) -> None:
    with noisy(tmp_path) as process:
        assert process.stdout is not None
        numbers, lost = [], 0
        for line in process.stdout:
            words = line.split()
            if b"could not be written" in line:
                lost = int(words[3])
                break
            numbers.append(int(words[3]))
        assert numbers == list(range(len(numbers)))
        assert lost >= 1000 - len(numbers), "the line of the connection that closed may be missing too"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read().decode().rstrip().endswith("Server Shut Down.")
        assert process.wait(SECONDS) == 0
