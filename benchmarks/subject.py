"""wsdaemon of this checkout, as a server to be measured: its settings and its command."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from .catalogue import SUBJECT, Server, Test
from .preparing import HERE, ROOT, CannotRun, Tools, clean_environment, digest, environment, run, say

SETTINGS = """\
# Everything that is not here is as it comes: limits, pings, compression, counters and the log.
[daemon]
python_path = .
# the load has more connections than the default lets in
max_connections = 20000

[listener:bench]
address = tcp:{port}:interface=127.0.0.1
{tls}
[mount:/echo]
app = echo

[mount:/coroutine]
app = apps:echo

"""

TLS = """\
tls_certificate = {certificate}
tls_key = {key}
"""

ROOMS = """\
[mount:/rooms/{name}]
app = rooms
"""
"""What is published there reaches every other member as it is."""

BARE_ROOM = """\
[mount:/room]
app = apps:Room
"""

LOOK = """\
from wsdaemon.settings.apps import APP_OPTIONS
try:
    from wsdaemon.wire import _frames
except ImportError:
    _frames = None
print("rooms" if "rooms" in APP_OPTIONS else "bare", "compiled" if _frames else "python")
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """A wsdaemon that can be started."""

    twistd: tuple[str, ...]
    environment: dict[str, str]
    rooms: bool

    @property
    def server(self) -> Server:
        """How the tests see it."""
        room = "/rooms/bench" if self.rooms else "/room"
        return Server(SUBJECT, home=SUBJECT, deflate="", paths={"echo": "/echo", "coroutine": "/coroutine", "sub": room, "pub": room})

    def command(self, folder: Path, port: int, test: Test, tools: Tools) -> list[str]:
        """Writes the settings into `folder`; the words that start the daemon with them."""
        tls = TLS.format(certificate=tools.certificate, key=tools.key) if test.tls else ""
        settings = folder / "wsdaemon.ini"
        settings.write_text(SETTINGS.format(port=port, tls=tls) + (ROOMS if self.rooms else BARE_ROOM))
        shutil.copy(HERE / "apps.py", folder / "apps.py")
        return [*self.twistd, "-n", "--pidfile=", "wsdaemon", "-c", str(settings)]


def installed(cache: Path) -> Subject:
    """This checkout, built and installed into an environment of its own. Again only when a file of it has changed."""
    home = environment(cache, SUBJECT)
    sources = [path for folder in ("wsdaemon", "twisted") for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".c", ".pyi")]
    mark = digest([*sources, ROOT / "pyproject.toml", ROOT / "hatch_build.py"])
    home.install("builder", "hatchling")
    if not home.has(mark):
        home.forget(keep="builder")
        home.pip("install", "--no-build-isolation", ROOT)  # with what it depends on
        home.pip("install", "--no-build-isolation", "--no-deps", "--force-reinstall", ROOT)  # and anew, though its version is the same
        home.mark(mark)
    return _looked_at((str(home.python), str(home.scripts / "twistd")), clean_environment())


def in_place() -> Subject:
    """This checkout as it lies there, with the packages of the Python that runs this."""
    twistd = Path(sysconfig.get_path("scripts"), "twistd")
    if not twistd.exists():
        raise CannotRun(f"there is no twistd beside {sys.executable}")
    return _looked_at((sys.executable, str(twistd)), clean_environment(PYTHONPATH=str(ROOT)))


def _looked_at(twistd: tuple[str, ...], environ: dict[str, str]) -> Subject:
    rooms, frames = run([twistd[0], "-P", "-c", LOOK], environ).split()[-2:]
    if frames != "compiled":
        say("wsdaemon's C module is not built: its Python twin is measured")
    if rooms != "rooms":
        say("this wsdaemon has no rooms: a bare broadcast app is measured")
    return Subject(twistd, environ, rooms == "rooms")
