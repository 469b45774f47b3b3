"""The cache folder, and what is compiled and installed there. Nothing is ever put into the checkout."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SECONDS = 900
"""The longest that a step of the preparation may take."""


class CannotRun(Exception):
    """A step failed or something is missing; the text says what."""


def cache_folder() -> Path:
    """`wsdaemon-benchmarks` in the user's cache folder (XDG_CACHE_HOME)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "wsdaemon-benchmarks")


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without what changes which modules a Python finds."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", **more}


def run(words: Sequence[object], environment: Mapping[str, str] | None = None) -> str:
    """Run one step; what it printed. CannotRun with the end of that when it fails."""
    command = [str(word) for word in words]
    try:
        done = subprocess.run(  # noqa: S603 (our own words, and no shell)
            command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, errors="replace",
            timeout=SECONDS, env=dict(environment or clean_environment()),
        )  # fmt: skip
    except FileNotFoundError:
        raise CannotRun(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise CannotRun(f"{shlex.join(command)} did not end in {SECONDS} seconds") from None
    except subprocess.CalledProcessError as error:
        raise CannotRun(f"{shlex.join(command)} failed:\n{error.stdout[-1500:]}") from None
    return done.stdout


def need(files: Mapping[str, str]) -> None:
    """CannotRun unless all these files are there; the text names their Debian packages."""
    if missing := sorted({package for path, package in files.items() if not Path(path).exists()}):
        raise CannotRun(f"{', '.join(missing)}: not installed (Debian packages)")


def system_versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of these Debian packages; empty where there is no dpkg, or where they are from elsewhere."""
    names = sorted(packages)
    try:
        output = run(["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *names]) if names else ""
    except CannotRun:
        return {}
    return {words[0]: words[1] for line in output.splitlines() if len(words := line.split()) == 2}


def digest(files: Iterable[Path], *more: str) -> str:
    """Names the content of files."""
    summed = hashlib.sha256(repr(more).encode())
    for path in sorted(files):
        summed.update(path.name.encode() + b"\0" + path.read_bytes())
    return summed.hexdigest()[:12]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Tools:
    """The compiled programs (the load generator and the C limit), and a certificate."""

    cache: Path

    @property
    def certificate(self) -> Path:
        return self.cache / "certificate.pem"

    @property
    def key(self) -> Path:
        return self.cache / "key.pem"

    def load_generator(self, tls: bool) -> Path:
        """wsload; `tls` needs the headers of OpenSSL."""
        flags = ["-DWITH_TLS", "-lssl", "-lcrypto"] if tls else []
        return self._compile("wsload", sorted((HERE / "load").glob("*.c")), "-O2", "-lz", *flags)

    def limit(self) -> Path:
        """rawecho."""
        return self._compile("rawecho", [HERE / "servers" / "rawecho.c"], "-O3", "-march=native")

    def make_certificate(self) -> None:
        """A self-signed P-256 certificate for localhost, made once."""
        if self.certificate.exists() and self.key.exists():
            return
        run([
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", self.key, "-out", self.certificate,
        ])  # fmt: skip

    def configure(self, name: str, port: int) -> Path:
        """The settings file of that name from `servers`, with its {port} and {cache} filled in."""
        target = self.cache / name
        text = (HERE / "servers" / name).read_text()
        target.write_text(text.replace("{port}", str(port)).replace("{cache}", str(self.cache)))
        return target

    def _compile(self, name: str, sources: Sequence[Path], *flags: str) -> Path:
        headers = (HERE / "load").glob("*.h")
        binary = self.cache / f"{name}-{digest([*sources, *headers], *flags)}"
        if not binary.exists():
            fresh = binary.with_suffix(f".{os.getpid()}")
            run(["gcc", "-Wall", "-Wextra", "-o", fresh, *sources, *flags])
            fresh.replace(binary)
        return binary


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment in the cache, made from the Python that runs this."""

    folder: Path

    @property
    def scripts(self) -> Path:
        return self.folder / "bin"

    @property
    def python(self) -> Path:
        return self.scripts / "python"

    def install(self, mark: str, *packages: str) -> None:
        """Installs packages, unless that was done before under this mark."""
        if not self.has(mark):
            self.pip("install", *packages)
            self.mark(mark)

    def pip(self, *words: object) -> None:
        """Runs pip; makes the environment first where that is not done yet."""
        say(f"pip {' '.join(str(word) for word in words)} ...")
        if not self.python.exists():
            run([sys.executable, "-m", "venv", self.folder])
        run([self.python, "-m", "pip", "--quiet", "--disable-pip-version-check", *words])

    def has(self, mark: str) -> bool:
        return (self.folder / f".installed-{mark}").exists()

    def mark(self, mark: str) -> None:
        """Something is installed, whole."""
        (self.folder / f".installed-{mark}").touch()

    def forget(self, keep: str) -> None:
        """Takes all marks away but one."""
        for path in self.folder.glob(".installed-*"):
            if path.name != f".installed-{keep}":
                path.unlink()

    def versions(self) -> dict[str, str]:
        """The installed packages."""
        if not self.python.exists():
            return {}
        output = run([self.python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"])
        return {item["name"]: item["version"] for item in json.loads(output[output.index("[") :])}


@dataclass(frozen=True, slots=True)
class NodeEnvironment:
    """A folder in the cache with packages of npm."""

    folder: Path

    @property
    def scripts(self) -> Path:
        """Where Node.js finds the packages."""
        return self.folder / "node_modules"

    def install(self, mark: str, *packages: str) -> None:
        """Installs packages, unless that was done before under this mark."""
        done = self.folder / f".installed-{mark}"
        if done.exists():
            return
        say(f"npm install {' '.join(packages)} ...")
        run(["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", self.folder, *packages])
        done.touch()

    def versions(self) -> dict[str, str]:
        """The versions of what was asked for."""
        found = self.scripts.glob("*/package.json")
        return {path.parent.name: json.loads(path.read_text())["version"] for path in found}


def environment(cache: Path, name: str) -> Environment:
    """The environment of that name. It belongs to one Python: builds of the same version differ."""
    built = hashlib.sha256((sys.version + sys.base_prefix).encode()).hexdigest()[:8]
    return Environment(cache / f"{name}-{platform.python_version()}-{built}")
