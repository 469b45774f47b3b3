"""Builds the C module `wsdaemon.wire.frames._frames`, for hatchling and by hand.

By hand, `python hatch_build.py` puts it into the source tree for the Python that runs it. As hatchling's build hook it puts the
module into the wheel, or into the source tree for an editable install. Without a compiler or Python's headers the wheel is a
pure one, and the daemon runs the same code in Python.

Environment: WSDAEMON_BUILD_C is `auto` (the default), `require` (no pure wheel: the build fails) or `no`; CC, CFLAGS, LDFLAGS and
ARCHFLAGS have their usual meaning.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # by hand, no more is needed than a compiler
    BuildHookInterface = object  # type: ignore[assignment,misc]

ROOT = Path(__file__).resolve().parent
SOURCE = Path("wsdaemon", "wire", "frames", "_frames.c")
SOURCES = (SOURCE, SOURCE.with_name("_head.c"))
CHOICES = ("auto", "require", "no")
FOR_OPERATORS = ("etc", "systemd")
"""Folders that a wheel has as `wsdaemon/data/`: `twistd wsdaemon --help` names the installed reference."""


class CompileError(Exception):
    """The C module could not be built. The text is the compiler's output, or says that there is no compiler."""


def target_name() -> str:
    """The file name by which this Python, and no other, finds the module."""
    return f"_frames{sysconfig.get_config_var('EXT_SUFFIX')}"


def command(target: Path) -> list[str]:
    """The compiler's command line."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    if sys.platform == "darwin":
        linking = ["-bundle", "-undefined", "dynamic_lookup"]
    else:
        linking = ["-shared"]
    includes = dict.fromkeys(f"-I{sysconfig.get_path(name)}" for name in ("include", "platinclude"))
    own = [*compiler, "-std=gnu11", "-O3", "-DNDEBUG", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", *includes]
    given = {name: shlex.split(os.environ.get(name, "")) for name in ("ARCHFLAGS", "CFLAGS", "LDFLAGS")}
    sources = [str(ROOT / source) for source in SOURCES]
    return [*own, *given["ARCHFLAGS"], *given["CFLAGS"], *linking, *sources, "-o", str(target), *given["LDFLAGS"]]


def build(folder: Path) -> Path:
    """Compiles the module into `folder`; the file appears complete or not at all. Raises CompileError."""
    target = folder / target_name()
    with tempfile.TemporaryDirectory(prefix="wsdaemon-build-") as scratch:
        fresh = Path(scratch, target.name)
        try:
            done = subprocess.run(command(fresh), capture_output=True, text=True, errors="replace", check=False)
        except OSError as error:
            raise CompileError(f"no C compiler: {error}") from error
        if done.returncode:
            raise CompileError(f"the C compiler failed:\n{done.stderr.strip()}")
        staged = target.with_name(target.name + ".new")
        shutil.copy(fresh, staged)
        staged.replace(target)  # a daemon that has the old file mapped keeps it
    return target


class FramesBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """hatchling's hook; it finds the class by its base."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Adds the folders for operators, and the C module with the platform's tag if it compiles."""
        choice = os.environ.get("WSDAEMON_BUILD_C", "auto")
        if choice not in CHOICES:
            raise ValueError(f"WSDAEMON_BUILD_C must be one of {', '.join(CHOICES)}, not {choice!r}")
        editable = version == "editable"
        if not editable:
            build_data["force_include"].update({str(ROOT / name): f"wsdaemon/data/{name}" for name in FOR_OPERATORS})
        if choice == "no":
            return
        self._scratch = tempfile.TemporaryDirectory(prefix="wsdaemon-wheel-")
        try:
            target = build(ROOT / SOURCE.parent if editable else Path(self._scratch.name))
        except CompileError as error:
            if choice == "require":
                raise
            self.app.display_warning(f"wsdaemon: built without the C module, the Python twin is slower: {error}")
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        if not editable:
            build_data["force_include"][str(target)] = str(SOURCE.with_name(target.name))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel is written: the compiled file is not needed any more."""
        if hasattr(self, "_scratch"):
            self._scratch.cleanup()


if __name__ == "__main__":
    try:
        print(build(ROOT / SOURCE.parent).relative_to(ROOT))
    except CompileError as error:
        sys.exit(str(error))
