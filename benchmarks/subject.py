"""wsdaemon as a server to be measured, of this source tree or of another one: its settings and its command."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from .catalogue import Server, Test
from .preparing import HERE, CannotRun, Tools, clean_environment, digest, environment, run, say

SETTINGS = """\
# Everything that is not here is as it comes: limits, pings, compression, counters and the log.
[daemon]
python_path = .
# the load has more connections than the default lets in
max_connections = 20000
{workers}
[listener:bench]
address = tcp:{port}:interface=127.0.0.1
{tls}
[mount:/echo]
app = echo

[mount:/coroutine]
app = apps:echo

[mount:/class]
app = apps:Echo

# what is published there reaches every other member as it is
[mount:/rooms/{{name}}]
app = rooms
"""

TLS = """\
tls_certificate = {certificate}
tls_key = {key}
"""

MOUNT = """\

[mount:/echo{number}]
app = echo
"""

ASGI = """\

[mount:/asgi]
app = asgi
application = asgi_echo:app
"""

FUNCTION = """\

[mount:/function]
app = apps:echo_function
"""

PROXY = """\

[mount:/proxy]
app = proxy
target = ws://127.0.0.1:{upstream}/
"""

LOOK = """\
import pathlib, wsdaemon
print(*(path.name for path in pathlib.Path(wsdaemon.__file__).parent.rglob("_frames*.so")))
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """A wsdaemon that can be started."""

    name: str
    """SUBJECT or BEFORE."""
    twistd: tuple[str, ...]
    environment: dict[str, str]
    commit: str
    """The source tree's, with `-dirty` behind it if files were changed since; empty if it is no git checkout."""

    @property
    def server(self) -> Server:
        """How the tests see it."""
        room = "/rooms/bench"
        own = {name: f"/{name}" for name in ("echo", "coroutine", "class", "function", "asgi", "proxy")}
        paths = {**own, "sub": room, "pub": room}
        return Server(self.name, home=self.name, deflate="", paths=paths)

    def command(self, folder: Path, port: int, test: Test, tools: Tools, upstream: int = 0) -> list[str]:
        """Writes the settings into `folder`; the words that start the daemon with them. `upstream`: the port of the server behind it."""
        tls = TLS.format(certificate=tools.certificate, key=tools.key) if test.tls else ""
        more = "".join(MOUNT.format(number=number) for number in range(test.mounts)) if test.mounts > 1 else ""
        if test.path == "asgi":  # an older tree may not know the app
            more += ASGI
            shutil.copy(HERE / "servers" / "asgi_echo.py", folder / "asgi_echo.py")
        if test.path == "function":
            more += FUNCTION
        if test.upstream:
            more += PROXY.format(upstream=upstream)
        settings = folder / "wsdaemon.ini"
        workers = f"workers = {test.workers}\n" if test.workers else ""
        settings.write_text(SETTINGS.format(port=port, tls=tls, workers=workers) + more)
        shutil.copy(HERE / "apps.py", folder / "apps.py")
        return [*self.twistd, "-n", "--pidfile=", "wsdaemon", "-c", str(settings)]


def check_tree(root: Path) -> None:
    """CannotRun unless `root` is a source tree of wsdaemon."""
    if not (root / "wsdaemon" / "__init__.py").exists() or not (root / "pyproject.toml").exists():
        raise CannotRun(f"{root} is no source tree of wsdaemon")


def installed(cache: Path, root: Path, name: str) -> Subject:
    """The source tree `root`, built and installed into an environment of its own, and again only when one of its files has changed."""
    home = environment(cache, name)
    sources = [path for folder in ("wsdaemon", "twisted") for path in (root / folder).rglob("*") if path.suffix in (".py", ".c", ".pyi")]
    mark = digest([*sources, root / "pyproject.toml", root / "hatch_build.py"])
    home.install("builder", "hatchling")
    if not home.has(mark):
        home.forget(keep="builder")
        home.pip("install", "--no-build-isolation", root)  # with what it depends on
        home.pip("install", "--no-build-isolation", "--no-deps", "--force-reinstall", root)  # and anew, though its version is the same
        home.mark(mark)
    return _looked_at(root, name, (str(home.python), str(home.scripts / "twistd")), clean_environment())


def in_place(root: Path, name: str) -> Subject:
    """The source tree `root` as it lies there, with the packages of the Python that runs this."""
    twistd = Path(sysconfig.get_path("scripts"), "twistd")
    if not twistd.exists():
        raise CannotRun(f"there is no twistd beside {sys.executable}")
    return _looked_at(root, name, (sys.executable, str(twistd)), clean_environment(PYTHONPATH=str(root)))


def _looked_at(root: Path, name: str, twistd: tuple[str, ...], environ: dict[str, str]) -> Subject:
    if not run([twistd[0], "-P", "-c", LOOK], environ).strip():
        say(f"{name}: the C module is not built; its Python twin is measured")
    return Subject(name, twistd, environ, _commit(root))


def _commit(root: Path) -> str:
    try:
        return run(["git", "-C", root, "describe", "--always", "--dirty"]).strip()
    except CannotRun:
        return ""
